"""python -m engine.benchmark: one table of times, or one line of JSON."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date

from engine.benchmark import card, explaining, learning, storing
from engine.benchmark.measure import Result, Setting, machine
from engine.errors import RunError, UserError
from engine.networks.device import choose_device, make_deterministic

CASES = {**explaining.CASES, "train": learning.training, "aggregate": storing.aggregate, "store": storing.store}


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    p = argparse.ArgumentParser(
        prog="python -m engine.benchmark",
        description="Times of what users wait for, with the paper's network and a template brain. Each is first "
        "shown to be right; then it is run once without counting, and again until there is a median.",
    )
    p.add_argument(
        "what",
        choices=[*CASES, "all", "gpu"],
        help="all: everything that --against leaves; gpu: is this GPU right, and all of its times, in at most --budget",
    )
    p.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    p.add_argument("--grid", type=int, choices=[1, 2, 4], default=1, help="mm; default: %(default)s, the paper's")
    p.add_argument("--against", choices=["captum", "monai", "dense"], help="time this too, pair by pair")
    p.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    p.add_argument("--budget", type=float, default=card.BUDGET_S, help="seconds, of gpu; default: %(default)g")
    p.add_argument("--json", action="store_true", help="one line of JSON on standard output")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 where two ways disagree, 2 for the user's mistake."""
    options = parser().parse_args(arguments)
    if options.repeats < 1 or not options.budget > 0:
        print("error: --repeats must be at least 1, and --budget more than 0 seconds", file=sys.stderr)
        return 2
    left_out: list[str] = []
    try:
        device = choose_device(options.device)
        make_deterministic(device)
        setting = Setting(device, options.grid, options.repeats, options.against, _say)
        if options.what == "gpu":
            _only_on_a_gpu(options, device.type)
            sheet = card.everything(setting, options.budget)
            results, left_out = sheet.results, sheet.left_out
        else:
            results = _all(setting) if options.what == "all" else CASES[options.what](setting)
    except (UserError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    about = machine(device) | {"grid_mm": options.grid, "repeats": options.repeats, "date": date.today().isoformat()}
    if not options.json:
        lines = [" · ".join(f"{key} {value}" for key, value in about.items()), "", *table(results)]
        print("\n".join([*lines, *card.lines_left_out(left_out)]))
    if options.json or options.what == "gpu":
        found = {"results": [asdict(result) for result in results]}
        print(json.dumps(about | found | ({"left_out": left_out} if options.what == "gpu" else {})))
    return 1 if any("differ" in line for line in left_out) or _wrong(results) else 0


_say = functools.partial(print, file=sys.stderr, flush=True)


def _only_on_a_gpu(options: argparse.Namespace, device: str) -> None:
    """Raise UserError for the figures of a GPU on a CPU that was not asked for by name, and for --against."""
    if device != "cuda" and options.device != "cpu":
        raise UserError("gpu: there is no CUDA GPU here; --device cpu --grid 4 shows what the command does")
    if options.against is not None:
        raise UserError("gpu: it compares with Captum by itself; leave --against out")


def _wrong(results: Sequence[Result]) -> bool:
    return any(result.details.get("right") is False for result in results)


def _all(setting: Setting) -> list[Result]:
    """Run all benchmarks; leave out, and say so, what cannot be compared in the way that is asked for."""
    found = []
    for name, case in CASES.items():
        print(f"  {name}", file=sys.stderr, flush=True)
        try:
            found += case(setting)
        except UserError as error:
            print(f"  {name} left out: {error}", file=sys.stderr)
    return found


def table(results: Sequence[Result]) -> list[str]:
    """Return the results as lines of Markdown."""
    lines = ["| what | seconds | against | its seconds | ratio | largest difference |", "|---|---|---|---|---|---|"]
    for r in results:
        cells = [
            r.name, _three(r.seconds), r.against or "", _three(r.against_seconds), _three(r.ratio),
            f"{r.max_difference:.1g} {r.unit}" if r.max_difference is not None else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    details = [f"{r.name}: " + ", ".join(f"{k} {v}" for k, v in r.details.items()) for r in results if r.details]
    return [*lines, "", *details, *dict.fromkeys(note for r in results for note in r.notes)]


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
