"""Options that several jobs have, and the configuration that they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from engine.config.cluster_schema import chosen_engine
from engine.config.cohort_schema import READERS
from engine.config.loading import load_config, parse_override, preset_names
from engine.config.schema import RunConfig
from engine.errors import UserError

DEFAULT_STORE = Path("results")
EPILOG = (
    "Interrupted, it goes on where it stopped when the same command is given again. Research use only, not a medical "
    "device."
)


def job_parser(name: str, description: str, epilog: str = EPILOG) -> argparse.ArgumentParser:
    """Return a parser without options, for a job that is the first word on the command line."""
    return argparse.ArgumentParser(prog=f"run_pipeline.py {name}", description=description, epilog=epilog)


def add_device(p: argparse.ArgumentParser) -> None:
    """Add --device."""
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (default: auto)")


def add_settings(p: argparse.ArgumentParser, text: str) -> None:
    """Add --set, described by a text."""
    p.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help=text)


def add_json(p: argparse.ArgumentParser, more: str = "") -> None:
    """Add --json, with what there is more to say of it."""
    p.add_argument("--json", action="store_true", help=f"end with one line of JSON on standard output{more}")


def add_common(p: argparse.ArgumentParser, store: Path | None, example: str) -> None:
    """Add the options that every job has.

    Args:
        store: the default.
        example: of a setting.
    """
    p.add_argument(
        "--store", type=_place, default=store, metavar="PLACE", help=f"result store (default: {DEFAULT_STORE}): a "
        "folder, or a bucket (s3://, gs://, az://), into which finished files go while the run is computed"
    )  # fmt: skip
    p.add_argument(
        "--work", type=local_folder, metavar="PATH", help="folder that a run works in whose store is a bucket "
        f"(default: {DEFAULT_STORE})"
    )  # fmt: skip
    add_device(p)
    p.add_argument(
        "--cluster", metavar="ENGINE", help="where to compute: local (default), slurm, dask, or a Dask scheduler at "
        "tcp://host:port; further settings begin with cluster."
    )  # fmt: skip
    add_settings(p, f"e.g. {example}")
    p.add_argument(
        "--force", action="store_true", help="compute again even if a finished run with the same settings exists"
    )
    p.add_argument(
        "--plan", action="store_true", help="print what would be done, with time, memory and disk; do nothing"
    )
    add_json(p, ", also of --plan")


def local_folder(text: str) -> Path:
    """Return the folder that an option names; an address is refused."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is an address: give a folder on this computer")
    return Path(text)


def _place(text: str) -> Path | str:
    return text.rstrip("/") if "://" in text else Path(text)


def part_store(options: argparse.Namespace) -> None:
    """Divide --store into `store`, the folder that the run works in, and `bucket`, an address or empty.

    Raises:
        UserError: --work where the store is a folder.
    """
    default = None if options.store is None else DEFAULT_STORE
    options.bucket = options.store if isinstance(options.store, str) else ""
    if options.bucket:
        options.store = options.work or default
    elif options.work:
        raise UserError(f"--work {options.work}: the store is a folder, in which the run works, too: leave --work out")


def add_cohort(p: argparse.ArgumentParser) -> None:
    """Add the options that say which scans are used, and how they are prepared and explained."""
    p.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.yaml", help="configuration; its keys go over the preset's"
    )
    p.add_argument("--preset", metavar="NAME", help=f"where to start from: {', '.join(preset_names())} (default: demo)")
    p.add_argument("--cohort", choices=READERS, metavar="KIND", help=f"what kind of data: {', '.join(READERS)}")
    p.add_argument("--data", type=Path, metavar="PATH", help="folder of the scans and their table")
    p.add_argument(
        "--table", type=Path, metavar="FILE", help="the table of the scans: CSV or TSV, in that folder or elsewhere"
    )
    p.add_argument("--name", help="name of the run (default: the preset's)")


def configuration(options: argparse.Namespace, overrides: dict[str, Any] | None = None) -> RunConfig:
    """Return the effective configuration of the command line.

    Args:
        overrides: dotted key -> value; default: those of --set.
    """
    if overrides is None:
        overrides = overrides_of(options)
    if options.name:
        overrides["name"] = options.name
    if options.cohort:
        overrides["cohort.reader"] = options.cohort
        if not (options.name or options.preset or options.config):
            overrides["name"] = options.cohort
    if options.data:
        overrides["cohort.data"] = str(options.data)
    if options.table:
        overrides["cohort.table"] = _table(options.table, options.data)
    config = load_config(options.config, options.preset, overrides)
    if (options.data or options.table) and config.cohort.reader == "simulated":
        option = "--data" if options.data else "--table"
        raise UserError(f"{option}: the simulated cohort reads no files; add --cohort {{{','.join(READERS[1:])}}}")
    return config


def overrides_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of --set and --cluster as dotted key -> value.

    Raises:
        UserError: no such engine.
    """
    overrides = dict(parse_override(text) for text in options.overrides)
    if text := getattr(options, "cluster", None):
        try:
            overrides |= chosen_engine(text)
        except ValueError as error:
            raise UserError(f"--cluster: {error}") from None
    return overrides


def _table(table: Path, data: Path | None) -> str:
    """Return a table in the folder of the scans by its name there, another one by its whole path."""
    if table.is_absolute() or (data and (data / table).is_file()) or not table.is_file():
        return str(table)
    return str(table.resolve())
