"""How quick the dashboard is on a store, in Chromium; tests/helpers/big_store.py makes one of real size.

    python tests/helpers/dashboard_speed.py --store STORE [--json] [--changes 20] [--patients 200]
        [--pages "Regions,Patient"]

First view: from the navigation to the finished page, in a fresh browser on a warm server. Control change: from the
release of the mouse to the finished page, painted. Of both, the time until the server had answered; what is left is
the browser's, which draws. Of first views also the processor's time of server and browser, which hardly depends on
what else runs, and the scripts that the browser reads. Filters that no stored average answers (sex, age, session,
subjects) are counted apart. Memory: of the server's process, while patients are opened one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import (
    FINISHED,
    Server,
    chromium,
    launched,
    main_text,
    menu,
    new_page,
    open_page,
    settled,
    start_server,
    trouble,
)
from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import TimeoutError as TookTooLong

STREAMED = {"sex", "age", "ses", "sub"}  # filters that go through all heatmaps
LEFT_ALONE = {"run"}  # another run is another page
GIVEN_UP_MS = 60_000
FIRST_VIEWS, ROUNDS, FRAMES = 3, 8, 120
TARGETS = {"first view": 2000, "median": 300, "95 %": 1000, "growth": 50}  # ms; MiB between 50 and all patients
ACTED = "addEventListener('pointerup', event => { window.__acted = event.timeStamp; }, true);"
# ms to the first frame that shows the finished page, once nothing has changed for a while, and to the answer of the
# server; null if a release of the mouse was not followed by a question to the server.
TIMED = f"""async since => {{
    const finished = {FINISHED}, end = performance.now() + {GIVEN_UP_MS};
    let done = false, seen = 0, shown = 0;
    while (performance.now() < end) {{
        const now = await new Promise(requestAnimationFrame);
        if (!finished()) done = false;
        else if (!done || __changed > seen) [done, seen, shown] = [true, __changed, now];
        else if (now - shown > 300) {{
            const start = since === 'navigation' ? 0 : __acted;
            return start && __asked < start ? null : [shown - start, __answered - start];
        }}
    }}
    const {{testScriptState, testConnectionState}} = document.querySelector('[data-testid=stApp]').dataset;
    const viewers = __viewers().map(({{dataset, __viewer}}) => `${{dataset.state}} ${{__viewer.ready}}`);
    console.error(`not at rest in a minute: ${{testScriptState}} ${{testConnectionState}}, finished ${{finished()}}, `
        + `changed ${{end - __changed}} ms before, viewers ${{viewers}}`);
    return [{GIVEN_UP_MS}, {GIVEN_UP_MS}];
}}"""
SCRIPTS = """() => performance.getEntriesByType('resource').filter(({name}) => /[.]js([?]|$)/.test(name))
    .reduce((sum, {transferSize}) => sum + transferSize, 0)"""
# Widgets that can be seen, with the key that the page gave them.
WIDGETS = """kinds => [...document.querySelectorAll(kinds.map(kind => `[data-testid=${kind}]`).join(','))]
    .filter(widget => widget.checkVisibility() && widget.closest('[class*=st-key-]'))
    .map(widget => [widget.dataset.testid, /st-key-(\\S+)/.exec(widget.closest('[class*=st-key-]').className)[1]])"""


@dataclass
class Pace:
    """Times of one page, ms.

    Attributes:
        first_views: ms, ms until the server had answered, of the processor: ms of the server, ms of the browser.
        scripts: MB that a fresh browser read.
        changes: (widget, ms, ms until the server had answered) of every change; streamed: the same of the filters in
            STREAMED.
    """

    first_views: list[tuple[float, ...]] = field(default_factory=list)
    scripts: float = 0
    changes: list[tuple[str, float, float]] = field(default_factory=list)
    streamed: list[tuple[str, float, float]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians and 95th percentiles; None where there is no such control."""
        times = [ms for _, ms, _ in self.changes]
        slowest = max(self.changes, key=lambda change: change[1], default=None)
        return {
            **{
                f"first_view{name}_ms": round(statistics.median(view[i] for view in self.first_views))
                for i, name in enumerate(("", "_server", "_server_processor", "_browser_processor"))
            },
            "scripts_mb": round(self.scripts, 2),
            "changes": len(times),
            "median_ms": round(statistics.median(times)) if times else None,
            "p95_ms": round(_quantile(times, 0.95)) if times else None,
            "server_median_ms": round(statistics.median(ms for *_, ms in self.changes)) if times else None,
            "slowest": [slowest[0], round(slowest[1])] if slowest else None,
            "streamed_ms": {key: round(ms) for key, ms, _ in self.streamed},
        }


def _quantile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


# -- controls -------------------------------------------------------------------------------------------------------


def _press_another(page: Page, widget: Locator, dice: random.Random) -> None:
    others = widget.locator("button[data-variant]:not([data-selected=true])").all()
    dice.choice(others or widget.locator("button[data-variant]").all()).click()


def _choose_another(page: Page, widget: Locator, dice: random.Random) -> None:
    widget.get_by_role("button", name="Open").click()
    page.locator("[role=option]").first.wait_for()
    dice.choice(page.locator("[role=option]:not([aria-selected=true])").all()).click()


def _drag(page: Page, widget: Locator, dice: random.Random) -> None:
    widget.scroll_into_view_if_needed()
    track = widget.locator("[role=group] > div").first.bounding_box()
    thumb = widget.locator("input[type=range]").first.locator("xpath=../..").bounding_box()
    height = thumb["y"] + thumb["height"] / 2
    page.mouse.move(thumb["x"] + thumb["width"] / 2, height)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] * dice.uniform(0.05, 0.45), height, steps=4)
    page.mouse.up()


def _switch(page: Page, widget: Locator, dice: random.Random) -> None:
    widget.locator("label").first.click()


ACTIONS = {
    "stButtonGroup": _press_another,
    "stSelectbox": _choose_another,
    "stMultiSelect": _choose_another,
    "stSlider": _drag,
    "stCheckbox": _switch,
    "stRadio": lambda page, widget, dice: dice.choice(widget.locator("label:has(input:not(:checked))").all()).click(),
}


def _controls(page: Page) -> list[tuple[str, str]]:
    """(kind, key) of every control that can be used and has a choice."""
    found = page.evaluate(WIDGETS, list(ACTIONS))
    return [
        (kind, key) for kind, key in found if key not in LEFT_ALONE and not _is_idle(_widget(page, kind, key), kind)
    ]


def _is_idle(widget: Locator, kind: str) -> bool:
    if widget.locator("button:disabled, input:disabled").count():
        return True
    return kind == "stButtonGroup" and widget.locator("button[data-variant]").count() < 2


def _widget(page: Page, kind: str, key: str) -> Locator:
    return page.locator(f".st-key-{key} [data-testid={kind}]").first


def _change(page: Page, kind: str, key: str, dice: random.Random) -> tuple[float, float] | None:
    """ms of one change, and until the server had answered; None where the control has nothing else to offer."""
    try:
        ACTIONS[kind](page, _widget(page, kind, key), dice)
    except (IndexError, TookTooLong):
        page.keyboard.press("Escape")
        settled(page)
        return None
    took = page.evaluate(TIMED, "release")
    page.keyboard.press("Escape")
    if took and took[0] == GIVEN_UP_MS:
        _say(f"{key}: {trouble(page)[-1:]}")
        page.reload()
    settled(page)
    return took and tuple(took)


# -- measurements ---------------------------------------------------------------------------------------------------


def measure_page(browser: Browser, server: Server, address: str, changes: int, dice: random.Random) -> Pace:
    """First views in fresh contexts, then changes of every control in turn."""
    pace = Pace()
    for _ in range(FIRST_VIEWS):
        page, before = new_page(browser), _processor(server)
        page.goto(address)
        times = page.evaluate(TIMED, "navigation")
        spent = [after - start for start, after in zip(before, _processor(server), strict=True)]
        pace.first_views.append((*times, *spent))
        pace.scripts = max(pace.scripts, page.evaluate(SCRIPTS) / 1e6)
        page.context.close()
    page = _controlled(browser, address)
    for kind, key in _rounds(page, address):
        if (took := _change(page, kind, key, dice)) is not None:
            pace.changes.append((key, *took))
        if len(pace.changes) >= changes:
            break
    for kind, key in [control for control in _controls(page) if control[1] in STREAMED]:
        open_page(page, address)
        if (took := _change(page, kind, key, dice)) is not None:
            pace.streamed.append((key, *took))
    page.context.close()
    return pace


def _processor(server: Server) -> tuple[float, float]:
    """Processor's time so far of the server, and of all processes below this one that are not the server's, ms.

    Source: /proc, Linux only.
    """
    parents, spent = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            spent[int(folder.name)] = 1000 * sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def lineage(process: int) -> Iterator[int]:
        while process in parents:
            yield process
            process = parents[process]

    own = {process: {*lineage(process)} for process in parents if process != os.getpid()}
    below = [process for process, above in own.items() if os.getpid() in above and server.process.pid not in above]
    return spent[server.process.pid], sum(spent[process] for process in below)


def _controlled(browser: Browser, address: str) -> Page:
    page = new_page(browser)
    page.context.add_init_script(ACTED)
    page.set_default_timeout(10_000)
    open_page(page, address)
    return page


def _rounds(page: Page, address: str) -> Iterator[tuple[str, str]]:
    """Every control in turn, again and again; a fresh page each round, since a change may take others away."""
    for _ in range(ROUNDS):
        open_page(page, address)
        controls = [control for control in _controls(page) if control[1] not in STREAMED]
        for control in controls:
            if control in _controls(page):
                yield control


def measure_memory(browser: Browser, server: Server, address: str, patients: int) -> dict[str, float]:
    """Patients opened so far -> resident MiB of the server."""
    page, found = _controlled(browser, f"{address}?v=1&set=folds"), {}
    for opened in range(1, patients + 1):
        onwards = page.locator(".st-key-patient-next button").first
        if onwards.is_disabled():
            open_page(page, f"{address}?v=1&set=folds")
        else:
            onwards.click()
            page.evaluate(TIMED, "release")
        if opened in (50, patients):
            found[str(opened)] = _at_rest(page, server)
    page.context.close()
    return found


def _at_rest(page: Page, server: Server) -> float:
    """Lowest resident MiB in three seconds after the page has settled: less what single answers need."""
    settled(page)
    samples = []
    for _ in range(6):
        page.wait_for_timeout(500)
        samples.append(server.rss_mib)
    return round(min(samples), 1)


def measure_viewer(browser: Browser, address: str) -> dict[str, Any] | None:
    """Frames a second of a viewer, or of slices, while the crosshair (the slices) and the threshold move; None without
    one.
    """
    page = new_page(browser)
    open_page(page, address)
    found = None
    with contextlib.suppress(TookTooLong):
        page.wait_for_function("__viewers().length && __viewers()[0].__viewer.ready", timeout=20_000)
    if page.evaluate("__viewers().length"):
        call = f"kind => __viewers()[0].__viewer.measure(kind, {FRAMES})"
        found = {kind: page.evaluate(call, kind) for kind in ("crosshair", "threshold")}
    page.context.close()
    return found


def measure(store: str, changes: int, patients: int, wanted: list[str]) -> dict[str, Any]:
    """Everything, page by page."""
    dice, result = random.Random(0), {"store": store, "load": [_load()], "pages": {}, "rss_mib": {}}
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        server = start_server(store, Path(folder))
        try:
            result["rss_mib"]["start"] = round(server.rss_mib, 1)
            addresses = _warm_up(browser, server, wanted)
            result["rss_mib"]["warm"] = round(server.rss_mib, 1)
            if patients and "Patient" in addresses:
                _say(f"{patients} patients")
                result["rss_mib"] |= measure_memory(browser, server, addresses["Patient"], patients)
            for title, address in addresses.items():
                _say(title)
                result["pages"][title] = measure_page(browser, server, address, changes, dice).summary()
            result["rss_mib"]["end"] = round(server.rss_mib, 1)
            if "Patient" in addresses:
                result["viewer"] = measure_viewer(browser, addresses["Patient"])
            if "Group maps" in addresses:
                address = addresses["Group maps"]
                result["slices of groups"] = measure_viewer(browser, address)
                result["viewer of groups"] = measure_viewer(
                    browser, f"{address}{'&' if '?' in address else '?'}g_as=viewer"
                )
            result["errors"] = server.errors()
            result["load"].append(_load())
        finally:
            server.stop()
    return result


def _warm_up(browser: Browser, server: Server, wanted: list[str]) -> dict[str, str]:
    """Title -> address of the pages to measure, each opened once."""
    page = new_page(browser)
    open_page(page, server.url)
    addresses = {title: address for title, address in menu(page).items() if not wanted or title in wanted}
    if not addresses or set(wanted) - set(addresses):
        raise SystemExit(f"not in the menu: {', '.join(wanted) or 'any page'}\n{main_text(page)}\n{server.log}")
    for title, address in addresses.items():
        open_page(page, address)
        if "This view failed" in main_text(page):
            raise SystemExit(f"{title} fails on this store:\n{server.log}")
    page.context.close()
    return addresses


def _load() -> float:
    """Processes that want a core, for each core, over the last minute."""
    return round(os.getloadavg()[0] / os.cpu_count(), 2)


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


# -- the report -----------------------------------------------------------------------------------------------------


def report(result: dict[str, Any]) -> str:
    """A table for people; what misses its target is marked."""
    lines = [
        f"{'page':<14}{'first view':>12}{'server':>8}{'changes':>9}{'median':>9}{'server':>8}{'95 %':>9}  "
        "slowest; streamed filters (ms)"
    ]
    for title, page in result["pages"].items():
        cells = [
            _marked(page["first_view_ms"], TARGETS["first view"], 12), f"{page['first_view_server_ms']:>8}",
            f"{page['changes']:>9}", _marked(page["median_ms"], TARGETS["median"], 9),
            f"{'-' if page['server_median_ms'] is None else page['server_median_ms']:>8}",
            _marked(page["p95_ms"], TARGETS["95 %"], 9),
        ]  # fmt: skip
        slowest = "{} {}".format(*page["slowest"]) if page["slowest"] else ""
        streamed = ", ".join(f"{key} {ms}" for key, ms in page["streamed_ms"].items())
        lines.append(f"{title:<14}{''.join(cells)}  {slowest}; {streamed}")
        lines.append(
            f"{'':<14}processor, first view: server {page['first_view_server_processor_ms']} ms, browser "
            f"{page['first_view_browser_processor_ms']} ms; scripts {page['scripts_mb']} MB"
        )
    memory = result["rss_mib"]
    lines.append("server, MiB: " + ", ".join(f"{when} {mib:g}" for when, mib in memory.items()))
    counts = sorted(int(when) for when in memory if when.isdigit())
    if len(counts) == 2:
        growth = memory[str(counts[1])] - memory[str(counts[0])]
        marked = _marked(round(growth), TARGETS["growth"], 0)
        lines.append(f"growth from patient {counts[0]} to {counts[1]}: {marked} MiB")
    names = ("viewer", "slices of groups", "viewer of groups")
    timed = [(name, *one) for name in names for one in (result.get(name) or {}).items()]
    for name, kind, found in timed:
        lines.append(
            f"{name}, {kind}: {found['framesPerSecond']:.0f} frames/s, drawing {found['drawMedian']:.1f} ms "
            f"(95 %: {found['draw95']:.1f})"
        )
    load = "load of each core before and after: {} and {}; above 1, times say little".format(*result["load"])
    return "\n".join([*lines, "! misses its target", load, *result["errors"]])


def _marked(value: float | None, target: float, width: int) -> str:
    return f"{'-' if value is None else f'{value}!' if value > target else value:>{width}}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How quick the dashboard is on a store.")
    parser.add_argument("--store", required=True)
    parser.add_argument("--changes", type=int, default=20, help="of controls on each page; default: %(default)s")
    parser.add_argument("--patients", type=int, default=200, help="opened for the memory; 0: none")
    parser.add_argument("--pages", default="", help="titles, with commas between; default: all")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    chosen = parser.parse_args()
    if chromium() is None:
        parser.error("needs Chromium: apt install chromium")
    wanted = [title.strip() for title in chosen.pages.split(",") if title.strip()]
    result = measure(chosen.store, chosen.changes, chosen.patients, wanted)
    print(json.dumps(result) if chosen.json else f"{report(result)}\n{json.dumps(result)}")


if __name__ == "__main__":
    main()
