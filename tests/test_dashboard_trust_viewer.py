"""The viewer on Trust in a browser: every method's average under one crosshair, the truth outlined on it."""

from __future__ import annotations

import numpy as np
import pytest
from browser import main_text, open_page, problems, settled
from store_factory import shared_store

import store
from dashboard.data import runs
from dashboard.text.formatting import method_name
from store.keys import GroupKey
from store.measures import percent_per_cm3

VIEWER = "__viewers()[0].__viewer"


@pytest.fixture
def page(server, fresh_page):
    page = fresh_page(width=1440, height=1200)
    open_page(page, f"{server(shared_store()).url}/trust?t_part=truth&t_as=viewer")
    page.wait_for_function(f"__viewers().length && {VIEWER}.ready")
    settled(page)
    return page


def exact(run: store.RunReader, method: str) -> np.ndarray:
    """The stored average of the patients of the fixed test set, in the unit of the page."""
    scale, statistic, _ = runs.average_of(run, method)
    found = getattr(run.group_map(GroupKey("holdout", method, "AD", scale), diagnosis=("AD",)), statistic)
    return found * (percent_per_cm3(run.affine()) if scale == "relative" else 1.0)


def test_methods_stand_under_one_crosshair_each_with_a_threshold_of_its_own_and_the_truth(page):
    run = store.open_run(shared_store())
    values = {}
    for method in ("sensitivity", "guided_backprop"):
        values[method] = exact(run, method)
        found = page.evaluate(f"{VIEWER}.threshold('{method_name(method)}')")
        assert found["value"] == pytest.approx(np.percentile(np.abs(values[method][run.mask]), 90), rel=0.02)
    mm = page.evaluate(f"{VIEWER}.state.mm")
    index = tuple(np.rint((np.array(mm) - run.affine()[:3, 3]) / np.diag(run.affine())[:3]).astype(int))
    for method, one in values.items():
        assert page.evaluate(f"{VIEWER}.value('{method_name(method)}')") == pytest.approx(one[index], rel=5e-3)
    assert page.evaluate(f"{VIEWER}.state.truth") is True
    assert page.evaluate(f"{VIEWER}.truth('coronal')") is not None
    assert "All methods, one crosshair" in page.locator(".methods-head").first.inner_text()
    assert not problems(page)


def test_the_choice_is_in_the_link_and_leads_back_to_pictures(page):
    page.get_by_role("radio", name="Pictures").or_(page.get_by_role("button", name="Pictures")).first.click()
    settled(page)
    assert "t_as=viewer" not in page.url
    assert "The first picture is what was done" in main_text(page)
