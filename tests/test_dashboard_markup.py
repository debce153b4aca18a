"""Texts of a store or of a link read as they are: no link, picture, formula or emoji comes of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import store_factory
from store_factory import SCANS
from test_dashboard_public import PAGES, elements

from dashboard.drawing.chart import Chart
from dashboard.shell import display, page
from dashboard.text import formatting, region_names
from engine.atlas.aal import load_atlas
from engine.atlas.names import merged_name
from engine.config.schema import AtlasConfig

LINK = "[Sign in again](https://evil.example/)"
PLANT = (
    f"{LINK} ![p](https://evil.example/p.png) <b onclick=x>b</b> $x^2$ :smile: :red[r] **b** `c` www.evil.example "
    "a@evil.example"
)
AS_A_NAME = "[Sign in again] :smile: $x$ *b* <a href=x>"  # of a diagnosis
# What only code, lists of options or the library of charts take: not read as Markdown.
NO_MARKDOWN = {
    "id", "spec", "config", "url", "code_text", "page", "icon", "query", "json", "options", "data",
    "form_id", "mixed_data", "key", "raw_values", "set_value", "file_name",
}  # fmt: skip
# Marks that are still at work in a Markdown text.
AT_WORK = {
    "a link": r"(?<!\\)\[Sign", "a picture": r"(?<!\\)!(?<!\\)\[", "a formula": r"(?<!\\)\$x", 
    "HTML": r"(?<!\\)<(b|a) ",
    "an emoji": r":smile:", "a colour": r":red(?<!\\)\[", "bold": r"(?<!\\)\*b", "an address": r"https://evil|www\.evil",
    "an e-mail": r"a@evil",
}  # fmt: skip
OPEN = {
    "o_metrics": "open", "g_numbers": "open", "g_scans": "open", "r_numbers": "open", "cl_numbers": "open",
    "c_settings": "open", "c_metrics": "open", "set": "folds", PLANT[:30]: "x", "dx": PLANT, "p_scan": PLANT,
}  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A store with a plant in every text that does not name an array or a model, and as a diagnosis."""
    store = tmp_path_factory.mktemp("hostile")
    keys = {"scan", "group", "diagnosis", "model", "model_set", "method", "target", "scale", "predicted", "native_grid",
            "region", "merged", "role", "sex", "curve", "level", "classifier", "metric", "statistic", "method_a",
            "method_b", "dtype", "path", "covariate", "lobe", "side", "stage"}  # fmt: skip
    scans = {scan: (row[0], AS_A_NAME if row[1] == "MCI" else row[1], *row[2:]) for scan, row in SCANS.items()}
    with mock.patch.object(store_factory, "SCANS", scans):
        folder = store_factory.make_run(store)
    for file in (folder / "tables").glob("*.parquet"):
        table = pd.read_parquet(file)
        for column in set(table.columns) - keys:
            texts = table[column]
            if pd.api.types.is_string_dtype(texts) and len(texts) and not column.endswith("sha256"):
                table[column] = [f"{PLANT}{text}" for text in texts]
        table.to_parquet(file)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"name": PLANT, "cohort": PLANT, "notices": [PLANT], "versions": {PLANT: PLANT}, "device": PLANT}
    manifest["config"] = {"cohort": {"name": PLANT}, PLANT: PLANT}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return store


def texts_of(message) -> Iterator[str]:
    """Every text of a message of Streamlit that may be read as Markdown."""
    for field, value in message.ListFields():
        if field.name in NO_MARKDOWN and field.message_type is None:
            continue
        many = value if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else [value]
        for one in many if not hasattr(value, "items") else []:
            if isinstance(one, str):
                yield one
            elif hasattr(one, "ListFields"):
                yield from texts_of(one)


def said(app) -> Iterator[str]:
    for element in elements(app._tree):
        if element.type not in ("dataframe", "arrow_data_frame", "selectbox", "multiselect", "code"):
            yield from texts_of(element.proto)
        if element.type in ("table", "arrow_table"):
            yield from (str(text) for text in element.value.to_numpy().ravel())
            yield from map(str, [*element.value.index, *element.value.columns])


def findings(texts: Iterator[str]) -> list[tuple[str, str]]:
    read = [re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text) for text in texts]  # but for code
    return [(what, text[:300]) for text in read for what, mark in AT_WORK.items() if re.search(mark, text)]


@pytest.mark.parametrize("name", PAGES)
def test_no_text_of_a_store_or_link_becomes_markup(open_view, hostile, name):
    app = open_view(f"views/{name}/page.py", hostile, **OPEN)
    assert not app.exception
    texts = list(said(app))
    assert "This view failed" not in texts
    assert any("evil" in text or "Sign in" in text for text in texts)
    assert findings(texts) == []


@pytest.mark.parametrize("part", ["methods", "paper", "region"])
def test_nor_on_the_parts_of_the_regions_page(open_view, hostile, part):
    assert findings(said(open_view("views/regions/page.py", hostile, r_part=part, **OPEN))) == []


def test_what_the_escape_leaves_is_what_stood_there():
    for text in (PLANT, "sub-01_T1w", "- a", "1. a", "# a", "a -> b", "= x", "~~a~~", "{x}", "|a|b|", "\\[x]", "12:30"):
        escaped = formatting.plain(text)
        assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped).replace(formatting.WORD_JOINER, "") == " ".join(
            text.split()
        )
        assert findings([escaped]) == []
    assert formatting.plain("sim-0008") == "sim-0008"
    assert formatting.plain("a\n\n# b") == r"a \# b"
    assert formatting.plain("- a") == r"\- a"
    assert formatting.plain("3. a") == r"3\. a"


def test_code_cannot_be_left():
    assert formatting.code("run=x") == "`run=x`"
    assert formatting.code("a`b``c") == "```a`b``c```"
    assert formatting.code("`") == "`` ` ``"


def test_names_of_methods_and_regions_have_no_marks():
    assert formatting.method_name("sensitivity") == "Sensitivity analysis"
    assert formatting.region_name("Temporal_Mid_L") == "Middle temporal gyrus, left"
    for name in (formatting.method_name(PLANT), formatting.region_name(PLANT)):
        assert not set("[]<>*`$!:@") & set(name)


def test_a_chart_has_no_tags_but_ours():
    figure = Chart().add(x=["<a href='https://evil.example'>Sign in</a>"], y=[1], name="<b>ours</b><br><img src=x>")
    figure.annotate(text="AD<sup>2</sup><script>x</script>")
    spec = figure.finish(100).plotly().to_json()
    for tag in ("<a ", "<img", "<script", "</a>"):
        assert tag not in spec
    assert "<b>ours</b><br>&lt;img src=x>" in json.loads(spec)["data"][0]["name"]


def test_every_area_of_the_atlas_has_a_plain_name_of_its_own():
    regions = load_atlas(AtlasConfig(), 4).regions
    areas = {merged_name(region) for region in regions.region[regions.in_atlas]}
    assert areas <= set(region_names.AREAS)
    current = [region_names.AREAS[area] for area in areas]
    assert len(set(current)) == len(current)
    assert formatting.region_name("Hippocampus_R") == "Hippocampus, right"
    assert formatting.region_name("ctx-lh-insula") == "ctx-lh-insula"
    assert formatting.region_with_code("Temporal_Mid_L") == "Middle temporal gyrus, left (Temporal_Mid_L)"
    assert formatting.region_with_code("ctx-lh-insula") == "ctx-lh-insula"
    assert region_names.within_sentence("Heschl_L") == "left Heschl’s gyrus"


def test_files_have_the_code_and_the_name():
    file = page.Download.csv("x", "x", lambda: pd.DataFrame({"region": ["Temporal_Mid_L", ""], "value": [1, 2]}))
    assert file.data().splitlines() == [
        "region,region_words,value", 'Temporal_Mid_L,"Middle temporal gyrus, left",1', ",,2",
    ]  # fmt: skip


def test_the_style_of_all_pages_survives_the_browsers_check():
    """DOMPurify drops a whole style sheet in which a < comes before a letter, and every page loses its look."""
    assert re.findall("<[a-z/!?]+", home_style()) == ["<style", "</style"]


def home_style() -> str:
    tree = ast.parse((Path(page.__file__).parents[1] / "home.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STYLE"
    )


def test_the_width_of_a_table_is_that_of_its_longest_texts():
    frame = pd.DataFrame({"Region": ["Middle temporal gyrus, left", "Insula"], "p": [0.123456789, 1.0], "x": ["", ""]})
    narrow, wide = (display.grid_width(frame, columns) for columns in ({}, {"x": {"width": 300}}))
    assert 250 < narrow < 350
    assert 260 <= wide - narrow <= 290
    assert display.grid_width(frame.head(0), {}) < narrow
