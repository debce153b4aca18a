"""A dashboard of thousands: few dots, few rows and few names are sent, and the page says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated

from dashboard.data import runs
from dashboard.drawing.chart import Chart
from dashboard.shell import display, people
from dashboard.views.overview import by_site
from dashboard.views.shared import region_relevance
from dashboard.views.variability import regions as map_of_regions
from dashboard.views.variability.tables import some_rows
from store import open_run
from store.accuracy import by_site as estimates_by_site


def cloud(count: int = 1000) -> Chart:
    """Dots of one trace, ten of them larger, beside a line and a trace of few dots."""
    x = np.arange(count, dtype=float)
    size = [12 if n % 100 == 0 else 7 for n in range(count)]
    chart = Chart()
    chart.add(
        x=pd.Series(x), y=x, mode="markers", customdata=np.column_stack([x, x]).astype(object), name="all",
        marker={"size": size, "color": "red", "line": {"width": size}}, hovertext=[f"scan {n:.0f}" for n in x],
    )  # fmt: skip
    chart.add(x=[0, 1], y=[0, 1], mode="lines").add(x=[1, 2], y=[1, 2], mode="markers")
    return chart.finish(300)


def test_dots_are_thinned_with_all_that_belongs_to_them_and_those_that_stand_out_stay():
    chart = cloud()
    few = chart.thinned(200)
    trace = few.data[0]
    kept = np.asarray(trace["x"]).astype(int)
    assert 150 < few.dots() < 250
    assert set(range(0, 1000, 100)) <= set(kept)
    assert trace["hovertext"] == [f"scan {n}" for n in kept]
    assert trace["customdata"][:, 0].astype(int).tolist() == kept.tolist() == np.asarray(trace["y"]).tolist()
    assert len(trace["marker"]["size"]) == len(trace["marker"]["line"]["width"]) == len(kept)
    assert (trace["marker"]["color"], trace["name"]) == ("red", "all")
    assert few.data[1:] == chart.data[1:]
    assert chart.dots() == 1000  # the chart itself, which others share, is as it was
    validated(few)
    assert np.array_equal(chart.thinned(200).data[0]["x"], trace["x"])
    assert len(chart.thinned(5000).data[0]["x"]) == 1000


def test_some_rows_are_all_where_they_are_few_and_always_the_same():
    assert some_rows(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert len(set(some_rows(1000, 50))) == 50
    assert some_rows(1000, 50).tolist() == sorted(some_rows(1000, 50).tolist())


def captions(app) -> str:
    return "\n".join(caption.value for caption in app.caption)


def test_a_page_says_that_not_all_dots_are_drawn(open_view, monkeypatch):
    monkeypatch.setattr(display, "MOST_DOTS", 3)
    monkeypatch.setattr("dashboard.drawing.chart.FEW_DOTS", 1)
    app = open_view("views/variability/page.py", set="folds", v_view="lobes")
    assert not app.exception
    assert "dots are drawn, chosen at random and always the same" in captions(app)


def test_the_map_of_patients_says_that_not_all_rows_are_drawn(open_view, monkeypatch):
    monkeypatch.setattr(map_of_regions, "MOST_ROWS", 4)
    app = open_view("views/variability/page.py", set="folds")
    assert not app.exception
    assert "4 of the " in captions(app)
    assert "the file has all" in captions(app)


def test_patients_are_found_by_a_search_where_they_are_many(open_view, monkeypatch):
    monkeypatch.setattr(people, "MOST_OFFERED", 3)
    app = open_view("views/patient/page.py", set="folds")
    assert not app.exception
    whole = sorted(runs.table(_run(), "predictions")["subject"].unique())
    assert len(app.selectbox(key="p_subject").options) == 3
    assert "The first 3 are in the list." in captions(app)
    app.text_input(key="p_subject-find").set_value(whole[-1]).run()
    assert not app.exception
    assert "1 found." in captions(app)
    options = app.selectbox(key="p_subject").options
    assert len(options) == 2  # the one that is shown, and the one that was found
    app.selectbox(key="p_subject").set_value(whole[-1]).run()
    assert whole[-1] in "\n".join(m.value for m in app.markdown)
    app.text_input(key="p_subject-find").set_value("no such name").run()
    assert "None found" in captions(app)


def test_a_link_names_a_patient_who_is_not_among_the_first(open_view, monkeypatch):
    subjects = sorted(runs.table(_run(), "predictions")["subject"].unique())
    monkeypatch.setattr(people, "MOST_OFFERED", 2)
    code = people.access.pseudonym(subjects[-1])
    app = open_view("views/patient/page.py", set="folds", p_subject=code)
    assert app.session_state["p_subject"] == subjects[-1]
    app = open_view("views/variability/page.py", set="folds", sub=code)
    assert app.session_state["sub"] == [subjects[-1]]


def _run() -> runs.Run:
    from store_factory import shared_store

    info = next(iter(runs.runs(str(shared_store()))))
    return runs.Run(str(shared_store()), info.run, info.created)


def test_tables_of_a_page_can_get_columns_and_the_next_reader_has_none_of_them(fresh_dashboard):
    first = runs.table(_run(), "predictions")
    first["mine"] = 1
    first.loc[0, "margin"] = 1e9
    again = runs.table(_run(), "predictions")
    assert "mine" not in again
    assert again.loc[0, "margin"] != 1e9


def test_regions_are_read_for_the_method_and_target_that_are_asked_for(fresh_dashboard, monkeypatch):
    read, asked = open_run(_run().store).__class__.region_values, []
    monkeypatch.setattr("store.RunReader.region_values", lambda *a: (asked.append(a[1:4]), read(*a))[1])
    data = region_relevance.relevance(_run(), "folds")
    before = len(asked)
    data.of_target("occlusion", "AD")
    data.of_target("occlusion", "AD")
    assert asked[before:] == [("folds", "occlusion", "AD")] or ("folds", "occlusion", "AD") in asked[:before]


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Scans of two sites: at the first all are right, at the second all are wrong; a third has one group alone."""
    rows = []
    for site, right, groups in (("a", True, ("AD", "NC")), ("b", False, ("AD", "NC")), ("c", True, ("AD",))):
        for group in groups:
            for n in range(6):
                ill = (group == "AD") == right
                rows.append({"scan": f"{site}{group}{n}", "subject": f"{site}{group}{n}", "group": group,
                             "model": f"fold-{n % 2 + 1}", "probability": 0.9 if ill else 0.1,
                             "margin": 2.0 if ill else -2.0})  # fmt: skip
    return pd.DataFrame(rows)


def test_accuracy_by_site_is_of_its_own_scans(predictions):
    sites = predictions.assign(site=predictions["scan"].str[0]).set_index("scan")["site"]
    found = estimates_by_site(predictions, sites, "folds", "AD")
    assert list(found) == ["a", "b", "c"]
    assert [scans for _, scans, _ in found.values()] == [12, 12, 6]
    assert found["a"][0]["auc"].value == 1
    assert found["a"][0]["auc"].low < 0.9  # of six against six
    assert found["b"][0]["balanced_accuracy"].value == 0
    assert np.isnan(found["c"][0]["auc"].value)
    assert list(estimates_by_site(predictions, sites.replace({"b": ""}), "folds", "AD")) == ["a", "c"]


def test_the_overview_shows_each_site_and_how_it_was_tested(open_view, monkeypatch):
    scans, table = runs.table(_run(), "scans"), runs.table

    def with_sites(run, name, columns=None):
        found = table(run, name, columns)
        return found.assign(site=np.where(np.arange(len(found)) % 2, "Oslo", "Lima")) if name == "scans" else found

    assert scans["site"].fillna("").eq("").all()
    app = open_view("views/overview/page.py")
    assert "Accuracy at each site" not in [box.label for box in app.expander]
    monkeypatch.setattr(by_site.runs, "table", with_sites)
    by_site._found.clear()
    app.run()
    assert not app.exception
    assert "Accuracy at each site" in [box.label for box in app.expander]
    assert "this says how even" not in captions(app)  # not made before it is opened
    app = open_view("views/overview/page.py", o_sites="open")
    assert not app.exception
    assert "this says how even they are" in captions(app)
    by_site._found.clear()
