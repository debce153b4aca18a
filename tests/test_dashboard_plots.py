"""Our chart component: the part of plotly.js that is served; in Chromium, plots stay and are drawn when seen."""

from __future__ import annotations

import gzip

import pytest
from asgi import Client
from browser import main_text, new_page, open_page, settled, start_server, trouble

from dashboard.shell.components import plot_files, plotly_part

HEAD = (
    "/** licence */\nvar Plotly=(()=>{var W=(e,t)=>()=>{try{return t||e((t={exports:{}}).exports,t),t.exports}"
    "catch(r){throw t=0,r}};"
)
MODULES = (
    'var v=W(e=>{"use strict";e.version="9"});',
    'var a=W((e,t)=>{t.exports={plot:c(),moduleType:"trace",name:"bar"}});',
    "var A=W((e,t)=>{t.exports=a()});",
    'var c=W((e,t)=>{t.exports="shared"});',
    'var b=W((e,t)=>{t.exports={moduleType:"trace",name:"pie"}});',
)
END = "var L=W((e,t)=>{var p=v();p.register([A(),b()]);t.exports=p});return L();})();"


def made(*modules: str) -> str:
    return HEAD + "".join(modules) + END


# The first module stands behind the helpers, whatever it is.
SOURCE = made('var first=W(e=>{"use strict"});', *MODULES)


def test_only_what_is_asked_for_is_left():
    part = plotly_part.part(SOURCE, {"bar"})
    assert part == SOURCE.replace(MODULES[-1], "").replace("[A(),b()]", "[A()]")
    assert plotly_part.part(SOURCE, {"pie"}).count("=W(") == 4


@pytest.mark.parametrize(
    "wrong",
    [
        SOURCE.replace("return t||e", "return e"), HEAD, SOURCE.replace("register", "add"),
        made(*MODULES, *MODULES), SOURCE.replace('"bar"', '"rod"'),
    ],
)  # fmt: skip
def test_another_shape_is_refused(wrong):
    with pytest.raises(plotly_part.UnknownShapeError, match=r"plotly\.js"):
        plotly_part.part(wrong, {"bar"})


def test_of_the_package_a_quarter_is_served_with_its_licence():
    served = gzip.decompress(plot_files.packed(plot_files.PART)).decode()
    assert len(served) < 1_400_000 < 4_000_000 < len(plotly_part.whole())
    assert "MIT license" in served[:200]
    assert served.endswith(plotly_part.whole()[-200:])


def test_another_package_is_served_whole(monkeypatch, caplog):
    monkeypatch.setattr(plotly_part, "whole", lambda: "another plotly.js")
    monkeypatch.setattr(plot_files, "_packed", plot_files._packed.__wrapped__)
    assert gzip.decompress(plot_files.packed(plot_files.PART)) == b"another plotly.js"
    assert "all of it" in caplog.text


def test_files_are_kept_for_ever_under_an_address_of_their_own():
    folder = f"/heat{plot_files.PREFIX}"
    with Client(plot_files.routes("/heat")) as client:
        found = client.ask(f"{folder}/{plot_files.version()}/plot.js")
        assert found.status == 200
        assert "immutable" in found.headers["cache-control"]
        assert b"Plotly.react" in gzip.decompress(found.body)
        for other in ("000000000000/plot.js", f"{plot_files.version()}/plot.py"):
            assert client.ask(f"{folder}/{other}").status == 404


# -- in the browser -------------------------------------------------------------------------------------------------

BARS = ".st-key-chart-bars .place"
DRAWN = "[...document.querySelectorAll('.brainwhy-chart')].map(chart => chart.dataset.state)"
# Where dots are, on the screen.
DOT = """number => {
    const dot = document.querySelectorAll('.st-key-chart-bars .scatterlayer .point')[number].getBoundingClientRect();
    return [dot.x + dot.width / 2, dot.y + dot.height / 2];
}"""


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    server = start_server("", tmp_path_factory.mktemp("plots"), app="tests/helpers/saving_harness.py")
    yield server.url
    server.stop()


@pytest.fixture
def page(browser):
    one = new_page(browser)
    yield one
    one.context.close()


def test_a_change_keeps_the_plot(page, harness):
    open_page(page, harness)
    page.evaluate(f"""() => {{
        const place = document.querySelector('{BARS}');
        window.kept = [place, place.querySelector('.main-svg'), place.querySelector('.scatterlayer .point')];
        window.calls = [];
        for (const name of ['react', 'newPlot', 'purge']) {{
            const own = Plotly[name];
            Plotly[name] = (where, ...rest) => {{ calls.push([name, where === place]); return own(where, ...rest); }};
        }}
    }}""")
    width = f"document.querySelector('{BARS} .scatterlayer .point').getBoundingClientRect().width"
    size = page.evaluate(width)
    page.get_by_role("button", name="Larger dots").click()
    page.wait_for_function(f"{width} > {size}", timeout=10_000)
    settled(page)
    # One chart has changed, and is changed; the other is left alone.
    assert page.evaluate("calls") == [["react", True]]
    assert page.evaluate(f"kept[0] === document.querySelector('{BARS}') && kept[1].isConnected && kept[2].isConnected")
    assert trouble(page) == []


def test_a_click_reaches_the_server_and_each_click_counts(page, harness):
    open_page(page, harness)
    for number, name in ((0, "first"), (1, "second"), (1, "second")):
        page.mouse.click(*page.evaluate(DOT, number))
        page.get_by_text(f"Clicked now: {name}, last: {name}").wait_for(timeout=10_000)
        settled(page)
        page.get_by_role("button", name="Larger dots").click()
        page.get_by_text(f"Clicked now: None, last: {name}").wait_for(timeout=10_000)
        settled(page)
    bar = page.locator(f"{BARS} .barlayer .point").last.bounding_box()  # without customdata
    page.mouse.click(bar["x"] + 9, bar["y"] + 9)
    settled(page)
    assert "Clicked now: None" in main_text(page)
    assert trouble(page) == []


def test_dots_are_reached_by_keys_and_read_out(page, harness):
    open_page(page, harness)
    chart = page.locator(BARS)
    assert chart.get_attribute("aria-label") == "Bar chart. AD, NC."
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    heard = "document.querySelector('.st-key-chart-bars .heard').textContent"
    page.wait_for_function(f"{heard}.includes('Hippocampus & more')", timeout=5000)
    page.keyboard.press("Enter")
    page.get_by_text("Clicked now: second").wait_for(timeout=10_000)


def test_ink_follows_the_theme_without_the_server(page, harness):
    open_page(page, harness)
    ink = f"getComputedStyle(document.querySelector('{BARS} .ytick text')).fill"
    assert page.evaluate(ink) == "rgb(16, 23, 26)"
    page.evaluate(f"window.kept = document.querySelector('{BARS} .main-svg')")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{ink} === 'rgb(227, 232, 233)'", timeout=5000)
    assert page.evaluate("kept.isConnected")


def test_what_is_below_the_edge_is_drawn_when_it_is_seen_and_nothing_jumps(page, harness):
    open_page(page, f"{harness}?charts=6")
    states = page.evaluate(DRAWN)
    assert states[:2] == ["drawn", "drawn"]
    assert states[-3:] == ["waiting"] * 3
    last = page.locator(".st-key-further-5")
    place = last.evaluate("element => [element.offsetTop, element.offsetHeight]")
    assert last.locator(".main-svg").count() == 0
    last.scroll_into_view_if_needed()
    last.locator(".main-svg").first.wait_for(timeout=10_000)
    settled(page)
    assert page.evaluate(DRAWN)[-1] == "drawn"
    assert last.evaluate("element => [element.offsetTop, element.offsetHeight]") == place


def test_a_chart_fills_its_place_after_it_has_changed(page, harness):
    open_page(page, harness)
    page.set_viewport_size({"width": 900, "height": 800})
    page.wait_for_function(f"document.querySelector('{BARS} .main-svg').clientWidth < 900", timeout=10_000)
    settled(page)
    widths = [page.locator(f"{BARS}{inside}").first.bounding_box()["width"] for inside in ("", " .main-svg")]
    assert widths[0] < 900
    assert widths[1] == pytest.approx(widths[0], abs=1)


def test_a_part_that_fails_is_replaced_by_all_of_it(page, harness):
    page.route(
        f"**/{plot_files.PART}",
        lambda route: route.fulfill(body="throw new ReferenceError('cut')", content_type="text/javascript"),
    )
    open_page(page, harness)
    assert page.locator(f"{BARS} .main-svg").count() > 0


def test_without_its_program_the_page_says_so_once_and_keeps_the_rest(page, harness):
    page.route("**/brainwhy/plots/**", lambda route: route.abort())
    open_page(page, harness)
    assert page.get_by_text("Charts could not be drawn").count() == 1
    assert "Clicked now: None" in main_text(page)
