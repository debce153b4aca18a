"""A patient in words: the sentences of made-up numbers, the numbers of made-up tables, and who is most alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers import store_factory

from dashboard.text.outputs import answer_of
from dashboard.views.shared import patient_evidence as evidence
from dashboard.views.shared.patient_words import Facts, region_in_words, sentences
from store import NotInRunError, open_run
from store.reading.trust import TrustLine
from store.reading.trust_figures import FAILS, HOLDS, NOT_MEASURED, TrustFigure
from store.reading.verdict import Verdict

PROBABILITY = answer_of({"groups": ["AD", "NC"]})
AGE = answer_of({"groups": ["old", "young"], "target": {"label": "age", "unit": "years", "threshold": 70.0}})
REGIONS = pd.DataFrame({
    "region": ["Hippocampus_L", "Temporal_Mid_R", "Vermis_9", "Putamen_L", "Insula_R"],
    "share": [0.042, 0.01, 0.0, -0.02, -0.005],
    "percentile_AD": [93.0, 50, 50, 4, 40], "percentile_NC": [99.0, 80, 50, np.nan, 60],
})  # fmt: skip


def facts(**changes) -> Facts:
    known = {
        "evidence": "AD", "other": "NC", "method": "occlusion", "regions": REGIONS, "people": {"AD": 92, "NC": 90},
        "answer": PROBABILITY, "value": 0.93, "margin": 2.6, "decided": "AD", "label": "AD",
        "networks": (0.93, 0.88, 0.97), "methods": 4, "agreement": 0.75,
    }  # fmt: skip
    return Facts(**known | changes)


def test_networks_and_methods_that_agree():
    speaks_for, against, sure = sentences(facts())
    assert speaks_for == (
        "The strongest evidence for AD, by Occlusion, lies in the left hippocampus (+4.20 % of all relevance in the "
        "brain; percentile 93 among 92 AD and 99 among 90 NC) and the right middle temporal gyrus (+1.00 %; percentile "
        "50 among 92 AD and 80 among 90 NC)."
    )
    assert against == (
        "The strongest evidence against AD, and so for NC, lies in the left putamen (−2.00 % of all relevance in the "
        "brain; percentile 4 among 92 AD) and the right insula (−0.500 %; percentile 40 among 92 AD and 60 among 90 "
        "NC)."
    )
    assert sure == (
        "How sure: the network decides AD with p(AD) 0.930, as labelled; all 3 networks that may judge this scan "
        "decide AD (p(AD) 0.880 to 0.970); the 4 methods agree on where (median rank correlation of regions 0.75)."
    )


def test_networks_and_methods_that_disagree():
    sure = sentences(facts(networks=(0.93, 0.2, 0.3), agreement=-0.1))[2]
    assert "the networks disagree: 1 of the 3 that may judge this scan decides AD, 2 the other group" in sure
    assert "all 2" not in sentences(facts(networks=(0.9999, 0.99999)))[2]
    assert (
        "both networks that may judge this scan decide AD (p(AD) > 0.999);"
        in sentences(facts(networks=(0.9999, 1.0)))[2]
    )
    assert "the 4 methods do not agree on where (median rank correlation of regions −0.10)" in sure


@pytest.mark.parametrize(("value", "close"), [(0.52, True), (0.36, True), (0.34, False), (0.66, False)])
def test_a_probability_near_one_half_is_close_to_undecided(value, close):
    assert ("close to undecided" in sentences(facts(value=value, decided="AD" if value > 0.5 else "NC"))[2]) is close


def test_a_wrong_decision_and_a_scan_without_label():
    assert (
        "decides NC with p(AD) 0.200, and that is not as labelled (AD);" in sentences(facts(value=0.2, decided="NC"))[2]
    )
    unknown = sentences(facts(label=""))[2]
    assert "labelled" not in unknown


def test_no_relevance_and_one_sign_alone():
    nothing = sentences(facts(regions=REGIONS.assign(share=np.nan)))
    assert nothing[0] == "Nothing can be said for AD by Occlusion: the heatmap of this scan is 0 everywhere."
    assert nothing[1] == "Nor can anything be said against AD: choose another method."
    positive = sentences(facts(regions=REGIONS.assign(share=REGIONS.share.abs())))
    assert positive[1] == "Against AD no region of the atlas speaks on balance."
    assert sentences(facts(regions=REGIONS.assign(share=-1.0)))[0].startswith("For AD, by Occlusion, no region")


def test_a_regression_one_network_and_a_warning():
    sure = sentences(facts(answer=AGE, value=74.2, margin=0.8, label="", decided="old", observed=71.0,
                           networks=(74.2, 73.0), warning="These networks say nothing."))[2]  # fmt: skip
    assert sure.startswith(
        "How sure: the network predicts age 74.2 years, above the middle of 70.0 years, and the true"
    )
    assert "value is 71.0 years; both networks that may judge this scan predict 73.0 years to 74.2 years;" in sure
    assert sure.endswith(" These networks say nothing.")
    assert "close to the middle" in sentences(facts(answer=AGE, value=70.5, margin=0.1))[2]
    assert "no other network of this run has judged this scan" in sentences(facts(networks=(0.93,)))[2]


def test_the_sentences_claim_neither_cause_nor_disease():
    whole = " ".join(sentences(facts())).lower()
    assert not any(
        word in whole for word in ("because", "cause", "atrophy", "disease", "patholog", "healthy", "diagnos")
    )


def test_sides_are_written_in_front():
    assert region_in_words("Frontal_Sup_L") == "left superior frontal gyrus"
    assert region_in_words("Vermis_9") == "vermis, lobule IX"
    assert region_in_words("ctx-lh-insula_L") == "left ctx-lh-insula"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store_factory.make_larger_run(folder := tmp_path_factory.mktemp("words"))
    return open_run(folder)


def of(run, scan, **changes) -> evidence.Explained:
    known = {"run": run, "model": "holdout", "method": "sensitivity", "scan": scan, "target": "AD", "people_run": run}
    return evidence.Explained(**known | changes)


def test_signed_shares_are_the_sums_of_the_heatmap_over_its_size(run):
    found = evidence.signed_shares(run, "holdout", "guided_backprop", "AD")
    rows = run.table("region_relevance", model="holdout", method="guided_backprop", target="NC", scan="AD0-1")
    whole = run.table(
        "heatmaps", model="holdout", method="guided_backprop", target="NC", scan="AD0-1"
    ).absolute_sum.iloc[0]
    np.testing.assert_allclose(found.loc[("holdout", "AD0-1"), rows.region], rows.signed_sum / whole, rtol=1e-5)


def test_percentiles_are_among_both_groups_without_the_subject(run):
    known = evidence.facts_of(of(run, "AD0-1"))
    assert known.people == {"AD": 11, "NC": 12}
    wide = evidence.signed_shares(run, "holdout", "sensitivity", "AD")
    region = known.regions.region.iloc[0]
    mine = wide.loc[("holdout", "AD0-1"), region]
    others = [wide.loc[("holdout", f"AD{i}-1"), region] for i in range(1, 12)]
    expected = 100 * (sum(o < mine for o in others) + 0.5 * sum(o == mine for o in others)) / 11
    assert known.regions.percentile_AD.iloc[0] == pytest.approx(expected)
    # A scan to apply to has no label, and stands among all of both groups.
    applied = evidence.facts_of(of(run, "MCI0-1"))
    assert (applied.label, applied.people) == ("", {"AD": 12, "NC": 12})


def test_a_new_scan_whose_reference_is_not_here_has_no_percentiles(run):
    known = evidence.facts_of(of(run, "AD0-1", people_run=None, simulated_networks=True))
    assert known.people == {"AD": 0, "NC": 0}
    assert known.regions.percentile_AD.isna().all()
    assert "simulated change" in sentences(known)[2]


def test_how_far_the_method_is_trusted_and_whether_networks_separate_is_said(run):
    figures = (TrustFigure("truth", FAILS, "", ""), TrustFigure("stability", HOLDS, "", ""))
    figures += (TrustFigure("faithfulness", NOT_MEASURED, "", ""),)
    chance = Verdict(False, "These networks do not separate the groups.", "AUC 0.5")
    sure = sentences(evidence.facts_of(of(run, "AD0-1", judged=chance, trust=TrustLine("sensitivity", figures))))[2]
    assert "; of the method’s trust figures, truth fails, stability holds." in sure
    assert sure.endswith(" These networks do not separate the groups.")
    baseline = sentences(evidence.facts_of(of(run, "AD0-1", trust=TrustLine("sobel", ()))))[2]
    assert "this method gives no explanation" in baseline


def test_a_method_that_the_run_lacks_is_not_described(run):
    with pytest.raises(NotInRunError):
        evidence.facts_of(of(run, "AD0-1", method="lrp"))


def test_the_most_similar_scans_by_brute_force(run):
    everyone = run.table("predictions", ["model", "scan", "subject", "diagnosis"], model="holdout")
    found = evidence.similar_scans(of(run, "AD0-1"), everyone, 5)
    assert len(found) == 5
    assert "AD0" not in set(found.subject)
    table = run.table("region_relevance", model="holdout", method="sensitivity", target="AD")
    inside = run.table("regions").query("in_atlas").set_index("region").volume_cm3
    wide = (table.pivot(index="scan", columns="region", values="share")[inside.index] / inside).T
    expected = wide.corr()["AD0-1"].drop(["AD0-1", "AD0-2"]).nlargest(5)
    assert found.scan.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found.similarity, expected, rtol=1e-4)
    assert evidence.similar_scans(of(run, "AD0-1", people_run=None), everyone, 5).empty
