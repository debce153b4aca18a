"""Look into a store: python -m store list|info|verify|export|derive|publish|index|rm STORE ..."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from store.accuracy import FOLDS, metrics_of
from store.errors import NotInRunError, NotWritableError, RunNotFoundError, StoreError, StoreNotFoundError
from store.files import atomic
from store.files.folders import Folder
from store.progress_line import ProgressLine
from store.reading.listing import RunInfo, list_runs
from store.reading.reader import RunReader, open_run
from store.small_groups import FEWEST
from store.spec import CACHE_FOLDER, MANIFEST, WORK_FOLDER
from store.writing.run_list import keep_run_list
from store.writing.sharing_commands import add_commands
from store.writing.validate import damage, validate

USER_MISTAKE, BROKEN = 2, 1
_SHOWN_METRICS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auc", "mae", "rmse", "r", "r2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 broken, 2 the user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (StoreNotFoundError, RunNotFoundError, NotInRunError) as error:
        return _say(error, USER_MISTAKE)
    except StoreError as error:
        return _say(error, BROKEN)
    except BrokenPipeError:
        # The reader of our output, such as head, has left; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(error, BROKEN)
    except KeyboardInterrupt:
        return _say("stopped", 130)
    except Exception:
        lines = _damage(options)
        if not lines:
            raise
        return _say(f"{lines[0]}: copy or build the run again", BROKEN)


def _damage(options: argparse.Namespace) -> list[str]:
    """Say what is wrong with the run that a command was about, where it failed in a way that nobody thought of."""
    try:
        named = getattr(options, "run", None)
        run = open_run(options.store, (named or [None])[0] if isinstance(named, list) else named).run_id
    except StoreError as error:
        return [str(error)]
    return [f"run {run}: {line}" for line in damage(options.store, run)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m store", description="Look into a result store.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument("store", metavar="STORE", help="folder or URL (s3://..., file://...) that holds the runs")
        added.set_defaults(command=command)
        return added

    add("list", _list, "list the runs, newest first, and the space that they take")
    info = add("info", _info, "show accuracy, groups, counts and settings of a run")
    info.add_argument("run", metavar="RUN", nargs="?", help="identifier or name; the newest if left out")
    verify = add("verify", _verify, "compare runs with the specification and with their checksums")
    verify.add_argument("run", metavar="RUN", nargs="?", help="identifier or name; all runs if left out")
    export = add("export", _export, "write tables (CSV), group averages (NIfTI) and figure 1 (PNG) of a run")
    export.add_argument("run", metavar="RUN", nargs="?", help="identifier or name; the newest if left out")
    export.add_argument("--to", metavar="DIR", help="folder to write to, made if there is none; default: RUN-export")
    for option, what in (
        ("--csv", "tables as CSV"),
        ("--nifti", "group averages as NIfTI"),
        ("--figure", "figure1.png"),
    ):
        export.add_argument(option, action="store_true", help=f"only {what} (may be combined); default: everything")
    export.add_argument(
        "--paper", action="store_true",
        help="only tables 1 and 2 (CSV, LaTeX) and figure 1 (PNG, SVG) in the format of Rieke et al. 2018, and the "
        "methods in words",
    )  # fmt: skip
    export.add_argument(
        "--native", nargs="+", metavar="SCAN", default=[],
        help="only all heatmaps of these scans in the space of their own files (may be combined); needs their "
        "transforms, which a run of real scans keeps unless told otherwise",
    )  # fmt: skip
    derive = add("derive", _derive, "make a store for others of a store: of groups alone, or under pseudonyms")
    derive.add_argument("run", metavar="RUN", nargs="*", help="identifiers or names; all runs that open if left out")
    how = derive.add_mutually_exclusive_group(required=True)
    how.add_argument(
        "--group-level", metavar="OUT", help="new folder: averages and tables of groups, nothing of single persons"
    )
    how.add_argument(
        "--pseudonymous", metavar="OUT",
        help="new folder: whole runs, with keyed pseudonyms for subjects, scans and sites, and visits without dates",
    )  # fmt: skip
    derive.add_argument(
        "--fewest", metavar="N", type=int, default=FEWEST,
        help=f"with --group-level: subjects of a group that is published, at least {FEWEST} (default: %(default)s)",
    )  # fmt: skip
    derive.add_argument(
        "--key", metavar="FILE", help="with --pseudonymous: the key, made if there is none (default: OUT.key); keep it"
    )
    small = "with --group-level: averages rounded to four digits, a third of the space"
    derive.add_argument("--small", action="store_true", help=small)
    with_scans = "with --group-level, where brains are simulated as a whole: these are shown one by one, too"
    derive.add_argument("--with-scans", nargs="+", metavar="SCAN", default=[], help=with_scans)
    derive.add_argument("--name", help="what the new run is called; default: as the old one")
    add_commands(add)
    remove = add("rm", _remove, "delete a run, or the cache, or what interrupted runs left")
    remove.add_argument("run", metavar="RUN", nargs="?", help="identifier or name of the run to delete")
    remove.add_argument("--cache", action="store_true", help="delete the cache of preprocessed scans")
    remove.add_argument("--work", action="store_true", help="delete what interrupted runs need to go on")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    return parser


def _list(options: argparse.Namespace) -> int:
    runs = list_runs(options.store)
    if not runs:
        print(f"no runs in {options.store}")
    else:
        _print_table(("run", "created", "cohort", "simulated", "size"), [_row(info) for info in runs])
    for info in runs:
        if info.problem:
            print(_printable(f"! {info.problem}"))
    for name in (CACHE_FOLDER, WORK_FOLDER):
        if size := atomic.size_of(Path(options.store) / name):
            print(f"{name}: {_size(size)}  (python -m store rm {options.store} --{name[1:]} frees it)")
    return 0


def _row(info: RunInfo) -> tuple[str, ...]:
    return (info.run, info.created[:19], info.cohort, "yes" if info.simulated else "no", _size(info.bytes))


def _info(options: argparse.Namespace) -> int:
    run = open_run(options.store, options.run)
    manifest = run.manifest
    positive, negative = run.groups
    print(f"{run.run_id}{'  SIMULATED' if run.simulated else ''}")
    facts = {
        "created": manifest.get("created"), "cohort": manifest.get("cohort"),
        "task": f"regression of {run.target['label']}" if run.target else run.task,
        "groups": f"{positive} (positive), {negative}", "spec": manifest.get("spec_version"),
        "grid": f"{manifest.get('grid_mm')} mm, {' x '.join(map(str, run.shape('grid/mask')))} voxels",
        "device": manifest.get("device"), "commit": manifest.get("commit"),
        "fingerprint": manifest.get("fingerprint"), "size": _size(manifest["contents"].get("bytes", 0)),
    }  # fmt: skip
    _print_pairs(facts)
    print("\ncounts")
    _print_pairs(_counts(run))
    print("\naccuracy (mean over the folds)")
    _print_pairs(_metrics(run))
    print("\nsettings")
    _print_pairs(_flat(manifest.get("config") or {}))
    return 0


def _counts(run: RunReader) -> dict[str, str]:
    if run.holds_groups_only:
        rows = run.table("group_counts", model_set="cohort")
        counts = {row.diagnosis: f"{row.scans} scans, {row.subjects} subjects" for row in rows.itertuples()}
        source = (run.manifest.get("derived") or {}).get("from", "a run")
        return counts | {"persons": f"{f'{run.shown} simulated' if run.shown else 'none'}: derived from {source}"}
    scans = run.table("scans", ["scan", "subject", "group", "role"])
    counts = {}
    for group in run.groups:
        rows = scans[(scans.group == group).fillna(False).astype(bool)]
        counts[group] = f"{len(rows)} scans, {rows.subject.nunique()} subjects"
    extra = scans[(scans.role == "apply").fillna(False).astype(bool)]
    counts["apply"] = f"{len(extra)} scans, {extra.subject.nunique()} subjects"
    counts["left out"] = f"{len(run.table('exclusions', ['scan']))} scans"
    counts["models"] = ", ".join(run.table("models", ["model"])["model"])
    heatmaps = run.table("heatmaps", ["method"])
    counts["heatmaps"] = f"{len(heatmaps)} of {', '.join(heatmaps.method.unique())}"
    return counts


def _metrics(run: RunReader) -> dict[str, str]:
    rows = metrics_of(run)
    rows = rows[(rows["classifier"] == "cnn") & (rows["level"] == "scan")]
    values = {(row.model, row.metric): row.value for row in rows.itertuples()}
    ends = {
        row.metric: f" (95 % CI {row.low:.3f} to {row.high:.3f}, all folds together)"
        for row in rows[rows["low"].notna() & (rows["model"] == FOLDS)].itertuples()
    }
    shown = {}
    for metric in _SHOWN_METRICS:
        if ("mean", metric) in values:
            shown[metric] = f"{values['mean', metric]:.3f} +- {values.get(('sd', metric), float('nan')):.3f}"
            shown[metric] += ends.get(metric, "")
        elif ("holdout", metric) in values:
            shown[metric] = f"{values['holdout', metric]:.3f} (holdout)"
    return shown or {"none": "this run has no metrics of the network"}


def _flat(config: dict, prefix: str = "") -> dict[str, str]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = str(value)
    return flat


def _verify(options: argparse.Namespace) -> int:
    store = Folder(options.store, is_kept=False)  # what the server has, not what was kept here
    if options.run and store.exists(f"{options.run}/{MANIFEST}"):
        runs = [options.run]
    elif options.run:
        runs = [open_run(options.store, options.run).run_id]
    else:
        runs = [info.run for info in list_runs(options.store)]
    broken = 0
    for run in runs:
        with ProgressLine(f"checking {run}") as line:
            problems = validate(store.child(run), progress=line)
        broken += bool(problems)
        words = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "sound"
        print(_printable(f"{run}: {words}"))
        for problem in problems:
            print(_printable(f"  {problem}"))
    if not runs:
        print(f"no runs in {options.store}")
    return BROKEN if broken else 0


def _export(options: argparse.Namespace) -> int:
    from store.export.command import export_all  # noqa: PLC0415
    from store.export.nifti import missing_averages  # noqa: PLC0415

    run = open_run(options.store, options.run)
    every = not (options.csv or options.nifti or options.figure or options.native or options.paper)
    chosen = {name: every or getattr(options, name) for name in ("csv", "nifti", "figure")}
    folder = options.to or f"{run.run_id}-export"
    paths = export_all(run, folder, native=options.native, paper=every or options.paper, **chosen)
    for note in missing_averages(paths):
        print(f"! {note}")
    print(f"{len(paths)} files written to {folder}")
    return 0


def _derive(options: argparse.Namespace) -> int:
    from store.deriving.command import Request, derive  # noqa: PLC0415

    if options.fewest < FEWEST:
        return _say(f"--fewest is {options.fewest}, must be at least {FEWEST}", USER_MISTAKE)
    if options.key and not options.pseudonymous:
        return _say("--key belongs to --pseudonymous: leave it out", USER_MISTAKE)
    for name in ("small", "with_scans"):
        if getattr(options, name) and not options.group_level:
            return _say(f"--{name.replace('_', '-')} belongs to --group-level: leave it out", USER_MISTAKE)
    out = Path(options.group_level or options.pseudonymous)
    key = Path(options.key or f"{out}.key") if options.pseudonymous else None
    how = (None if options.pseudonymous else options.fewest, key, options.name, options.small)
    try:
        made = derive(Request(options.store, tuple(options.run), out, *how, tuple(dict.fromkeys(options.with_scans))))
    except NotWritableError as error:
        return _say(error, USER_MISTAKE)
    for run in made:
        print(f"{run} written to {out}")
    if key is not None:
        print(f"the key of the pseudonyms is {key}: keep it, and never give it away with the store")
    return 0


def _remove(options: argparse.Namespace) -> int:
    store = Path(options.store)
    if not store.is_dir():
        raise StoreNotFoundError(f"there is no store at {options.store}: rm needs a folder on this machine")
    targets = [name for name, chosen in ((CACHE_FOLDER, options.cache), (WORK_FOLDER, options.work)) if chosen]
    if options.run:
        targets.append(_run_folder(options.store, options.run))
    if not targets:
        return _say("say what to delete: a RUN, --cache or --work", USER_MISTAKE)
    for name in targets:
        size = _size(atomic.size_of(store / name))
        if not (options.yes or _agreed(f"delete {store / name} ({size})? [y/N] ")):
            print(f"kept {store / name}")
            continue
        atomic.discard(store / name, store / f".{name.lstrip('.')}.deleted")
        print(f"deleted {store / name} ({size})")
    keep_run_list(options.store)
    return 0


def _run_folder(store: str, run: str) -> str:
    """Return the folder of a run, also of a broken one."""
    infos = list_runs(store)
    for info in infos:
        if info.run == run:
            return run
    named = [info.run for info in infos if info.name == run]
    if len(named) == 1:
        return named[0]
    if named:
        raise RunNotFoundError(f"{len(named)} runs are named {run}: give the identifier, one of {', '.join(named)}")
    raise RunNotFoundError(f"there is no run {run} in {store}: it has {', '.join(i.run for i in infos[:5]) or 'none'}")


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        print(_printable("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()))


def _print_pairs(pairs: dict) -> None:
    width = max(map(len, pairs), default=0)
    for key, value in pairs.items():
        print(_printable(f"  {key.ljust(width)}  {value}"))


def _printable(text: str) -> str:
    """Return a line of a run, which may come from strangers, without control characters: orders to the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _say(problem: object, code: int) -> int:
    print(_printable(f"error: {' '.join(str(problem).split())}"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
