"""Truth scores on the Overview, and the outline of the truth in the viewer's scene."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import make_run, shared_store

from dashboard.views.overview import queries as overview_queries
from dashboard.views.overview import truth_charts, truth_tables
from store import open_run


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return open_run(shared_store()).table("truth_scores")


def written(app) -> str:
    assert not app.exception
    return "\n".join(element.value for element in (*app.subheader, *app.markdown, *app.caption))


def test_the_sentence_names_the_best_method_and_what_it_is_beyond(scores):
    own = truth_tables.select_patients(scores, "AD")
    assert set(own["model_set"]) == {"holdout"}
    assert set(own["diagnosis"]) == {"AD"}
    text = truth_tables.say_answer(own)
    assert text.startswith("Brain area occlusion finds the change best: voxel AUC 0.840 [0.790, 0.890]")
    assert "+0.290 [0.230, 0.350] against networks trained where nothing was imposed" in text
    assert "no more" not in text
    assert "1.000" in truth_tables.say_ceilings(own)
    assert "0.930" in truth_tables.say_ceilings(own)


def test_a_method_that_is_not_beyond_its_reference_is_said_to_find_nothing(scores):
    own = truth_tables.select_patients(scores, "AD").assign(null_difference_low=-0.02)
    assert "**That is no better than those networks.**" in truth_tables.say_answer(own)
    assert "\N{MINUS SIGN}0.020" in truth_tables.say_answer(own)
    unknown = own.assign(null_difference=np.nan, difference=np.nan)
    assert "was not computed" in truth_tables.say_answer(unknown)
    assert "no heatmap" in truth_tables.say_answer(own.assign(value=np.nan)).lower()


def test_a_baseline_is_never_the_best_method_and_is_said_apart(scores):
    own = truth_tables.select_patients(scores, "AD")
    sobel = own[own["method"] == "sensitivity"].assign(method="sobel", value=0.99, value_low=0.98, value_high=1.0)
    both = pd.concat([own, sobel])
    assert truth_tables.say_answer(both) == truth_tables.say_answer(own)
    assert truth_tables.say_baseline(own) == ""
    said = truth_tables.say_baseline(both)
    assert said == "The best map that asks no network is Edges (no explanation): voxel AUC 0.990 [0.980, 1.000]."
    assert "holds relevance" in truth_tables.say_answer(sobel)
    assert "Edges (no explanation)" in set(truth_tables.table(both, "AD")["Method"])


def test_the_average_over_networks_is_said_where_there_is_one(scores):
    assert truth_tables.say_ensemble(scores, "AD") == ""
    own = truth_tables.select_patients(scores, "AD")
    together = own.assign(level="ensemble", networks=5, value=own["value"] + 0.05, value_high=own["value"] + 0.1)
    both = pd.concat([scores, together])
    said = truth_tables.say_ensemble(both, "AD")
    assert said == "Averaged over 5 networks, the best is Brain area occlusion: 0.890 [0.790, 0.940]."
    assert truth_tables.say_answer(truth_tables.select_patients(both, "AD")) == truth_tables.say_answer(own)
    assert "mean heatmap of all networks together" in set(truth_tables.table(together, "AD")["Map"])


def test_every_score_of_the_engine_has_a_name():
    from engine.analysis.truth import SCORES
    from engine.pipeline.truth_scores import LEVELS

    assert set(truth_tables.LEVELS) == set(LEVELS)

    assert set(SCORES) == set(truth_tables.SCORES)


def test_missing_references_are_missing_and_say_why(scores):
    table = truth_tables.table(scores, "AD")
    assert table["Models"].iloc[0] == "Held-out test set"
    assert table["Scans of"].iloc[0] == "AD"
    folds = table[table["Models"] == "Cross-validation"]
    assert (folds["Untrained"] == "\N{EN DASH}").all()
    assert (folds["No reference because"] != "").all()
    held = table[(table["Models"] == "Held-out test set") & (table["Scans of"] == "AD")]
    assert (held["Untrained"] == "0.500 ± 0.020").all()


def test_the_chart_shows_values_references_and_the_best_map(scores):
    own = truth_tables.select_patients(scores, "AD")
    figure = validated(truth_charts.scores(own, truth_tables.SHOWN))
    named = {trace.name: trace for trace in figure.data}
    assert list(named["untrained networks ± SD"].x) == [0.5] * 4
    assert list(named["difference of the groups in the training scans"].x) == [0.93] * 4
    values = next(trace for name, trace in named.items() if name.startswith("these networks"))
    assert list(values.x) == pytest.approx([0.6, 0.68, 0.76, 0.84])
    assert list(values.error_x.arrayminus) == pytest.approx([0.05] * 4)
    validated(
        truth_charts.scores(
            own.assign(null_reference=np.nan, value_low=np.nan, value_high=np.nan), {"voxel_auc": "AUC"}
        )
    )


def test_the_overview_shows_the_truth_of_a_simulated_run(open_view):
    text = written(open_view("views/overview/page.py"))
    assert "Do the heatmaps find what was imposed?" in text
    assert "SIMULATED: the change was imposed" in text
    assert "finds the change best" in text


def test_an_older_run_shows_what_it_has_and_says_what_it_lacks(open_view, tmp_path):
    make_run(tmp_path, methods=["sensitivity"], earlier_truth=True)
    text = written(open_view("views/overview/page.py", tmp_path))
    assert "voxel AUC 0.600" in text
    assert truth_tables.BEFORE_VISIBLE_CHANGE in text


def test_real_scans_have_no_truth(open_view, tmp_path):
    make_run(tmp_path, methods=["sensitivity"], simulated=False)
    assert "imposed" not in written(open_view("views/overview/page.py", tmp_path))


def test_a_cohort_without_imposed_change_says_so(open_view, monkeypatch):
    monkeypatch.setattr(overview_queries, "truth_scores", lambda run: None)
    assert "nothing imposed that heatmaps could be scored against" in written(open_view("views/overview/page.py"))
