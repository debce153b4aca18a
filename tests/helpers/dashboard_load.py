"""How long changes take the server of the dashboard, with one reader and with many at once, without a browser.

    python tests/helpers/dashboard_load.py --store STORE [--readers 1,20] [--changes 10] [--think 2]
        [--pages NAMES] [--json]

Starts a server of its own on 127.0.0.1 and asks no other. Every reader opens a page and then changes one of its
controls, again and again, after thinking for a while; a time is from the question to the end of the pass, with all
that is sent. Readers choose between a few values, so that some ask for what others have seen, as in a course. Load and
server share this computer, so that times depend on what else it does; the processor's time of the server does less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import Server, start_server
from stream import Pass, Reader

MOST_READERS, MOST_CHANGES = 50, 100
VALUES = 20  # that readers choose between


def _number(step: int) -> dict[str, Any]:
    return {"double_array_value": [30.0 + 2 * step]}


def _choice(*texts: str) -> Any:
    return lambda step: {"string_value": texts[step % len(texts)]}


def _button(*texts: str) -> Any:
    return lambda step: {"string_array_value": [texts[step % len(texts)]]}


# Page -> control and the value of a step. A page without is opened again.
CONTROLS: Mapping[str, tuple[str, Any] | None] = {
    "overview": None,
    "group_maps": ("g_as", _button("Slices", "Viewer")),
    "patient": None,
    "variability": None,
    "regions": ("r_n", _button("10", "20", "all")),
    "clinical": ("cl_n", _button("10", "20", "all")),
    "distances": ("d_measure", _button("Distance", "Rank correlation")),
    "compare_runs": None,
    "provenance": None,
}


@dataclass
class Times:
    """Milliseconds of a page: of first views, of changes, and what went wrong."""

    first: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    failed: int = 0

    def summary(self, cpu_s: float) -> dict[str, Any]:
        """Medians and 95th percentiles; `cpu_s`: of the server for all of it."""
        return {
            "cpu_ms": round(1000 * cpu_s / max(len(self.first) + len(self.changes), 1)),
            "first_ms": round(statistics.median(self.first)) if self.first else None,
            "median_ms": round(statistics.median(self.changes)) if self.changes else None,
            "p95_ms": round(sorted(self.changes)[int(0.95 * (len(self.changes) - 1))]) if self.changes else None,
            "changes": len(self.changes), "failed": self.failed,
        }  # fmt: skip


def _one_reader(url: str, page: str, changes: int, think: float, times: Times, seed: int, lock: threading.Lock) -> None:
    dice = random.Random(seed)
    time.sleep(dice.uniform(0, think))
    with Reader(url) as reader:
        before = reader.open(page)
        with lock:
            times.first.append(before.ms)
        for _ in range(changes):
            time.sleep(dice.uniform(0.5, 1.5) * think)
            found = _changed(reader, before, page, dice)
            with lock:
                times.changes.append(found.ms)
                times.failed += "This view failed" in found.text()


def _changed(reader: Reader, before: Pass, page: str, dice: random.Random) -> Pass:
    control = CONTROLS[page]
    if control is None:
        return reader.open(page)
    key, value = control
    return reader.change(before, key, **value(dice.randrange(VALUES)))


def cpu_seconds(server: Server) -> float:
    """Processor's time that a server has used. Source: /proc, Linux only."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_page(server: Server, page: str, readers: int, changes: int, think: float) -> dict[str, Any]:
    """Times of a page with some readers at once, once it was opened."""
    with Reader(server.url) as reader:
        reader.open(page)
    before = cpu_seconds(server)
    times, lock = Times(), threading.Lock()
    threads = [
        threading.Thread(target=_one_reader, args=(server.url, page, changes, think, times, number, lock))
        for number in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times.summary(cpu_seconds(server) - before)


def measure(store: str, pages: list[str], readers: list[int], changes: int, think: float) -> dict[str, Any]:
    """Page -> number of readers -> times; each number of readers has a fresh server."""
    found: dict[str, Any] = {page: {} for page in pages}
    loads = [round(os.getloadavg()[0] / os.cpu_count(), 2)]
    with tempfile.TemporaryDirectory() as folder:
        for count in readers:
            server = start_server(store, Path(folder))
            try:
                for page in pages:
                    print(f"  {page}, {count} at once", file=sys.stderr, flush=True)
                    found[page][str(count)] = measure_page(server, page, count, changes, think)
            finally:
                server.stop()
    loads.append(round(os.getloadavg()[0] / os.cpu_count(), 2))
    return {"pages": found, "load_of_a_core": loads}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long changes take with one reader and with many.")
    parser.add_argument("--store", required=True, help="with a run")
    parser.add_argument("--readers", default="1,20", help="at once; default: %(default)s")
    parser.add_argument("--changes", type=int, default=10, help="of each reader; default: %(default)s")
    parser.add_argument("--think", type=float, default=2, help="seconds between changes; default: %(default)s")
    parser.add_argument("--pages", default=",".join(CONTROLS), help="default: all")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    chosen = parser.parse_args()
    pages, readers = chosen.pages.split(","), [int(n) for n in chosen.readers.split(",")]
    if unknown := set(pages) - set(CONTROLS):
        parser.error(f"no page {', '.join(unknown)}; choose {', '.join(CONTROLS)}")
    if max(readers) > MOST_READERS or chosen.changes > MOST_CHANGES:
        parser.error(f"at most {MOST_READERS} readers and {MOST_CHANGES} changes")
    result = measure(chosen.store, pages, readers, chosen.changes, chosen.think)
    if not chosen.json:
        print(
            f"{'page':<14}{'readers':>8}{'first':>8}{'median':>8}{'95 %':>8}{'cpu':>8}{'failed':>8}   ms; "
            "cpu: of the server, a pass"
        )
        for page, counts in result["pages"].items():
            for count, times in counts.items():
                cells = (times[name] for name in ("first_ms", "median_ms", "p95_ms", "cpu_ms", "failed"))
                print(f"{page:<14}{count:>8}" + "".join(f"{cell!s:>8}" for cell in cells))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
