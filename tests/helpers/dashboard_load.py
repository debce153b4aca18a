"""How long changes take the server of the dashboard, with one reader and with many at once, without a browser.

    python tests/helpers/dashboard_load.py --store STORE [--processes 2] [--readers 1,50] [--changes 10] [--think 2]
        [--pages NAMES] [--tree FOLDER] [--soak SECONDS] [--json]

Starts servers of its own and asks no others: one of the local way, or with --processes as many of
`python -m dashboard serve` behind nginx and a login, as docs/hosting.md says. Every reader opens a page and then
changes one of its controls (load_readers.py), again and again, after thinking for a while; a time is from the question
to the end of the pass, with all that is sent. What its components ask for then is fetched, too. Readers choose between
a few values, so that some ask for what others have seen, as in a course. Load and servers share this computer, so that
times depend on what else it does; the processor's time of the servers does less.

--soak: readers come and go without thinking, and the memory of the servers is noted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from browser import ROOT, Server, start_server
from hosted import hosted
from load_readers import ACTS, Found, Visit

MOST_READERS, MOST_CHANGES = 50, 100
SAMPLE_S = 5.0
SETTLING = 1 / 3  # of a soak, while caches fill


@dataclass
class Servers:
    """Running servers behind one address; `cookies` of every reader."""

    url: str
    pids: list[int]
    cookies: Sequence[Mapping[str, str]]

    def cpu_seconds(self) -> float:
        return sum(map(cpu_of, self.pids))

    def rss_mib(self) -> list[int]:
        return [round(rss_of(pid)) for pid in self.pids]


def cpu_of(pid: int) -> float:
    """Processor's time that a process has used. Source: /proc, Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_of(pid: int) -> float:
    """Resident memory of a process, MiB. Source: /proc, Linux only."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu_seconds(server: Server) -> float:
    """Processor's time that a server has used."""
    return cpu_of(server.process.pid)


@contextlib.contextmanager
def started(store: Path, processes: int, readers: int, tree: Path) -> Iterator[Servers]:
    """Servers of a store for so many readers: one of the local way, or `processes` behind nginx and a login."""
    with tempfile.TemporaryDirectory() as folder:
        if not processes:
            server = start_server(store, Path(folder), tree=tree)
            try:
                yield Servers(server.url, [server.process.pid], [{}] * readers)
            finally:
                server.stop()
            return
        with hosted(store, Path(folder), processes, tree) as site:
            cookies = [site.log_in(f"reader{number}", "patient") for number in range(readers)]
            yield Servers(site.url, [process.pid for process in site.processes.values()], cookies)


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 1)


def measure_page(servers: Servers, page: str, changes: int, think: float) -> dict[str, Any]:
    """Times of a page with all readers at once, once each process has shown it."""
    for cookies in servers.cookies[: 8 * len(servers.pids)] if len(servers.pids) > 1 else servers.cookies[:1]:
        Visit(servers.url, page, cookies, Found(), random.Random(0)).run(2, lambda: 0)
    found, before, rss, loads = Found(), servers.cpu_seconds(), servers.rss_mib(), [load()]
    start = time.perf_counter()

    def read(number: int) -> None:
        dice = random.Random(number)
        time.sleep(dice.uniform(0, think))
        visit = Visit(servers.url, page, servers.cookies[number], found, dice)
        visit.run(changes, lambda: dice.uniform(0.5, 1.5) * think)

    run_all(read, len(servers.cookies))
    seconds = time.perf_counter() - start
    loads.append(load())
    cpu = (servers.cpu_seconds() - before) / max(found.passes, 1)
    return {
        "first_ms": _percentile(found.first, 50), **_percentiles(found.times),
        "cpu_ms": round(1000 * cpu), "passes_a_core": round(1 / cpu, 1) if cpu else None,
        "passes_a_second": round(found.passes / seconds, 1), "passes": found.passes,
        "acts": {name: _percentiles(own) | {"passes": len(own)} for name, own in sorted(found.changes.items())},
        "volumes": len(found.fetched), "volume_ms": _percentile(found.fetched, 50), "lost": len(found.troubles),
        "troubles": sorted(set(found.troubles))[:5], "rss_mib": [rss, servers.rss_mib()], "load": loads,
    }  # fmt: skip


def run_all(read: Any, count: int) -> None:
    """Run so many threads of readers to their end."""
    threads = [threading.Thread(target=read, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _percentile(values: Sequence[float], percent: float) -> int | None:
    return round(float(np.percentile(values, percent))) if len(values) else None


def _percentiles(values: Sequence[float]) -> dict[str, int | None]:
    return {"median_ms": _percentile(values, 50), "p95_ms": _percentile(values, 95), "max_ms": _percentile(values, 100)}


def soak(servers: Servers, pages: Sequence[str], seconds: float, changes: int) -> dict[str, Any]:
    """Memory of servers while readers come, change a few controls and go, without thinking."""
    found, end, samples = Found(), time.monotonic() + seconds, []
    start = time.monotonic()

    def read(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < end:
            visit = Visit(servers.url, dice.choice(pages), servers.cookies[number], found, dice)
            visit.run(changes, lambda: 0)

    def watch() -> None:
        while time.monotonic() < end:
            samples.append((time.monotonic() - start, found.sessions, found.passes, servers.rss_mib()))
            print(f"  {samples[-1]}", file=sys.stderr, flush=True)
            time.sleep(min(SAMPLE_S, seconds / 20))

    watching = threading.Thread(target=watch)
    watching.start()
    run_all(read, len(servers.cookies))
    watching.join()
    settled = [one for one in samples if one[0] >= SETTLING * seconds]
    slope = np.polyfit([one[1] for one in settled], [sum(one[3]) for one in settled], 1)[0] if len(settled) > 2 else 0
    return {
        "sessions": found.sessions, "passes": found.passes, "lost": len(found.troubles),
        "troubles": sorted(set(found.troubles))[:5], "rss_mib": [samples[0][3], settled[0][3], samples[-1][3]],
        "sessions_at": [samples[0][1], settled[0][1], samples[-1][1]],
        "mib_per_1000_sessions": round(1000 * float(slope), 1), "load": load(),
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description="How long changes take with one reader and with many.")
    parser.add_argument("--store", required=True, type=Path, help="with a run")
    parser.add_argument("--processes", type=int, default=0, help="of `python -m dashboard serve` behind nginx; "
        "default: one server of the local way")  # fmt: skip
    parser.add_argument("--readers", default="1,20", help="at once; default: %(default)s")
    parser.add_argument("--changes", type=int, default=10, help="of each reader; default: %(default)s")
    parser.add_argument("--think", type=float, default=2, help="seconds between changes; default: %(default)s")
    parser.add_argument("--pages", default=",".join(ACTS), help="default: all")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another state of the project, to be compared with")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="note the memory while readers come and go")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    chosen = parser.parse_args()
    chosen.pages, chosen.readers = chosen.pages.split(","), [int(n) for n in chosen.readers.split(",")]
    if unknown := set(chosen.pages) - set(ACTS):
        parser.error(f"no page {', '.join(unknown)}; choose {', '.join(ACTS)}")
    if max(chosen.readers) > MOST_READERS or chosen.changes > MOST_CHANGES:
        parser.error(f"at most {MOST_READERS} readers and {MOST_CHANGES} changes")
    return chosen


COLUMNS = ("first_ms", "median_ms", "p95_ms", "max_ms", "cpu_ms", "passes_a_core", "passes_a_second", "lost")


def main() -> None:
    """The command line."""
    chosen, found = arguments(), {}
    for count in chosen.readers:  # each number of readers has fresh servers
        with started(chosen.store, chosen.processes, count, chosen.tree) as servers:
            if chosen.soak:
                found[f"soak, {count}"] = soak(servers, chosen.pages, chosen.soak, chosen.changes)
                continue
            for page in chosen.pages:
                print(f"  {page}, {count} at once", file=sys.stderr, flush=True)
                found[f"{page}, {count}"] = measure_page(servers, page, chosen.changes, chosen.think)
    if not chosen.json and not chosen.soak:
        print(f"{'page, readers':<20}" + "".join(f"{name.replace('passes_', ''):>11}" for name in COLUMNS))
        for name, times in found.items():
            print(f"{name:<20}" + "".join(f"{times[column]!s:>11}" for column in COLUMNS))
    print(json.dumps({"processes": chosen.processes, "found": found}))


if __name__ == "__main__":
    main()
