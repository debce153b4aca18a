"""`run_pipeline.py phenotypes`: a cohort's table with the phenotypes of its people, and how they were made."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from engine.cli.options import add_json, job_parser
from engine.cohort.phenotypes import (
    USUAL,
    Covariates,
    VolumesTable,
    parse_phenotype,
    phenotype_table,
    read_people,
    read_volumes,
)
from engine.errors import UserError
from engine.progress import Progress
from store.export.csv import csv_text
from store.files.atomic import write_bytes


def phenotypes_parser() -> argparse.ArgumentParser:
    """Return the options of `phenotypes`."""
    p = job_parser(
        "phenotypes",
        "Make phenotypes of measured volumes: log(structure / intracranial volume), with age, sex and the "
        "first principal components of all other regions regressed out. A network that predicts one must look at the "
        "structure: a known truth in scans that nobody altered (docs/truth.md).",
        "Research use only, not a medical device.",
    )
    p.add_argument("--volumes", type=Path, required=True, metavar="FILE", help="CSV or TSV: a row a person, a column a "
                   "region")  # fmt: skip
    p.add_argument("--cohort", dest="people", type=Path, required=True, metavar="FILE", help="the cohort's table")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="the cohort's table with a column of z "
                   "scores for each phenotype; beside it FILE.json, how each was made")  # fmt: skip
    p.add_argument("--labels", type=Path, metavar="FILE", help="columns index and name: what the columns of --volumes "
                   "are (default: their headings)")  # fmt: skip
    p.add_argument("--volumes-key", metavar="COLUMN", help="the person in --volumes (default: its first column)")
    p.add_argument("--key", metavar="COLUMN", help="the person in --cohort (default: its first column)")
    p.add_argument("--icv", default="ICV", metavar="NAME", help="the intracranial volume (default: ICV)")
    p.add_argument("--sums-from", type=int, metavar="INDEX", help="columns with this number and above are sums of "
                   "other regions, and left out (DLMUSE: 300)")  # fmt: skip
    p.add_argument("--covariates", default="age,sex", metavar="COLUMNS", help="of --cohort (default: age,sex)")
    p.add_argument("--components", type=int, default=10, metavar="N", help="of the other regions (default: 10)")
    p.add_argument("--phenotype", action="append", metavar="NAME=VOLUME+VOLUME:REGION+REGION", help="its volumes, and "
                   "the regions of the atlas that are its truth; may be repeated (default: ten structures of "
                   f"DLMUSE: {', '.join(one.name for one in USUAL)})")  # fmt: skip
    add_json(p)
    p.set_defaults(device="cpu")
    return p


def make_phenotypes(options: argparse.Namespace, _device: str, progress: Progress) -> int:
    """Run `phenotypes`."""
    if options.out.suffix.lower() != ".csv":
        raise UserError(f"--out {options.out}: the table is a CSV; let its name end in .csv")
    asked = [parse_phenotype(text) for text in options.phenotype] if options.phenotype else list(USUAL)
    people, key = read_people(options.people, options.key, "--key")
    volumes = read_volumes(
        VolumesTable(options.volumes, options.labels, options.volumes_key, options.icv, options.sums_from)
    )
    columns = tuple(name.strip() for name in options.covariates.split(",") if name.strip())
    table, made = phenotype_table(
        people.set_index(people[key].astype(str)), volumes, options.icv, asked, Covariates(columns, options.components)
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(options.out, csv_text(table).encode())
    beside = options.out.with_suffix(".json")
    write_bytes(beside, (json.dumps(made, indent=1) + "\n").encode())
    for reason, count in made["left_out"].items():
        progress.say(f"  {count} of {len(table)} people left out: {reason}")
    for name, record in made["phenotypes"].items():
        most = record["largest_correlation_with_another"]
        progress.say(
            f"  {name}: {record['variance_left']:.0%} of the variance left ({record['sd_log_volume']:.1%} of the "
            f"volume); |r| with any other region at most {most['after']:.2f}, before {most['before']:.2f}"
        )
    progress.say(f"{len(made['phenotypes'])} phenotypes of {made['people']} people in {options.out}, how in {beside}")
    if options.json:
        print(json.dumps({"table": str(options.out), **made}), flush=True)
    return 0
