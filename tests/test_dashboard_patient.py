"""The Patient page: numbers against the group, links, steps, and what is said where something is missing."""

from __future__ import annotations

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pages import forget_all
from store_factory import make_run_of_four_networks, shared_store
from streamlit.testing.v1 import AppTest

from dashboard import viewer
from dashboard.data import map_images, runs
from dashboard.data.selection import Selection
from dashboard.shell import access
from dashboard.text import formatting
from dashboard.text.outputs import answer_of
from dashboard.views.patient import downloads, pictures
from dashboard.views.patient import queries as patient_queries
from dashboard.views.patient import tables as patient_tables
from store import open_run
from store.reading.agreement import scan_agreement


@pytest.fixture
def run(fresh_dashboard) -> runs.Run:
    reader = open_run(shared_store())
    return runs.Run(str(shared_store()), reader.run_id, reader.manifest["created"])


@pytest.fixture
def opened(run, open_view):
    def page(**query) -> AppTest:
        app = open_view("views/patient/page.py", **query)
        assert not app.exception, app.exception
        return app

    return page


def test_a_link_opens_a_patient_by_pseudonym(opened):
    app = opened(set="folds", p_subject=access.pseudonym("a1"), p_scan=access.pseudonym("a1-2"))
    assert app.selectbox(key="p_subject").value == "a1"
    assert app.button_group(key="p_scan").value == "a1-2"
    assert "**a1** · **AD**" in app.markdown[0].value + app.markdown[1].value
    query = {k: v if isinstance(v, str) else v[0] for k, v in app.query_params.items()}
    assert query["p_subject"] == access.pseudonym("a1")
    assert not any("a1" in v for k, v in query.items() if k in ("p_subject", "p_scan"))


def test_steps_go_round_the_filtered_patients(opened):
    app = opened(set="folds", dx="NC")
    assert [option.split(" ")[0] for option in app.selectbox(key="p_subject").options] == ["n1", "n2"]
    assert app.selectbox(key="p_subject").value == "n1"
    app.button(key="patient-next").click().run()
    assert app.selectbox(key="p_subject").value == "n2"
    app.button(key="patient-next").click().run()
    assert app.selectbox(key="p_subject").value == "n1"
    app.button(key="patient-back").click().run()
    assert app.selectbox(key="p_subject").value == "n2"


def test_a_linked_patient_outside_the_filters_is_shown_and_said_to_be(opened):
    app = opened(set="folds", dx="NC", p_subject=access.pseudonym("a2"))
    assert app.selectbox(key="p_subject").value == "a2"
    assert any("does not pass the filters" in caption.value for caption in app.caption)


def test_a_link_that_cannot_be_resolved_shows_no_patient_and_says_why(opened):
    app = opened(set="folds", p_subject="0123456789", p_opacity="0.5", p_scan="abcdef0123")
    for _ in range(2):  # a further pass shows none either
        assert not app.exception
        assert any("made on a computer with another key of links" in warning.value for warning in app.warning)
        assert [box.key for box in app.selectbox if box.key == "p_subject"] == []
        assert "Parts of this link were not used" not in " ".join(markdown.value for markdown in app.markdown)
        assert app.query_params["p_subject"] in ("0123456789", ["0123456789"])
        app = app.run()
    app = app.button(key="p-choose").click().run()
    assert app.selectbox(key="p_subject").value == "a1"
    assert not app.warning


def test_a_patient_whom_these_models_do_not_explain_is_not_replaced_by_another(opened):
    app = opened(set="holdout", p_subject=access.pseudonym("a2"))
    assert any("choose other models" in warning.value for warning in app.warning)
    assert [box.key for box in app.selectbox if box.key == "p_subject"] == []


def test_a_refused_page_says_why_and_nothing_of_the_link(anonymous, opened):
    app = opened(set="folds", p_subject=access.pseudonym("a1"), p_opacity="0.85", p_mm="1,2,3")
    assert not app.exception
    said = " ".join(markdown.value for markdown in app.markdown)
    assert "needs a login" in app.info[0].value
    assert "Parts of this link" not in said
    assert app.query_params["p_opacity"] in ("0.85", ["0.85"])


def test_no_true_group_for_an_apply_scan(opened):
    app = opened(set="folds", target="true", p_subject=access.pseudonym("m1"))
    assert any("belongs to no group" in info.value for info in app.info)


def test_nobody_passes(opened):
    app = opened(set="folds", dx="MCI", ok="wrong")
    assert any("No patient passes" in markdown.value for markdown in app.markdown)


# -- numbers ------------------------------------------------------------------------------------------------------


def people(n: int) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(
        [(f"s{i}", "AD") for i in range(n)] + [("x", "NC")], names=["subject", "diagnosis"]
    )
    return pd.DataFrame({"H": np.r_[np.arange(n) / 100, 9.0], "T": np.r_[np.full(n, 0.5), 9.0]}, index=index)


def test_percentile_among_the_other_subjects_of_the_diagnosis():
    own = pd.Series({"H": 0.10, "T": 0.5})
    table = patient_tables.against_group(own, people(21), "s10", "AD").set_index("region")
    assert table.n.tolist() == [20, 20]
    assert table.percentile.tolist() == [50.0, 50.0]  # mid-rank: ties count half
    assert table.loc["H", "mean"] == pytest.approx(0.10)
    others = np.delete(np.arange(21) / 100, 10)
    assert table.loc["H", "sd"] == pytest.approx(others.std(ddof=1))


def test_no_percentile_below_ten_others():
    own = pd.Series({"H": 0.05, "T": 0.5})
    assert patient_tables.against_group(own, people(10), "s1", "AD").percentile.isna().all()
    assert patient_tables.against_group(own, people(11), "s1", "AD").percentile.notna().all()
    alone = patient_tables.against_group(own, people(1), "s0", "AD")
    assert alone["mean"].isna().all()


def test_shares_are_those_of_the_store_and_targets_are_resolved(run):
    table = runs.table(run, "region_relevance")
    for target in ("AD", "NC", "true", "predicted"):
        shares = patient_queries.region_shares(run, "folds", "occlusion", target)
        reader = runs.opened(run)
        for model, scan in shares.index:
            group = reader.target_of(model, scan, target)
            rows = table[
                (table.model == model) & (table.scan == scan) & (table.method == "occlusion") & (table.target == group)
            ]
            np.testing.assert_allclose(
                shares.loc[(model, scan)], rows.set_index("region").share[shares.columns], rtol=1e-6
            )
    assert "m1-1" not in patient_queries.region_shares(run, "folds", "occlusion", "true").reset_index().scan.tolist()


def test_subject_means_are_means_over_scans(run):
    shares = patient_queries.region_shares(run, "folds", "sensitivity", "AD")
    means = patient_queries.subject_means(run, "folds", "sensitivity", "AD")
    own = shares[shares.index.get_level_values("scan").isin(["a1-1", "a1-2", "a1-3"])]
    np.testing.assert_allclose(means.loc[("a1", "AD")], own.mean(), rtol=1e-5)


def test_visits_are_in_time_order(run):
    rows = pd.DataFrame(
        {"subject": ["a"] * 3, "scan": list("xyz"), "session": ["m12", "bl", "m06"], "age": [71, 70, 70.5]}
    )
    assert patient_queries.visits(rows, "a").scan.tolist() == ["y", "z", "x"]


VIEW = {
    "mm": None, "method": "sensitivity", "threshold": 50.0, "threshold_kind": "percentile", "smooth": True,
    "colours": "hot", "sign": "signed", "opacity": 0.8, "convention": "neurological", "scale": "own", "cluster": 0.0,
}  # fmt: skip


def test_the_saved_picture_has_a_row_for_each_method_and_says_whose_it_is(run):
    selection = Selection(run, "holdout", "sensitivity", "AD")
    row = {"subject": "a1", "scan": "a1-1"}
    label = downloads.label(selection, "holdout", row)
    one = pictures.sheet(selection, "holdout", "a1-1", ["sensitivity"], VIEW, label)
    two = pictures.sheet(selection, "holdout", "a1-1", ["sensitivity", "occlusion"], VIEW, label)
    assert two.height - one.height > 80  # another row of brains
    words = two.svg().decode()
    for text in ("SIMULATED", "evidence for AD", "model holdout", run.run_id, "Research use only", "Occlusion"):
        assert text in words
    assert access.pseudonym("a1") in words
    assert "a1-1" not in words
    wide = {**VIEW, "cluster": 500.0}
    assert b"500 mm" in pictures.sheet(selection, "holdout", "a1-1", ["sensitivity"], wide, label).svg()


def test_the_page_says_the_patient_in_words_and_who_is_explained_most_alike(opened):
    app = opened(set="holdout", target="AD", p_subject=access.pseudonym("a1"))
    words = " ".join(one.value for one in app.markdown)
    assert "The strongest evidence for AD, by Sensitivity analysis, lies in" in words or "For AD, by" in words
    assert "How sure: the network decides" in words
    assert [h.value for h in app.subheader].count("Explained most alike") == 1
    assert any("Alike in where the networks look, not in disease" in one.value for one in app.caption)
    assert any("Research use only" in one.value and "Made by rule" in one.value for one in app.caption)


def test_networks_that_agree_are_drawn_and_taken_away(tmp_path, fresh_dashboard):
    make_run_of_four_networks(tmp_path, methods=("sensitivity", "area_occlusion"))
    reader = open_run(tmp_path)
    place = runs.Run(str(tmp_path), reader.run_id, reader.manifest["created"])
    selection, methods = Selection(place, "holdout", "sensitivity", "AD"), ["sensitivity", "area_occlusion"]
    view = viewer.DEFAULTS | {"method": "sensitivity", "mm": [-91.0, -126.0, -73.0], "smooth": False, "threshold": 0.0}
    drawn = [
        pictures.sheet(selection, "holdout", "a1-1", methods, view | {"agreement": on}, "") for on in (False, True)
    ]
    words = [" ".join(text.words for text in one.texts) for one in drawn]
    assert "mean of 4 networks, opacity: share of them that agree" not in words[0]
    assert (
        words[1].count("mean of 4 networks, opacity: share of them that agree") == 1
    )  # area occlusion has one network
    found = scan_agreement(reader, "holdout", "sensitivity", "a1-1", "AD")
    for kind, values in (("mean", found.mean), ("agreement", found.share)):
        data = downloads.agreement_nifti(reader, "holdout", "sensitivity", "a1-1", "AD", kind=kind)
        image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
        np.testing.assert_allclose(image.get_fdata(), values, atol=1e-8)


def test_a_threshold_holds_for_the_methods_of_its_unit(run):
    reader = runs.opened(run)
    found = {
        method: map_images.signed_map(reader, "holdout", method, "a1-1", "AD", "margin")
        for method in ("sensitivity", "guided_backprop", "occlusion")
    }
    found["occlusion"] = replace(found["occlusion"], unit="another")
    sizes = {method: np.abs(one.grid[reader.mask]) for method, one in found.items()}
    value = float(np.percentile(sizes["sensitivity"], 70, method="inverted_cdf"))
    typed = {**VIEW, "threshold": value, "threshold_kind": "absolute"}
    scales = pictures.ranges(found, "sensitivity", typed, reader)
    assert scales["sensitivity"].scale.low == pytest.approx(value)
    assert scales["guided_backprop"].scale.low == pytest.approx(value)
    low, share = scales["occlusion"].scale.low, (sizes["sensitivity"] <= value).mean()
    # Occlusion has a dozen values here: the share lies in the step of one of them.
    assert (
        (sizes["occlusion"] < 0.9999 * low).mean() - 0.01 <= share <= (sizes["occlusion"] <= 1.0001 * low).mean() + 0.01
    )
    empty = {"sensitivity": replace(found["sensitivity"], grid=0 * found["sensitivity"].grid)}
    assert pictures.ranges(empty, "sensitivity", VIEW, reader)["sensitivity"].scale.high > 0


def test_who_has_converted_is_said():
    row = {"diagnosis": "AD", "screening_diagnosis": "MCI", "age": 71.2, "sex": "F", "mmse": 23.0, "cdr": np.nan,
           "session": "m24", "site": "", "severity": np.nan}  # fmt: skip
    assert patient_tables.covariates(row) == "**AD** · MCI at screening · 71 y · F · MMSE 23 · session m24"
    for same in ("AD", "", None):
        assert "screening" not in patient_tables.covariates({**row, "screening_diagnosis": same})


def test_seeds_are_named_in_words():
    named = [formatting.seed_words(name) for name in ("run", "holdout", "holdout-seed-2", "fold-1")]
    assert named == ["Whole run", "Held-out", "Held-out, retrained 2", "Fold 1"]


def test_no_probability_is_written_as_a_certainty_or_with_many_digits():
    answer = answer_of({"groups": ["AD", "NC"]})
    assert [answer.number(p) for p in (4.18e-13, 0.0000772, 0.5, 0.9999)] == ["< 0.001", "< 0.001", "0.500", "> 0.999"]
    said = pd.DataFrame(
        {
            "model": ["fold-1", "fold-2", "fold-3"], "model_set": "folds", "probability": [4.18e-13, 0.01, 0.972],
        }
    )  # fmt: skip
    assert patient_tables.spread_of_predictions(said, answer) == (
        "3 networks of the folds, mean 0.327, < 0.001 to 0.972"
    )
    doubt = patient_tables.disagreement(said, answer)
    assert "3 networks of the folds disagree" in doubt
    held_out = said[:2].assign(model=["holdout", "holdout-b"], model_set="holdout")
    assert patient_tables.spread_of_predictions(held_out, answer).startswith("2 held-out networks, mean")
    again = said[:1].assign(model="holdout-seed-2", model_set="holdout", probability=0.9)
    assert patient_tables.spread_of_predictions(again, answer) == "retrained 0.900"
    more = pd.concat([again, again.assign(model="holdout-seed-3", probability=0.8)])
    assert patient_tables.spread_of_predictions(more, answer) == "2 retrained 0.800 to 0.900"
    assert patient_tables.networks(pd.Series(["holdout", "fold-1"])) == "2 networks"
    assert "< 0.001 to 0.972" in doubt
    assert patient_tables.disagreement(said[:2], answer) == ""
    assert patient_tables.disagreement(said[:1], answer) == ""


def test_a_wrong_decision_is_compared_with_both_groups_and_leads_to_its_evidence(open_view, run):
    said = runs.table(run, "predictions")
    wrong = said[(said.model_set == "folds") & (said.correct == False)].iloc[0]  # noqa: E712
    link = {"set": "folds", "p_subject": access.pseudonym(wrong.subject), "p_scan": access.pseudonym(wrong["scan"])}
    app = open_view("views/patient/page.py", None, target=wrong.diagnosis, **link)
    assert not app.exception
    told = next(one.value for one in app.info if "labelled" in one.value)
    assert told.startswith(f"Decided as {wrong.predicted}, labelled {wrong.diagnosis}.")
    app.button(key="p-why").click().run()
    assert not app.exception
    assert app.session_state["target"] == wrong.predicted
    assert any("show the evidence for" in one.value and "the decision" in one.value for one in app.info)
    right = said[(said.model_set == "folds") & (said.correct == True)].iloc[0]  # noqa: E712
    link = {"set": "folds", "p_subject": access.pseudonym(right.subject), "p_scan": access.pseudonym(right["scan"])}
    assert not any("labelled" in one.value for one in open_view("views/patient/page.py", None, **link).info)


def test_a_map_that_should_add_up_says_by_how_much_it_misses_that(opened, run, monkeypatch):
    assert "except for 0.320 % of it." in patient_tables.say_completeness("integrated_gradients", 0.0032)
    assert "more than the 1.00 % that is aimed at" in patient_tables.say_completeness("integrated_gradients", 0.031)
    rows = runs.table(run, "heatmaps").assign(completeness_error=np.nan)
    own = (rows.model == "fold-1") & (rows.scan == "a1-1") & (rows.method == "sensitivity")
    rows.loc[own & (rows.target == "AD"), "completeness_error"] = 0.25
    whole = runs.table
    monkeypatch.setattr(runs, "table", lambda r, name, *more: rows if name == "heatmaps" else whole(r, name, *more))
    forget_all()
    assert patient_queries.completeness_error(run, "fold-1", "sensitivity", "a1-1") == 0.25
    assert np.isnan(patient_queries.completeness_error(run, "fold-1", "sensitivity", "a1-2"))
    assert np.isnan(patient_queries.completeness_error(run, "fold-1", "occlusion", "a1-1"))


def test_the_page_says_it_below_the_method_that_is_shown(opened, monkeypatch):
    def said() -> list[str]:
        app = opened(set="folds")
        return [caption.value for caption in app.caption if "adds up to" in caption.value]

    assert said() == []  # the factory has no method whose map adds up
    monkeypatch.setattr(patient_queries, "completeness_error", lambda run, model, method, scan: 0.004)
    (line,) = said()
    assert "except for 0.400 % of it." in line
