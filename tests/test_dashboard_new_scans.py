"""Runs of new scans, explained by the networks of another run: beside its groups, and in words where there are none."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from new_scans_factory import FLAGGED, TEXT, make_new_scans
from plotly_schema import validated
from store_factory import make_larger_run
from streamlit.testing.v1 import AppTest
from test_dashboard_views import VIEWS, text_of

from dashboard import viewer
from dashboard.data import averages, map_images, runs
from dashboard.data.selection import OneHeatmap, ScanFilter, Selection, explained_scans
from dashboard.reports import patient_report
from dashboard.reports.layout import Page
from dashboard.reports.patient import patient_page
from dashboard.reports.subject import Subject
from dashboard.shell import access
from dashboard.text.formatting import region_name
from dashboard.text.outputs import answer_of
from dashboard.views.overview import new_scans as overview_new_scans
from dashboard.views.patient import charts as patient_charts
from dashboard.views.patient import tables as patient_tables
from dashboard.views.patient.downloads import downloads
from dashboard.views.patient.linked_viewer import Seen
from dashboard.views.shared import region_relevance, region_values
from dashboard.views.shared.region_values import RegionSizes
from dashboard.views.variability import tables as between
from store import RunReader, open_run
from store.keys import GroupKey
from store.writing.validate import validate

REFERENCE, RUN = "cohort-1", "scans-1"
METHODS = ("sensitivity", "area_occlusion")
PATIENT = "views/patient/page.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A run of 27 subjects, and three new scans explained by its networks."""
    folder = tmp_path_factory.mktemp("new-scans")
    make_larger_run(folder, run_id=REFERENCE, methods=METHODS)
    make_new_scans(folder, REFERENCE, methods=METHODS)
    return folder


@pytest.fixture(scope="module")
def alone(store, tmp_path_factory) -> Path:
    """The new scans without the run that explained them."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(store / RUN, folder / RUN)
    return folder


@pytest.fixture
def opened(open_view):
    """Opens a page of the run of new scans with the words of the URL."""

    def page(place, view=PATIENT, **query) -> AppTest:
        app = open_view(view, place, **{"run": RUN, **query})
        assert not app.exception
        assert not app.error
        return app

    return page


def test_the_made_up_run_is_what_the_specification_says(store):
    assert validate(store / RUN) == []
    assert open_run(store, RUN).reference_run == REFERENCE


# -- beside the groups of the reference -------------------------------------------------------------------------------


def percentiles(store: Path, scan: str, method: str, group: str) -> pd.Series:
    """Region -> percentile of the share by fold-1 among the subjects of a group, straight from both runs."""
    mine = open_run(store, RUN).table("region_relevance", model="fold-1", method=method, target="AD", scan=scan)
    reader = open_run(store, REFERENCE)
    theirs = reader.table("region_relevance", model_set="folds", method=method, target="AD")
    people = reader.table("scans")[["scan", "subject", "diagnosis"]]
    theirs = theirs.merge(people[people.diagnosis == group], on="scan")
    means = theirs.groupby(["region", "subject"])["share"].mean().astype(np.float32)
    own = mine.set_index("region")["share"].astype(np.float32)
    return pd.Series({region: 100 * (means[region] < own[region]).mean() for region in own.index})


def table_of(app: AppTest) -> pd.DataFrame:
    """Strongest regions and percentiles."""
    return next(table.value for table in app.table if "Percentile of AD" in table.value.columns)


@pytest.mark.parametrize("method", METHODS)
def test_percentiles_are_among_the_subjects_of_the_reference(opened, store, method):
    link = {"p_subject": access.pseudonym("new-1"), "p_model": "fold-1", "set": "folds", "method": method}
    app = opened(store, **link)
    table = table_of(app)
    for group in ("AD", "NC"):
        expected = percentiles(store, "new-1", method, group).rename(region_name)
        for region, value in table[f"Percentile of {group}"].items():
            assert float(value) == pytest.approx(expected[region], abs=0.51), (group, region)
    assert f"among the 12 AD and 12 NC subjects of {REFERENCE}" in text_of(app)


def labels_of(app: AppTest) -> list[str]:
    """Of the parts that the reader opens."""
    return [part.label for part in app.expander]


def captions_of(app: AppTest) -> list[str]:
    """Of the pictures."""
    return [image.caption for element in app.get("image") for image in element.proto.imgs]


@pytest.mark.parametrize("method", METHODS)
def test_the_averages_of_the_reference_are_pictures_beside_the_scan(opened, store, method):
    link = {"p_subject": access.pseudonym("new-1"), "p_model": "fold-2", "set": "folds", "method": method}
    assert not opened(store, **link).get("image")
    app = opened(store, p_groups="open", **link)
    assert f"The groups of {REFERENCE} (SIMULATED), as pictures" in labels_of(app)
    people = {"AD": "n = 12 subjects, 13 scans", "NC": "n = 12 subjects, 12 scans"}
    groups = [f"{group} of {REFERENCE}, {n}" for group, n in people.items()]
    assert captions_of(app) == ["new-1, explained by fold-2", *groups]
    app = opened(store, p_groups="open", **link | {"p_model": "holdout-seed-2", "set": "holdout"})
    assert captions_of(app) == groups
    assert "Of held-out, retrained 2 there is none" in text_of(app)


def test_the_picture_of_a_scan_is_its_heatmap_by_one_model(store):
    reader = open_run(store, RUN)
    run = runs.Run(str(store), RUN, reader.manifest["created"])
    for model in ("fold-1", "fold-2"):
        chosen = OneHeatmap(run, "folds", "sensitivity", "AD", model=model, scan="new-1")
        size = np.abs(reader.heatmap(model, "sensitivity", "new-1", target="AD")) * reader.mask
        average = averages.Average(chosen, "size", "relative")
        np.testing.assert_allclose(averages.volume(average), size / size.sum(), rtol=1e-4, atol=1e-9)
        assert not averages.is_stored(average)


def test_predictions_of_all_models_are_said_with_mean_and_range(opened, store):
    app = opened(store, p_subject=access.pseudonym("new-1"), set="folds")
    table = open_run(store, RUN).table("predictions", scan="new-1", model_set="folds")
    mean, low, high = (f"{table.probability.agg(how):.3f}" for how in ("mean", "min", "max"))
    (said,) = [one.value for one in app.markdown if one.value.startswith("**p(AD)")]
    assert f"2 networks of the folds, mean {mean}, {low} to {high}" in said
    assert said.startswith(f"**p(AD) {mean}**")
    assert app.button_group(key="p_model").options == ["fold 1", "fold 2"]
    assert "One scan of this person" in text_of(app)


def test_flags_are_plain_warnings_of_their_scan_only(opened, store):
    said = text_of(opened(store, p_subject=access.pseudonym(FLAGGED)))
    assert f"Outside the range of the cohort: {TEXT}." in said
    assert TEXT not in text_of(opened(store, p_subject=access.pseudonym("new-1")))


def test_a_flag_of_the_settings_says_that_a_person_accepted_it():
    rows = [("limits", "overlap 0.7; at least 0.8", "accept"), ("reference", "brain volume 900", "")]
    flags = pd.DataFrame(rows, columns=["source", "text", "decision"])
    assert patient_tables.flag_texts(flags) == [
        "Outside the limits of the settings: overlap 0.7; at least 0.8 (a person has looked at it and accepted it).",
        "Outside the range of the cohort: brain volume 900.",
    ]


def test_networks_of_simulated_change_are_labelled_on_every_page(opened, store):
    assert "were trained on simulated change" in text_of(opened(store))
    for view in VIEWS:
        said = text_of(opened(store, view))
        assert "SIMULATED NETWORKS" in said, view
        assert f"networks of {REFERENCE}" in said, view


def test_networks_of_real_change_have_no_such_label(opened, tmp_path):
    make_new_scans(tmp_path, "gone-1", simulated_networks=False, methods=METHODS[:1])
    said = text_of(opened(tmp_path))
    assert "simulated change" not in said
    assert "SIMULATED" not in said


def test_without_the_reference_in_the_store_the_scan_is_shown_with_a_note(opened, alone):
    app = opened(alone, set="folds")
    said = text_of(app)
    assert "That run is not in this store, so the scan cannot be set beside its AD and NC subjects" in said
    assert "were trained on simulated change" in said
    assert not any("as pictures" in label for label in labels_of(app))
    assert not any("Percentile of AD" in table.value.columns for table in app.table)
    assert "Strongest regions" in said


def test_a_reference_that_lacks_a_method_leaves_the_own_diagnosis(opened, store, tmp_path):
    make_larger_run(tmp_path, run_id=REFERENCE, methods=METHODS[:1])
    shutil.copytree(store / RUN, tmp_path / RUN)
    app = opened(tmp_path, method="area_occlusion", set="folds")
    assert not any("Percentile of AD" in table.value.columns for table in app.table)


def test_a_real_run_opens_without_any_of_this(opened, store):
    app = opened(store, run=REFERENCE)
    assert "networks of" not in text_of(app)
    assert not app.warning


def test_the_chart_has_both_groups_and_the_scan():
    rows = pd.DataFrame({"region": ["A", "B"], "share": [0.2, 0.1], "mean": 0.1, "sd": [0.1, np.nan], "n": 12})
    chart = patient_charts.against_groups({"AD": rows, "NC": rows.assign(n=0)}, "#2A9D8F", ["AD", "NC"])
    names = [trace.name for trace in validated(chart).data]
    assert names == ["AD, mean ± SD, n = 12", "NC, mean ± SD, n = 0", "this scan"]


def test_the_table_to_take_away_names_the_group():
    rows = pd.DataFrame({
        "region": ["A"], "share": [0.2], "percentile": [90.0], "mean": [0.1], "sd": [0.1], "n": [12],
    })  # fmt: skip
    table = patient_tables.export_groups({"AD": {"occlusion": rows}, "NC": {"occlusion": rows}})
    assert table["group"].tolist() == ["AD", "NC"]
    assert table["share_percent"].tolist() == [20, 20]


def report_of(run: RunReader, reference: RunReader | None, methods: Sequence[str] = METHODS) -> Page:
    """The page on new-1 by fold-2."""
    subject = Subject(run, "fold-2", "new-1", "AD", "one", (-90.0, -125.0, -75.0), reference, reference is not None)
    drawn = {m: map_images.patient_map(run, "fold-2", m, "new-1", "AD", "margin") for m in methods}
    return patient_page(subject, drawn, 90.0, None)


def words_on(page: Page) -> str:
    return " ".join(" ".join(text.get_text() for text in page.figure.texts).split())


def test_the_report_compares_with_the_groups_of_the_reference(store):
    run, reference = open_run(store, RUN), open_run(store, REFERENCE)
    page = report_of(run, reference)
    said = words_on(page)
    assert "Strongest regions against the groups" in said
    assert f"mean ± SD of the 12 AD and 12 NC subjects of {REFERENCE}" in said
    assert "SIMULATED NETWORKS" in said
    assert f"networks of {REFERENCE} were trained on simulated change" in said
    assert "unknown, n =" not in said
    subject = Subject(run, "fold-1", "new-1", "AD", "one", (-90.0, -125.0, -75.0), reference)
    for group, table in subject.against("sensitivity").items():
        expected = percentiles(store, "new-1", "sensitivity", group)
        found = table.set_index("region")["percentile"]
        assert found.to_dict() == pytest.approx(expected[found.index].to_dict(), abs=0.51)
    numbers = {text.get_text() for text in page.figure.texts if text.get_text().isdigit()}
    table = Subject(run, "fold-2", "new-1", "AD", "one", (0.0, 0.0, 0.0), reference).against("sensitivity")["NC"]
    known = run.table("regions")
    top = patient_tables.top_regions(table, set(known.region[known.in_atlas.astype(bool)]))
    assert {f"{value:.0f}" for value in top.percentile} <= numbers


def test_the_report_says_which_methods_the_reference_lacks(store, tmp_path):
    make_larger_run(tmp_path, run_id=REFERENCE, methods=METHODS[:1])
    said = words_on(report_of(open_run(store, RUN), open_run(tmp_path, REFERENCE)))
    assert f"{REFERENCE} has no brain area occlusion of other people" in said


def test_the_report_without_the_reference_compares_with_the_other_new_scans(store):
    said = words_on(report_of(open_run(store, RUN), None))
    assert "other unknown, n = 1 subject" in said
    assert "SIMULATED" not in said


def test_the_report_that_is_taken_away_knows_the_reference(store, monkeypatch):
    asked = {}

    def report(*arguments, **options) -> bytes:
        asked.update(options)
        return patient_report(*arguments, **options)

    monkeypatch.setattr("dashboard.reports.patient_report", report)
    run = runs.Run(str(store), RUN, open_run(store, RUN).manifest["created"])
    rows = explained_scans(run, "folds")
    row = rows[(rows.scan == "new-1") & (rows.model == "fold-1")].iloc[0]
    view = {**viewer.DEFAULTS, "method": "sensitivity"}
    selection = Selection(run, "folds", "sensitivity", "AD")
    made, *_ = downloads(selection, "fold-1", row, {"sensitivity": None}, Seen(view), {})
    assert made.data().startswith(b"%PDF-")
    assert asked["reference"].run_id == REFERENCE
    assert asked["simulated_networks"]


# -- pages ------------------------------------------------------------------------------------------------------------

PARTS = [
    *((view, {}) for view in VIEWS),
    *(("views/regions/page.py", {"r_part": part}) for part in ("methods", "paper", "region")),
    *(("views/variability/page.py", {"v_view": view}) for view in ("lobes", "spread", "similarity", "outliers")),
]  # fmt: skip


@pytest.mark.parametrize(("view", "query"), PARTS)
def test_every_page_opens(opened, store, view, query):
    app = opened(store, view, set="folds", **query)
    assert "This view failed" not in text_of(app)
    assert "Research use only" in text_of(app)


def test_a_page_that_judges_says_why_there_is_nothing_to_judge(opened, store):
    app = opened(store, "views/overview/page.py")
    assert "They belong to no group, so there is no accuracy" in app.info[0].value
    assert "How well the networks do" not in text_of(app)
    assert not app.metric


def test_outliers_say_why_new_scans_have_no_distance(opened, store):
    app = opened(store, "views/variability/page.py", set="folds", v_view="outliers")
    assert "New scans belong to no group" in text_of(app)
    assert f"what sets each scan apart from the cohort of {REFERENCE}" in text_of(app)
    assert "v_z" not in [slider.key for slider in app.slider]
    of_a_cohort = opened(store, "views/variability/page.py", run=REFERENCE, set="folds", v_view="outliers")
    assert "belong to no group" not in text_of(of_a_cohort)
    assert "v_z" in [slider.key for slider in of_a_cohort.slider]


def test_new_scans_are_compared_in_words_where_there_is_no_accuracy(opened, store):
    app = opened(store, "views/compare_runs/page.py", c_other=REFERENCE, c_set="folds")
    said = text_of(app)
    assert f"{RUN} holds new scans, explained by the networks of {REFERENCE}: it has trained nothing" in said
    assert f"{RUN} has trained nothing and has no accuracy: these numbers are of the other run alone" in said
    groups = [app.selectbox(key="c_group").format_func(value) for value in ("1", "2", "3", "4")]
    assert groups == ["MCI / AD", "MCI / NC", "unknown / AD", "unknown / NC"]
    assert captions_of(app)[0] == f"{RUN}: MCI, n = 1 subject, 1 scan"
    assert captions_of(app)[1].startswith(f"{REFERENCE}: AD, n = 12 subjects")
    assert "share no ranked regions" not in said
    whole = opened(store, "views/compare_runs/page.py", run=REFERENCE, c_other=RUN, c_set="folds")
    assert [whole.selectbox(key="c_group").format_func(value) for value in "13"] == ["AD / MCI", "NC / MCI"]


def test_two_runs_of_new_scans_have_no_accuracy_to_compare(opened, store, tmp_path):
    shutil.copytree(store / RUN, tmp_path / RUN)
    make_new_scans(tmp_path, REFERENCE, run_id="scans-2", methods=METHODS)
    said = text_of(opened(tmp_path, "views/compare_runs/page.py", c_other="scans-2", c_set="folds"))
    assert "Neither run has trained a network, so there is no accuracy to compare" in said
    assert said.count("holds new scans") == 2


def test_a_scan_of_several_models_is_counted_once(opened, store):
    for view in (PATIENT, "views/variability/page.py", "views/regions/page.py"):
        assert "**3 of 3 scans**, 3 subjects" in text_of(opened(store, view, set="folds")), view
    assert "n = 3 subjects, 3 scans" in text_of(opened(store, "views/variability/page.py", set="folds"))
    said = text_of(opened(store, "views/regions/page.py", set="folds", r_part="region"))
    assert "n = 2 scans of 2 subjects" in said
    assert "n = 1 scan of 1 subject" in said


def test_heatmaps_of_several_models_are_called_so(opened, store):
    app = opened(store, "views/distances/page.py", set="folds", d_level="scan")
    said = text_of(app)
    assert "Mean ± SD over heatmaps: MCI n = 2 heatmaps of 1 scan, unknown n = 4 heatmaps of 2 scans" in said
    assert "by one of the models that explain it" in said
    assert "over heatmaps (MCI 2 heatmaps of 1 scan, unknown 4 heatmaps of 2 scans)" in said
    whole = text_of(opened(store, "views/distances/page.py", run=REFERENCE, set="folds", d_level="scan"))
    assert "Mean ± SD over scans: AD n = 13 scans, NC n = 12 scans" in whole
    assert "heatmaps of" not in whole
    assert "The 6 heatmaps of 3 scans behind these maps" in labels_of(
        opened(store, "views/group_maps/page.py", set="folds")
    )
    rows = explained_scans(runs.Run(str(store), RUN, open_run(store, RUN).manifest["created"]), "folds")
    ranked = region_relevance.relevance(runs.Run(str(store), RUN, ""), "folds")
    groups = ranked.groups("sensitivity", "AD", np.ones(len(rows), bool), ["MCI", "unknown"])
    assert [group.scans for group in groups.values()] == [1, 2]
    reader = open_run(store, RUN)
    key = GroupKey("folds", "sensitivity", "AD")
    assert reader.group_map(key, statistics=["mean"]).scans == 3
    pairs = list(zip(rows.model, rows.scan, strict=True))
    assert reader.subset_map(key, pairs, statistics=["mean"]).scans == 3


def test_values_of_several_models_are_averaged():
    rows = pd.DataFrame({
        "model": ["fold-1", "fold-2", "fold-1"], "scan": ["s", "s", "t"], "subject": ["a", "a", "b"],
        "diagnosis": "unknown", "age": 70.0, "probability": [0.2, 0.4, 0.9], "predicted": ["NC", "NC", "AD"],
    })  # fmt: skip
    once = patient_tables.keep_one_a_scan(rows, ["AD", "NC"], answer_of({"groups": ["AD", "NC"]}))
    assert once["probability"].tolist() == pytest.approx([0.3, 0.9])
    assert once["predicted"].tolist() == ["NC", "AD"]
    sums = np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]])
    areas = RegionSizes(("A", "B"), np.ones(2, bool), np.ones(2), np.eye(2))
    for by_subject in (False, True):
        found = between.sample(rows, sums, areas, by_subject)
        np.testing.assert_allclose(found.shares, [[0.5, 0.5], [0.5, 0.5]])
        assert found.rows["scans"].tolist() == [1, 1]
    regions = pd.DataFrame({"region": ["A", "B"], "merged": ["A", "B"], "in_atlas": True, "volume_cm3": 1.0})
    of_a = region_values.values_of_region(sums * [[1], [1], [3]], rows, regions, "A", "sum")
    assert of_a["value"].tolist() == [2, 3]


# -- scans of other diagnoses in a run with its own networks ----------------------------------------------------------


@pytest.mark.parametrize("model_set", ["folds", "holdout"])
def test_mci_is_in_the_filters_and_under_its_diagnosis_on_every_page(opened, store, model_set):
    whole = {"run": REFERENCE, "set": model_set}
    for view in ("group_maps", "patient", "variability", "regions", "clinical", "distances"):
        app = opened(store, f"views/{view}/page.py", **whole)
        assert "MCI" in app.button_group(key="dx").options, view
    for view in ("variability", "regions", "clinical", "distances"):
        said = text_of(opened(store, f"views/{view}/page.py", dx="MCI", **whole))
        assert "3 MCI" in said, view
    assert "3 MCI subjects" in text_of(opened(store, "views/group_maps/page.py", dx="MCI", **whole))
    assert "Also explained: MCI" in text_of(opened(store, "views/group_maps/page.py", **whole))
    listed = opened(store, PATIENT, dx="MCI", **whole).selectbox(key="p_subject").options
    assert [option.split(" · ")[:2] for option in listed] == [[f"MCI{i}", "MCI"] for i in range(3)]
    assert "**MCI**" in text_of(opened(store, "views/regions/page.py", r_part="region", **whole))


def test_mci_is_in_no_accuracy(opened, store):
    app = opened(store, "views/overview/page.py", run=REFERENCE)
    cohort = next(table.value for table in app.table if "Subjects" in table.value.columns)
    assert "MCI (explained, not trained on)" in cohort.index
    said = text_of(app)
    assert "**Confusion matrix**, n = 25 scans" in said  # 12 + 12 subjects, one with two scans
    run = runs.Run(str(store), REFERENCE, open_run(store, REFERENCE).manifest["created"])
    rows = explained_scans(run, "holdout")
    assert (rows.diagnosis == "MCI").sum() == 3
    for wanted in (True, False):
        kept = rows[ScanFilter(correct=wanted).passing(rows)]
        assert "MCI" not in set(kept.diagnosis)


def test_scans_without_an_age_have_no_chart_of_ages(opened, store, tmp_path):
    shutil.copytree(store, tmp_path, dirs_exist_ok=True)
    file = tmp_path / RUN / "tables" / "scans.parquet"
    pd.read_parquet(file).assign(age=np.nan).to_parquet(file)
    view = next(view for view in VIEWS if "overview" in view)
    assert "No scan has an age." in text_of(opened(tmp_path, view))
    assert "No scan has an age." not in text_of(opened(store, view))


def test_the_overview_lists_every_new_scan_the_doubtful_first(opened, store):
    app = opened(store, "views/overview/page.py")
    run = open_run(store, RUN)
    table = overview_new_scans.work_list(
        run.table("predictions"), run.table("scans"), run.table("flags"), answer_of(run.manifest)
    )
    assert set(table["scan"]) == set(run.table("predictions").scan)
    assert table["agree"].is_monotonic_increasing  # those about which the networks disagree first
    (shown,) = [frame.value for frame in app.dataframe if "They agree" in frame.value]
    assert len(shown) == len(table)
    assert shown["Heatmap"].str.startswith("data:image/jpeg;base64,").all()
    assert shown["Heatmap"].nunique() == len(table)  # each its own
    said = run.table("predictions", scan=table["scan"].iloc[0])
    said = said[~said.model.str.contains("-seed-", regex=False)]
    assert table["low"].iloc[0] == said.probability.min()
    assert table["high"].iloc[0] == said.probability.max()
