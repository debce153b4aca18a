"""A patient in three sentences: what speaks for a group, what against, and how sure that is. Templates over numbers.

Plain text without markup, so that page and report say the same. docs/definitions.md, A patient in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.text.formatting import agreement_verdict, count, method_name, percent, region_name
from dashboard.text.outputs import OutputDescription
from dashboard.text.region_names import within_sentence

NAMED = 3  # regions in a sentence
FEWEST = 10  # subjects of a group below which no percentile is given (docs/definitions.md, Percentile)
UNSURE = (0.35, 0.65)  # a probability between them is called close to undecided
CLOSE = 0.5  # SD of a regression's target about the middle, as the same
SIDES = {"_L": "left ", "_R": "right "}


@dataclass(frozen=True)
class Facts:
    """The numbers that the sentences are made of.

    Attributes:
        evidence: the group whose evidence is explained; other: the other group.
        method: relevance method of the regions.
        regions: of the atlas: region, share (signed, of all |h| in the brain; NaN without relevance), and for each
            group percentile_GROUP (NaN where not known).
        people: group -> subjects behind its percentiles.
        value: what the explaining network answers: probability of the positive group, or the predicted value.
        margin: of that answer, SD of the target in a regression.
        decided: the group that it decides for; label: the scan's own group, empty where it has none.
        networks: answers of all networks that may explain this scan, with the explaining one's.
        methods: how many methods were compared on this scan; agreement: median of their rank correlations.
        observed: true value in a regression, NaN where not known.
        trust: what is known of the method, in words; empty where nothing is.
        warning: that the networks do not separate the groups, or were trained on simulated change; empty where not.
    """

    evidence: str
    other: str
    method: str
    regions: pd.DataFrame
    people: dict[str, int]
    answer: OutputDescription
    value: float
    margin: float
    decided: str
    label: str
    networks: Sequence[float]
    methods: int = 0
    agreement: float = float("nan")
    observed: float = float("nan")
    trust: str = ""
    warning: str = ""


def sentences(facts: Facts) -> tuple[str, str, str]:
    """Write what speaks for the group, what against it, and how sure that is."""
    return _for(facts), _against(facts), _how_sure(facts)


def region_in_words(region: str) -> str:
    """Write Hippocampus_L as left hippocampus."""
    if known := within_sentence(region):
        return known
    for ending, side in SIDES.items():
        if region.endswith(ending):
            return side + region_name(region.removesuffix(ending))
    return region_name(region)


def _for(facts: Facts) -> str:
    by = f"by {method_name(facts.method)}"
    if facts.regions.share.isna().all():
        return f"Nothing can be said for {facts.evidence} {by}: the heatmap of this scan is 0 everywhere."
    top = facts.regions[facts.regions.share > 0].nlargest(NAMED, "share")
    if top.empty:
        return f"For {facts.evidence}, {by}, no region of the atlas speaks on balance."
    return f"The strongest evidence for {facts.evidence}, {by}, lies in {_listed(facts, top)}."


def _against(facts: Facts) -> str:
    if facts.regions.share.isna().all():
        return f"Nor can anything be said against {facts.evidence}: choose another method."
    top = facts.regions[facts.regions.share < 0].nsmallest(NAMED, "share")
    if top.empty:
        return f"Against {facts.evidence} no region of the atlas speaks on balance."
    return f"The strongest evidence against {facts.evidence}, and so for {facts.other}, lies in {_listed(facts, top)}."


def _listed(facts: Facts, regions: pd.DataFrame) -> str:
    """List regions with signed share and percentiles: the left Hippocampus (+4.20 %; percentile 93 among 92 AD)."""
    parts = []
    for number, row in enumerate(regions.to_dict("records")):
        share = f"{'+' if row['share'] > 0 else '−'}{percent(abs(row['share']))}"
        if number == 0:
            share += " of all relevance in the brain"
        known = [
            f"{row[f'percentile_{group}']:.0f} among {n} {group}"
            for group, n in facts.people.items()
            if np.isfinite(row[f"percentile_{group}"])
        ]
        among = f"; percentile {' and '.join(known)}" if known else ""
        parts.append(f"the {region_in_words(row['region'])} ({share}{among})")
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _how_sure(facts: Facts) -> str:
    parts = [_decision(facts), _networks(facts), _methods(facts)]
    if facts.trust:
        parts.append(facts.trust)
    text = "; ".join(part for part in parts if part) + "."
    return f"{text} {facts.warning}".strip()


def _decision(facts: Facts) -> str:
    """Say what the network answers, whether that is close, and whether it is as labelled."""
    answer, value = facts.answer, facts.answer.number(facts.value)
    if answer.is_value:
        side = "close to" if abs(facts.margin) < CLOSE else "above" if facts.value >= answer.middle else "below"
        true = f", and the true value is {answer.number(facts.observed)}" if np.isfinite(facts.observed) else ""
        middle = f"the middle of {answer.number(answer.middle)}"
        return f"How sure: the network predicts {answer.label} {value}, {side} {middle}{true}"
    unsure = UNSURE[0] < facts.value < UNSURE[1]
    said = f"How sure: the network decides {facts.decided} with {answer.name} {value}"
    said += ", close to undecided" if unsure else ""
    if facts.label and facts.label != facts.decided:
        said += f", and that is not as labelled ({facts.label})"
    elif facts.label:
        said += ", as labelled"
    return said


def _networks(facts: Facts) -> str:
    """Say how many of the networks that may explain the scan decide alike, and how far their answers go."""
    values = np.asarray(facts.networks, float)
    if len(values) < 2:
        return "no other network of this run has judged this scan"
    everyone = "both networks" if len(values) == 2 else f"all {len(values)} networks"
    low, high = (facts.answer.number(end) for end in (values.min(), values.max()))
    if facts.answer.is_value:
        return f"{everyone} that may judge this scan predict {low} to {high}"
    alike = int(((values >= facts.answer.middle) == (facts.value >= facts.answer.middle)).sum())
    span = f"{facts.answer.name} {low}" if low == high else f"{facts.answer.name} {low} to {high}"
    if alike == len(values):
        return f"{everyone} that may judge this scan decide {facts.decided} ({span})"
    return (
        f"the networks disagree: {alike} of the {len(values)} that may judge this scan "
        f"{'decides' if alike == 1 else 'decide'} {facts.decided}, "
        f"{len(values) - alike} the other group ({span})"
    )


def _methods(facts: Facts) -> str:
    if facts.methods < 2 or not np.isfinite(facts.agreement):
        return ""
    middle = f"{facts.agreement:.2f}".replace("-", "−")
    verdict = agreement_verdict(facts.agreement)
    return f"the {count(facts.methods, 'method')} {verdict} on where (median rank correlation of regions {middle})"
