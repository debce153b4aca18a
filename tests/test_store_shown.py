"""Single scans in a store of groups: of brains that are simulated as a whole, and of nobody else."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from derived_stores import (
    NAME,
    SHOWN,
    change_manifest,
    crowd,
    derived,
    found_in,
    group_level,
    imagined,
    run_of,
    with_shown,
)

from store import HeatmapKey, NotInRunError, open_run
from store.__main__ import main
from store.deriving.command import Request
from store.writing.validate import validate

OF_PERSONS = ("scans", "predictions", "heatmaps", "region_relevance", "variability", "quality", "scan_distances")


def copy_of(place: Path, target: Path) -> Path:
    """A run that a test may change."""
    return run_of(Path(shutil.copytree(place, target)))


def real_heads(run: Path) -> None:
    change_manifest(run, lambda found: found["config"]["cohort"]["simulation"].update(heads={"table": "people.csv"}))


def read_from_files(run: Path) -> None:
    change_manifest(run, lambda found: found["config"]["cohort"].update(reader="table"))


def not_simulated(run: Path) -> None:
    change_manifest(run, lambda found: found.update(simulated=False))


def without_settings(run: Path) -> None:
    change_manifest(run, lambda found: found["config"].pop("cohort"))


def one_real_row(run: Path) -> None:
    table = pq.read_table(run / "tables/scans.parquet").to_pandas()
    table.loc[len(table) - 1, "simulated"] = False
    table.to_parquet(run / "tables/scans.parquet")


def native_space(run: Path) -> None:
    def add(found: dict) -> None:
        found["contents"]["arrays"].append({"path": "native/AD0-1", "shape": [3, 4, 4, 4], "dtype": "int16"})

    change_manifest(run, add)


@pytest.mark.parametrize(
    "real", [real_heads, read_from_files, not_simulated, without_settings, one_real_row, native_space]
)
def test_scans_that_could_be_of_a_person_are_never_shown(tmp_path, capsys, real):
    real(copy_of(imagined(), tmp_path / "store"))
    out = str(tmp_path / "out")
    assert main(["derive", str(tmp_path / "store"), "--group-level", out, "--with-scans", SHOWN[0]]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "simulated as a whole, so leave it out" in said
    assert not Path(out).exists()


def test_a_cohort_of_people_is_refused(tmp_path):
    with pytest.raises(NotInRunError, match="of real scans"):
        derived(Request(str(crowd()), (), tmp_path / "out", 5, with_scans=(f"{NAME}-AD1-1",)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--group-level", "OUT", "--with-scans", "nobody"], "no heatmaps of a scan nobody"),
        (["--pseudonymous", "OUT", "--with-scans", "AD3-1"], "--with-scans belongs to --group-level"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, capsys, options, said):
    options = [option.replace("OUT", str(tmp_path / "out")) for option in options]
    assert main(["derive", str(imagined()), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_store_is_sound_and_says_how_many_it_shows(capsys):
    assert main(["verify", str(with_shown())]) == 0
    assert ": sound" in capsys.readouterr().out
    assert main(["info", str(with_shown())]) == 0
    assert "3 simulated: derived from imagined" in capsys.readouterr().out


def test_nobody_else_is_in_it():
    others = [f"{d}{i}-1" for d in ("AD", "NC", "MCI") for i in range(12) if f"{d}{i}-1" not in SHOWN]
    assert found_in(with_shown(), *(f"/{name}" for name in others), '"AD5-1"', "AD5-1") == []


def test_read_plainly_it_holds_groups_alone():
    run, source = open_run(with_shown()), open_run(imagined())
    assert run.holds_groups_only
    assert run.shown == len(SHOWN)
    for name in OF_PERSONS:
        assert run.table(name).empty
        assert run.whole_table(name).empty
        assert all(part.empty for part in run.table_parts(name))
    assert run.region_values("holdout", "sensitivity", "AD", ("sum",)).pairs().empty
    with pytest.raises(NotInRunError):
        run.volume(SHOWN[0])
    with pytest.raises(NotInRunError):
        run.heatmap("holdout", "sensitivity", SHOWN[0], target="AD")
    assert source.shown == 0
    assert source.of_persons().table("scans").equals(source.table("scans"))
    assert open_run(group_level()).of_persons().holds_groups_only


def test_the_shown_scans_are_as_in_the_source():
    run, source = open_run(with_shown()).of_persons(), open_run(imagined())
    assert not run.holds_groups_only
    assert run.table("scans").scan.tolist() == list(SHOWN)
    assert set(run.table("heatmaps").model) == {"holdout"}
    assert set(run.table("predictions").model) == {"fold-1", "fold-2", "holdout", "holdout-seed-2"}
    for scan in SHOWN:
        np.testing.assert_allclose(run.volume(scan), source.volume(scan), rtol=1e-3)
        for row in source.table("heatmaps", model="holdout", scan=scan).itertuples():
            key = HeatmapKey("holdout", row.method, row.target, row.scale)
            ours, theirs = (one.heatmap(*key[:2], scan, target=key[2], scale=key[3]) for one in (run, source))
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    for method in ("sensitivity", "occlusion"):
        assert run.is_gradient(method) == source.is_gradient(method)


def shown_of_real(run: Path) -> None:
    change_manifest(run, lambda found: found.update(simulated=False))


def shown_of_another_number(run: Path) -> None:
    change_manifest(run, lambda found: found["group_level"].update(shown=2))


def shown_row_not_simulated(run: Path) -> None:
    table = pq.read_table(run / "tables/scans.parquet").to_pandas()
    table.assign(simulated=False).to_parquet(run / "tables/scans.parquet")


def rows_of_others(run: Path) -> None:
    shutil.copy(run_of(imagined()) / "tables/quality.parquet", run / "tables/quality.parquet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shown_of_real, "simulated is false"), (shown_of_another_number, "these are others"),
        (shown_row_not_simulated, "these are others"), (rows_of_others, "persons who are not shown"),
    ],
)  # fmt: skip
def test_shown_persons_that_cannot_be_are_a_problem(tmp_path, change, said):
    run = copy_of(with_shown(), tmp_path / "store")
    change(run)
    assert any(said in line for line in validate(run))
