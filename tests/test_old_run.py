"""A run that version 0.1.0 wrote (store specification 1.2) still opens: values, pages and links.

`old_run.zip` was written by the RunWriter of 0.1.0 from made-up numbers; nothing here writes it again.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pages
import pytest

from engine.config.loading import load_config
from store import list_runs, open_run
from store.__main__ import main as store_command

ARCHIVE = Path(__file__).parent / "old_run.zip"
RUN = "tiny-3a6895cd"
# Parameters that links of 0.1.0 had, with what the address must still say once the page has read them.
LINKS = {
    "group_maps": {"set": "folds", "method": "sensitivity", "p_mode": "stripe"},
    "regions": {"set": "folds", "method": "sensitivity", "r_part": "paper"},
    "variability": {"set": "folds", "v_view": "spread"},
    "distances": {"set": "folds", "d_level": "scan"},
}


@pytest.fixture(scope="module")
def old_store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


def test_it_is_listed_and_sound(old_store, capsys):
    [info] = list_runs(old_store)
    assert (info.run, info.problem) == (RUN, None)
    assert store_command(["verify", str(old_store)]) == 0
    assert f"{RUN}: sound" in capsys.readouterr().out


def test_its_heatmaps_have_the_values_that_they_had(old_store):
    """Sum and maximum as 0.1.0 read them."""
    run = open_run(old_store)
    assert run.manifest["spec_version"] == "1.2"
    heatmap = run.heatmap("fold-1", "sensitivity", "a1-1", target="AD")
    assert heatmap.shape == (6, 7, 6)
    assert float(np.abs(heatmap).sum()) == pytest.approx(131.294891, rel=1e-6)
    assert float(heatmap.max()) == pytest.approx(2.972574, rel=1e-6)


@pytest.mark.parametrize("name", pages.NAMES)
def test_every_page_opens_it(open_view, old_store, name):
    app = open_view(f"views/{name}/page.py", old_store, run=RUN)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("name", LINKS)
def test_a_link_made_by_0_1_0_opens_the_same_view(open_view, old_store, name):
    app = open_view(f"views/{name}/page.py", old_store, run=RUN, **LINKS[name])
    assert not app.exception
    said = {key: values[0] if isinstance(values, list) else values for key, values in app.query_params.items()}
    assert not {key: value for key, value in said.items() if key in LINKS[name]}.items() - LINKS[name].items()
    assert not any("link" in warning.value for warning in app.warning)


def test_settings_of_0_1_0_are_still_valid(old_store):
    """A finished run is explained again, and new scans by it, with the settings in its manifest."""
    config = open_run(old_store).manifest["config"]
    keys = {key for key in config if key != "name"}
    assert keys <= set(load_config(None, "demo", []).model_dump())
