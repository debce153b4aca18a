"""Every patient and every region as a map of colours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.shell import names, page, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared.patient_links import draw_chart_of_patients
from dashboard.views.variability import charts as figures
from dashboard.views.variability import tables as between
from dashboard.views.variability.patients import Patients, choose_rows, in_numbers
from dashboard.views.variability.tables import CLUSTERED, Sample

MOST_ROWS = 400  # of the map: it is 1200 pixels high, and their order by similarity is found in 20 ms
COUNTS = {"15": 15, "30": 30, "all": None}
VALUES = {"share": "Share", "z": "z-score"}


def show(patients: Patients) -> list[Download]:
    """Show the controls, the map, and how to read it."""
    columns = st.columns([1.05, 1.05, 1, 1.1, 1.1, 1.1], vertical_alignment="bottom", gap="small")
    by_subject = choose_rows(columns[0])
    value = url_state.choose(
        "v_value", "Value", list(VALUES), widget="segmented", words=VALUES.__getitem__, place=columns[1],
        help="Share: of the relevance in the brain. z-score: how far a share lies from the mean of all explained "
        "patients of the same diagnosis, in standard deviations.",
    )  # fmt: skip
    count = COUNTS[url_state.choose("v_regions", "Regions", list(COUNTS), "30", widget="segmented", place=columns[2])]
    split = url_state.toggle("v_split", "Sides apart", place=columns[3], help="Left and right in their own columns.")
    by = patients.choose_feature("v_sort", "Order of rows", columns[4], CLUSTERED, clustered=True)
    beside = patients.choose_feature("v_beside", "Colour strip", columns[5], patients.answer.column)
    whole = patients.sample(by_subject=by_subject, merged=not split)
    if not len(whole):
        return patients.none_left()
    shown = whole.largest(count)
    everyone = patients.sample(by_subject=by_subject, merged=not split, everyone=True) if value == "z" else None

    def values_of(sample: Sample) -> np.ndarray:
        return 100 * sample.shares[:, shown] if everyone is None else between.z_scores(sample, everyone)[:, shown]

    found = whole.taken(between.some_rows(len(whole), MOST_ROWS))
    values = values_of(found)
    order = between.order(found.rows, values, by, patients.groups)
    found, values = found.taken(order), values[order]
    shown_rows = names.shown(found.rows)
    labels = between.labels(shown_rows, by_subject)
    rows = shown_rows.assign(name=labels, line=between.describe_rows(shown_rows, labels, patients.answer))
    strips = [patients.covariate(name, shown_rows) for name in dict.fromkeys(["diagnosis", beside])]
    regions = [found.areas.names[column] for column in shown]
    figure = figures.patients_by_regions(
        values, [formatting.region_name(region) for region in regions], rows, strips, patients.groups,
        z=value == "z",
    )  # fmt: skip
    draw_chart_of_patients(st, figure, "v-map", wide=True)
    which = f"the {len(shown)} regions with the largest mean share" if count else "all regions of the atlas"
    drawn = (
        ""
        if len(found) == len(whole)
        else (
            f" {len(found):,} of the {len(whole):,} rows are drawn, chosen at random and always the same: the filters "
            "at the left show others, the file has all."
        )
    )
    empty = " Empty cells: no spread to compare with." if np.isnan(values).any() else ""
    st.caption(
        f"{in_numbers(whole, by_subject)}; {which}, the largest at the left. Click the strip beside a row to open its "
        f"patient.{empty}{drawn}"
    )
    _explain()

    def table() -> pd.DataFrame:
        rows = found if len(found) == len(whole) else whole
        return patients.exported(rows).assign(**dict(zip(regions, values_of(rows).T, strict=True)))

    unit = "z-scores" if value == "z" else "percent"
    return [Download.csv(f"This map in {unit}, CSV", f"{patients.file}_patients-regions", table)]


def _explain() -> None:
    """Explain how to read the map."""
    page.how_to_read(
        "Every row is a patient; bright cells are the regions where most of that patient's relevance lies. Rows that "
        "look alike stand together when ordered by similarity; stripes down a column are regions that matter in "
        "everyone.",
        r"\mathrm{share}_{r} = \frac{\sum_{v \in r} m_v}{\sum_{v \in \mathrm{brain}} m_v},\qquad "
        r"z_{r} = \frac{\mathrm{share}_{r} - \overline{\mathrm{share}}_{r}}{s_{r}}",
        "m is |relevance| for gradient methods and the positive part for occlusions. Mean and SD (ddof 1) of z: all "
        "explained patients of the diagnosis in this model set, whatever the filters. Order: leaves of average "
        "linkage of the Euclidean distances between the rows as they are shown; rows with the same covariate are "
        "ordered by similarity. Colours of shares end at the 99th percentile, of z at ±3.",
    )  # fmt: skip
