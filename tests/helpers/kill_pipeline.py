"""Kill the batch job with -9 at random moments, start it again, and compare with a run that was left alone.

    python tests/helpers/kill_pipeline.py [--kills 20] [--seed 0] [--set key=value ...]

Every round: a fresh store, `run_pipeline.py --preset smoke`, killed after a random time (again and again, as often as
--kills-a-run says), then run to the end. The run must end, `python -m store verify` must be clean, and every table
must equal that of the uninterrupted run, times aside. Exit code 1 if one does not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent.parent
TIMES = {"seconds"}  # columns that may differ


def command(store: Path, settings: list[str]) -> list[str]:
    """The job as a user starts it."""
    overrides = [part for setting in settings for part in ("--set", setting)]
    return [
        sys.executable,
        "run_pipeline.py",
        "--preset",
        "smoke",
        "--store",
        str(store),
        "--device",
        "cpu",
        *overrides,
    ]


def run_whole(store: Path, settings: list[str]) -> float:
    """Run to the end; returns the seconds it took."""
    started = time.monotonic()
    subprocess.run(command(store, settings), cwd=ROOT, check=True, capture_output=True, timeout=1800)
    return time.monotonic() - started


def kill_after(store: Path, settings: list[str], seconds: float) -> bool:
    """Start the job and kill its whole process group after some seconds; False if it had ended before."""
    process = subprocess.Popen(
        command(store, settings), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def published(store: Path) -> Path:
    """The one run of a store."""
    (run,) = (folder for folder in store.iterdir() if (folder / "manifest.json").exists())
    return run


def differences(first: Path, second: Path) -> list[str]:
    """Tables of two runs that are not equal, times aside."""
    names = {file.name for run in (first, second) for file in (run / "tables").glob("*.parquet")}
    found = []
    for name in sorted(names):
        frames = []
        for run in (first, second):
            frame = pd.read_parquet(run / "tables" / name)
            frame = frame.drop(columns=[c for c in frame if c in TIMES])
            frames.append(frame.sort_values(list(frame.columns), ignore_index=True))
        if not frames[0].equals(frames[1]):
            found.append(f"{name}: {_first_difference(*frames)}")
    return found


def _first_difference(a: pd.DataFrame, b: pd.DataFrame) -> str:
    if a.shape != b.shape or list(a.columns) != list(b.columns):
        return f"shape {a.shape} and {b.shape}"
    for column in a:
        different = ~((a[column] == b[column]) | (a[column].isna() & b[column].isna()))
        if different.any():
            row = int(np.flatnonzero(different.fillna(True))[0])
            return f"column {column}, row {row}: {a[column][row]} and {b[column][row]}"
    return "types"


def verify(store: Path) -> str:
    """What `python -m store verify` complains of; empty if the store is clean."""
    result = subprocess.run(
        [sys.executable, "-m", "store", "verify", str(store)], cwd=ROOT, capture_output=True, text=True
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


def rounds(kills: int, seed: int, settings: list[str], kills_a_run: int = 1, say=print) -> list[str]:
    """Kill and resume until `kills` kills have hit; returns what went wrong."""
    moments, problems, hit, round_number = random.Random(seed), [], 0, 0
    with tempfile.TemporaryDirectory(prefix="brainwhy-kill-") as scratch:
        whole = Path(scratch) / "whole"
        length = run_whole(whole, settings)
        say(f"uninterrupted: {length:.0f} s")
        while hit < kills:
            round_number += 1
            store, times = Path(scratch) / f"round-{round_number}", []
            for _ in range(min(kills_a_run, kills - hit)):
                seconds = moments.uniform(0.5, length if kills_a_run == 1 else 1.5 * length / kills_a_run)
                if kill_after(store, settings, seconds):
                    hit += 1
                    times.append(f"{seconds:.1f} s")
            run_whole(store, settings)
            complaint = verify(store)
            wrong = ([complaint] if complaint else []) + differences(published(whole), published(store))
            problems += wrong
            say(f"round {round_number}, killed after {', '.join(times) or 'its end'}: {'; '.join(wrong) or 'equal'}")
            shutil.rmtree(store)
    return problems


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how many kills must hit (default 20)")
    parser.add_argument(
        "--kills-a-run", type=int, default=1, help="kills of the same run before it may end (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as for the job"
    )
    options = parser.parse_args()
    problems = rounds(options.kills, options.seed, options.settings, options.kills_a_run)
    print(f"{options.kills} kills, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
