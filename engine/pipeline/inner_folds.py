"""Settings of the training compared without the test scans, on folds inside the training scans.

`python -m engine.pipeline.inner_folds` takes one network of a run (the held-out one, or a fold's), divides the subjects
that it is trained on into inner folds, and trains every candidate there. The test scans of the network are not looked
at; only with --outer are the configured and the best candidate trained on all its training scans and judged on them.
A candidate is clearly better if the 95 % interval of its paired difference in AUC from the configured one, over the
inner folds, lies above 0.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from engine.cohort.splits import Job, check_no_leak, jobs, split, with_validation
from engine.config.loading import load_config, parse_override
from engine.config.schema import SplitConfig, TrainingConfig
from engine.errors import RunError, UserError
from engine.networks.device import make_deterministic
from engine.pipeline import stages
from engine.pipeline.fingerprints import digest
from engine.pipeline.run import Run, locked
from engine.pipeline.tool import print_answer, tool_parser
from engine.progress import Progress
from engine.training.objective import Classification
from engine.training.parallel import Training, train_all
from engine.training.trainer import TrainingSetup, probability
from store.accuracy import Estimate, Judged, differences, estimates
from store.reading.verdict import in_words
from store.spec import CACHE_FOLDER

CONFIGURED = "as configured"
CANDIDATES: dict[str, dict[str, Any]] = {
    "left-right flips and shifts": {"augmentation": "left_right"},
    "weight decay 1e-3": {"weight_decay": 1e-3},
    "dropout 0.5": {"dropout": 0.5},
    "half the learning rate": {"learning_rate": 0.5},  # times the configured one
    "twice the epochs": {"epochs": 2},  # likewise
    "early stopping": {"validation_share": 0.2, "patience": 4, "patience_from": 4},
}
TIMES = {"half the learning rate", "twice the epochs"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 (failure), or 2 for the user's mistake."""
    options, progress = parser().parse_args(arguments), Progress()
    try:
        found = compared(options, progress)
    except (UserError, RunError) as error:
        progress.say(f"error: {error}")
        return error.exit_code
    return print_answer(found, options, markdown)


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = tool_parser(
        "inner_folds", "Compares settings of the training on folds inside the training scans of one network."
    )
    p.add_argument("config", nargs="?", type=Path, metavar="CONFIG.yaml", help="configuration over the preset's")
    p.add_argument("--preset", metavar="NAME", help="where to start from (default: demo)")
    p.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="a setting")
    p.add_argument("--store", type=Path, default=Path("results"), metavar="PATH", help="volumes and checkpoints")
    p.add_argument("--model", default="holdout", help="whose training scans: holdout or fold-K (default: %(default)s)")
    p.add_argument("--folds", type=int, default=3, help="inner folds (default: %(default)s)")
    p.add_argument(
        "--try", dest="tried", action="append", default=[], metavar="KEY=VALUE[,KEY=VALUE]",
        help="a candidate, keys of training (default: a short list)",
    )  # fmt: skip
    p.add_argument("--outer", action="store_true", help="then train the configured and the best one, and test both")
    return p


def candidates(training: TrainingConfig, tried: Sequence[str]) -> dict[str, TrainingConfig]:
    """Return name -> settings, the configured ones first.

    Args:
        tried: of the option --try; none: the short list.
    Raises:
        UserError: a key or a value is not allowed.
    """
    own = training.model_dump()
    changes = {text: dict(parse_override(part) for part in text.split(",")) for text in tried} or {
        name: {k: type(own[k])(own[k] * v) for k, v in change.items()} if name in TIMES else change
        for name, change in CANDIDATES.items()
    }
    found = {CONFIGURED: training}
    for name, change in changes.items():
        overrides = {f"training.{key}": value for key, value in (own | change).items() if value is not None}
        found[name] = load_config(overrides=overrides).training
    return found


def inner_jobs(job: Job, scans: pd.DataFrame, groups: tuple[str, str], folds: int) -> list[Job]:
    """Return networks on folds of a job's training subjects; none of its test scans is among theirs.

    Args:
        scans: the run's, with the columns that `split` adds.
    Raises:
        UserError: too few training subjects for so many folds.
        LeakError: a subject would be on two sides.
    """
    own = scans[scans["scan"].isin([*job.train, *job.validation])].drop(columns=["fold", "holdout"])
    own = split(own, groups, SplitConfig(folds=folds, holdout_per_group=1), job.seed)
    found = jobs(own, ["folds"], range(1, folds + 1), job.seed)
    for one in found:
        outside = Job(one.model, one.model_set, one.seed, (*one.train, *one.test), job.test, job.test)
        check_no_leak(scans, outside)
    return found


def compared(options: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Train every candidate on the inner folds; see the module.

    Returns:
        model, candidates (name, settings, auc and its difference from the configured with ends), best, clearly_better,
        and with --outer auc and balanced accuracy on the test scans of both.
    """
    overrides = dict(parse_override(text) for text in options.overrides)
    config = load_config(options.config, options.preset, overrides)
    if config.target:
        raise UserError("engine.pipeline.inner_folds compares networks of two groups; a regression has none")
    if options.folds < 2:
        raise UserError("--folds: at least 2")
    settings = candidates(config.training, options.tried)
    run = Run(config, options.store.resolve(), "cpu", progress)
    stages.ingest(run)
    with locked(run):
        stages.preprocess(run)
        job = next((one for one in run.jobs if one.model == options.model), None)
        if job is None:
            raise UserError(f"--model {options.model}: there are {', '.join(one.model for one in run.jobs)}")
        inner = inner_jobs(job, run.cohort.scans, run.groups, options.folds)
        judged = {name: judge(run, inner, training) for name, training in settings.items()}
        rows = [_row(name, settings, judged) for name in settings]
        best = max(rows, key=lambda row: row["auc"]["value"])
        gap = best.get("difference")
        found = {
            "model": job.model, "folds": options.folds, "subjects": len(set(_subjects(run, job))),
            "simulated": run.cohort.simulated, "candidates": rows, "best": best["name"],
            "clearly_better": bool(gap and gap["low"] > 0),
        }  # fmt: skip
        if options.outer:
            names = dict.fromkeys([CONFIGURED, best["name"]])
            outer = {name: estimates(judge(run, [job], settings[name])) for name in names}
            found["outer"] = {
                name: {metric: asdict(own[metric]) for metric in ("auc", "balanced_accuracy")}
                for name, own in outer.items()
            }
    return found


def _subjects(run: Run, job: Job) -> list[str]:
    return run.cohort.scans.set_index("scan")["subject"][[*job.train, *job.validation]].tolist()


def judge(run: Run, of: Sequence[Job], training: TrainingConfig) -> Judged:
    """Return the test scans of jobs as networks of these settings call them."""
    cpu = torch.device("cpu")
    make_deterministic(cpu)
    scans = run.cohort.scans.set_index("scan")
    objective = Classification((scans["group"] == run.groups[0]).to_dict())
    wanted = [with_validation(job, run.cohort.scans, run.groups, training.validation_share) for job in of]
    parts = digest(run.training_fingerprint, training.model_dump_json(), *(str(job) for job in wanted))
    folder = run.store / CACHE_FOLDER / f"inner-{parts[:16]}"
    setup = TrainingSetup(
        objective, run.cache.read, run.mask, run.config.grid_mm, training, cpu, folder, sites=run.harmonised_sites
    )
    with run.progress.task("training, epochs", len(wanted) * training.epochs) as task:
        trained = train_all(wanted, setup, Training(task.advance, run.progress.say))
    frames = []
    for one in trained:
        rows = scans.loc[list(one.job.explain)]
        frame = rows[["subject", "group"]].assign(model=one.job.model, margin=one.margin, role=rows["role"])
        frames.append(frame[frame["role"] == "cohort"])
    together = pd.concat(frames)
    return Judged(together.assign(probability=probability(together["margin"].to_numpy())), run.groups[0])


def _row(name: str, settings: Mapping[str, TrainingConfig], judged: Mapping[str, Judged]) -> dict[str, Any]:
    """Return a candidate: what it changes, its AUC, and the difference from the configured one."""
    configured, own = settings[CONFIGURED].model_dump(), settings[name].model_dump()
    row: dict[str, Any] = {"name": name, "settings": {k: v for k, v in own.items() if v != configured[k]}}
    row["auc"] = asdict(estimates(judged[name])["auc"])
    if name != CONFIGURED:
        row["difference"] = asdict(differences(judged[name], judged[CONFIGURED])["auc"])
    return row


def markdown(found: Mapping[str, Any]) -> list[str]:
    """Return the answer as lines of Markdown."""
    lines = [
        f"AUC over {found['folds']} inner folds of the {found['subjects']} training subjects of {found['model']}"
        f"{' (simulated)' if found['simulated'] else ''}; 95 % intervals over subjects.", "",
        "| setting | AUC | difference from the configured |", "|---|---|---|",
    ]  # fmt: skip
    for row in found["candidates"]:
        gap = row.get("difference")
        said = f"{gap['value']:+.3f} ({_end(gap['low'])} to {_end(gap['high'])})" if gap else ""
        lines.append(f"| {row['name']} | {in_words('', Estimate(**row['auc']), 3).strip()} | {said} |")
    clearly = "clearly better" if found["clearly_better"] else "not clearly better than the configured one"
    lines += ["", f"Best on the inner folds: {found['best']}, {clearly}."]
    for name, own in found.get("outer", {}).items():
        said = ", ".join(in_words(k.replace("_", " "), Estimate(**v), 3) for k, v in own.items())
        lines.append(f"On the test scans of {found['model']}, {name}: {said}.")
    return lines


def _end(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else "unknown"


if __name__ == "__main__":
    sys.exit(main())
