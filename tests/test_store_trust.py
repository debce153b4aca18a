"""Which verdict each figure of trust gets, on tables made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from new_scans_factory import make_new_scans
from store_factory import make_run
from trusted_store import (
    BASELINE,
    GROUPS,
    NAMES,
    SUBJECTS,
    VERDICTS,
    add_trust_tables,
    make_trusted_run,
    put,
    trust_tables,
)

from store import open_run
from store.reading.trust import NO_EXPLANATION, has_trust, trust_line, trust_lines
from store.reading.trust_figures import FAILS, HOLDS, NOT_MEASURED, UNCLEAR, Measured, judge

RUN = "trusted-1"


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust")
    make_trusted_run(folder, run_id=RUN)
    return folder


@pytest.fixture
def changed(tmp_path):
    """changed(table, change) -> line of sensitivity, with one table otherwise; None takes the table away."""
    folder = make_run(tmp_path, run_id=RUN, methods=("sensitivity",))
    add_trust_tables(folder, {"sensitivity": VERDICTS["sensitivity"]})

    def lines(name, change):
        frame = trust_tables({"sensitivity": VERDICTS["sensitivity"]})[name]
        if change is None:
            (folder / "tables" / f"{name}.parquet").unlink()
        else:
            put(folder, name, change(frame))
        return trust_line(open_run(tmp_path, RUN), "sensitivity")

    return lines


def verdict(line, name: str) -> str:
    return next(figure.verdict for figure in line.figures if figure.name == name)


def figure(line, name: str):
    return next(figure for figure in line.figures if figure.name == name)


@pytest.mark.parametrize("method", VERDICTS)
def test_every_figure_has_the_verdict_it_was_made_for(trusted, method):
    line = trust_line(open_run(trusted, RUN), method)
    found = tuple(figure.verdict for figure in line.figures)
    assert found == VERDICTS[method]
    assert tuple(figure.name for figure in line.figures) == NAMES


def test_the_line_in_words(trusted):
    lines = trust_lines(open_run(trusted, RUN))
    assert lines["sensitivity"].text() == (
        "Trust: truth 0.75 (+0.20 over untrained) ✓ · randomisation 0.20 (< 0.40) ✓ · stability 0.70 ✓ · "
        "faithfulness +0.20 ✓"
    )
    assert "randomisation 0.45 (≥ 0.40) ✗ fails" in lines["guided_backprop"].text()
    assert lines["guided_backprop"].failing == ("randomisation",)
    assert "truth 0.57 (+0.02 over untrained) ~ unclear" in lines["occlusion"].text()
    assert "randomisation not measured –" in lines["area_occlusion"].text()
    assert "faithfulness −0.05 ✗ fails" in lines["area_occlusion"].text()
    for figure in lines["sensitivity"].figures:
        assert f"n = {SUBJECTS} subjects" in figure.words
        assert "95 % CI" in figure.words


def test_beside_folds_the_line_says_that_it_is_of_the_fixed_test_set(trusted):
    line = trust_line(open_run(trusted, RUN), "sensitivity")
    assert line.text("folds").startswith("Trust (of the fixed test set): ")
    assert line.text("holdout").startswith("Trust: ")


def test_baselines_have_no_verdict(trusted):
    line = trust_line(open_run(trusted, RUN), BASELINE)
    assert line.figures == ()
    assert line.text() == f"Trust: {NO_EXPLANATION}"


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.1, 0.01, 0.2, HOLDS), (0.1, 0.0, 0.2, UNCLEAR), (0.1, -0.1, 0.3, UNCLEAR), (0.1, np.nan, np.nan, UNCLEAR),
        (0.0, -0.1, 0.1, FAILS), (-0.1, -0.3, 0.1, FAILS), (np.nan, np.nan, np.nan, NOT_MEASURED),
    ],
)  # fmt: skip
def test_the_rule(value, low, high, expected):
    assert judge(Measured(value, low, high)) == expected


def test_truth_needs_both_references(changed):
    null = {"null_difference": -0.01, "null_difference_low": -0.1, "null_difference_high": 0.08}
    line = changed("truth_scores", lambda frame: frame.assign(**null))
    assert verdict(line, "truth") == FAILS
    assert "(−0.01 over null)" in figure(line, "truth").short


def test_truth_with_one_reference_is_judged_by_that(changed):
    none = dict.fromkeys(["null_reference", "null_difference", "null_difference_low", "null_difference_high"])
    line = changed("truth_scores", lambda frame: frame.assign(**none))
    assert verdict(line, "truth") == HOLDS
    assert "null" not in figure(line, "truth").words


def test_truth_without_reference_is_not_judged(changed):
    none = dict.fromkeys([f"{a}difference{b}" for a in ("", "null_") for b in ("", "_low", "_high")])
    line = changed("truth_scores", lambda frame: frame.assign(note="too dear", **none))
    assert verdict(line, "truth") == NOT_MEASURED
    assert figure(line, "truth").short == "0.75"
    assert "too dear" in figure(line, "truth").words


@pytest.mark.parametrize(("signed", "absolute", "expected"), [(0.2, 0.3, HOLDS), (0.2, 0.5, FAILS), (0.5, 0.2, FAILS)])
def test_randomisation_is_judged_by_the_stricter_of_both_measures(changed, signed, absolute, expected):
    values = {"ssim": signed, "ssim_absolute": absolute}

    def change(frame):
        value = frame["measure"].map(values).fillna(frame["value"])
        return frame.assign(value=value, value_low=value - 0.02, value_high=value + 0.02)

    assert verdict(changed("randomisation", change), "randomisation") == expected


def test_randomisation_is_judged_after_the_last_layer(changed):
    line = changed("randomisation", lambda frame: frame.assign(value=np.where(frame["step"] == 2, 0.1, 0.9)))
    assert figure(line, "randomisation").measured.value == 0.1


def test_randomisation_ignores_networks_of_shuffled_labels(changed):
    line = changed("randomisation", lambda frame: frame.assign(value=frame["value"].where(frame["step"] > 0, 0.99)))
    assert verdict(line, "randomisation") == HOLDS


@pytest.mark.parametrize(
    ("spearman", "dice", "reference", "expected"),
    [
        (0.7, 0.7, 0.3, HOLDS), (0.7, 0.7, 0.8, FAILS), (0.7, 0.7, 0.69, UNCLEAR), (0.3, 0.3, 0.2, FAILS),
        (0.3, 0.7, 0.2, UNCLEAR), (0.7, 0.3, 0.2, UNCLEAR), (0.52, 0.7, 0.2, UNCLEAR), (0.7, None, 0.2, UNCLEAR),
        (0.3, None, 0.2, FAILS), (0.7, 0.7, None, UNCLEAR),
    ],
)  # fmt: skip
def test_stability_needs_order_and_overlap(changed, spearman, dice, reference, expected):
    def change(frame):
        value = frame["measure"].map({"rank_correlation": spearman, "dice": dice}).astype(float)
        return frame.assign(value=value, value_low=value - 0.05, value_high=value + 0.05, reference=reference)

    assert verdict(changed("stability", change), "stability") == expected


def test_stability_is_that_of_retrained_networks(changed):
    line = changed("stability", lambda frame: frame[frame["change"] == "noise"])
    assert verdict(line, "stability") == NOT_MEASURED


@pytest.mark.parametrize("order", ["random", "group_difference"])
def test_faithfulness_needs_a_gain_over_both_orders(changed, order):
    def change(frame):
        worse = frame["order"] == order
        return frame.assign(gain=frame["gain"].mask(worse, -0.02), gain_low=frame["gain_low"].mask(worse, -0.1))

    line = changed("faithfulness", change)
    assert verdict(line, "faithfulness") == FAILS
    assert figure(line, "faithfulness").short == "−0.02"


def test_faithfulness_by_one_order_alone_cannot_hold(changed):
    line = changed("faithfulness", lambda frame: frame[frame["order"].isin(["method", "random"])])
    assert verdict(line, "faithfulness") == UNCLEAR


def test_faithfulness_is_of_regions_where_there_are_both_units(changed):
    def change(frame):
        voxels = frame.assign(unit="voxel", gain=-0.5)
        return pd.concat([voxels, frame], ignore_index=True)

    assert verdict(changed("faithfulness", change), "faithfulness") == HOLDS
    line = changed("faithfulness", lambda frame: frame.assign(unit="voxel"))
    assert "replacing voxels" in figure(line, "faithfulness").words


@pytest.mark.parametrize("name", ["truth_scores", "randomisation", "stability", "faithfulness"])
def test_a_missing_table_is_said_and_hides_no_other(changed, name):
    line = changed(name, None)
    found = dict(zip(NAMES, (figure.verdict for figure in line.figures), strict=True))
    missing = {"truth_scores": "truth"}.get(name, name)
    assert found.pop(missing) == NOT_MEASURED
    assert set(found.values()) == {HOLDS}
    assert "not measured" in figure(line, missing).words


def test_a_run_without_any_table_has_no_line(tmp_path):
    make_run(tmp_path, run_id=RUN, simulated=False, methods=("sensitivity",))
    run = open_run(tmp_path, RUN)
    assert not has_trust(run)
    assert trust_lines(run) == {}


def test_real_scans_without_any_table_have_what_a_benchmark_says(tmp_path):
    make_run(tmp_path, run_id=RUN, simulated=False, methods=("sensitivity", "occlusion"))
    row = trust_tables()["truth_scores"].iloc[0].to_dict() | {"kind": "typical_ad"}
    lines = trust_lines(open_run(tmp_path, RUN), benchmark={"sensitivity": row})
    assert figure(lines["sensitivity"], "truth").short.startswith("benchmark 0.75")
    assert figure(lines["occlusion"], "truth").verdict == NOT_MEASURED
    assert lines["sensitivity"].figures[1].verdict == NOT_MEASURED


def test_real_scans_have_the_truth_of_the_benchmark_labelled_so(tmp_path):
    folder = make_run(tmp_path, run_id=RUN, simulated=False, methods=("sensitivity",))
    add_trust_tables(folder, {"sensitivity": VERDICTS["sensitivity"]})
    run = open_run(tmp_path, RUN)
    truth = figure(trust_line(run, "sensitivity"), "truth")
    assert truth.verdict == NOT_MEASURED
    assert "no benchmark" in truth.words
    row = trust_tables()["truth_scores"].iloc[0].to_dict() | {"kind": "typical_ad"}
    truth = figure(trust_line(run, "sensitivity", benchmark={"sensitivity": row}), "truth")
    assert truth.verdict == HOLDS
    assert truth.short.startswith("benchmark 0.75")
    assert "benchmark (typical_ad)" in truth.words


def test_a_simulated_run_never_shows_the_benchmark(trusted):
    row = trust_tables()["truth_scores"].iloc[0].to_dict() | {"value": 0.99}
    line = trust_line(open_run(trusted, RUN), "sensitivity", benchmark={"sensitivity": row})
    assert figure(line, "truth").measured.value == 0.75


def test_figures_of_few_subjects_are_not_given(trusted):
    line = trust_line(open_run(trusted, RUN), "sensitivity", fewest=SUBJECTS + 1)
    assert {figure.verdict for figure in line.figures} == {NOT_MEASURED}
    assert "0.7" not in line.text() + " ".join(line.sentences())


def test_new_scans_have_none_of_their_own(trusted):
    make_new_scans(trusted, RUN, run_id="scans-1")
    assert trust_lines(open_run(trusted, "scans-1")) == {}
    line = trust_lines(open_run(trusted, RUN), source=RUN)["sensitivity"]
    assert line.text().startswith(f"Trust (networks of {RUN}): ")


def test_other_groups_and_levels_are_not_taken(changed):
    line = changed("truth_scores", lambda frame: frame.assign(diagnosis=GROUPS[1]))
    assert verdict(line, "truth") == NOT_MEASURED
