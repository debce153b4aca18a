"""Labels of a cohort as users write them, in keys of the page's elements."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def two_charts(first: str, second: str) -> None:
    import streamlit as st

    from dashboard.drawing.chart import Chart
    from dashboard.shell import display

    for label in (first, second):
        display.chart(st, Chart().add(x=[1], y=[1]).finish(100), f"d-matrix-{label}")


@pytest.mark.parametrize("labels", [("AD__late", "AD_late"), ("__", "_"), ("a___b", "a__b"), ("A D", "A/D")])
def test_a_chart_of_any_label_can_be_saved(labels):
    """Two underlines part names in Streamlit's own identifiers, so that they must not be in a key."""
    page = AppTest.from_function(two_charts, args=labels).run()
    assert not page.exception
