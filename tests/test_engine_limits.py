"""Quality limits: what is flagged, what is left out, a person's word, and which fingerprints know of them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_engine_prepare import SHAPE, FakePreparer, Made, cohort

from engine.config.loading import load_config
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.errors import UserError
from engine.pipeline import stages
from engine.pipeline.inputs import limits_for
from engine.pipeline.run import Run
from engine.preprocessing import cohort as preprocessing_cohort
from engine.preprocessing.quality import Limits, limits_of
from engine.progress import Progress
from store.files.tables import conform

DEFAULT = limits_of(PreprocessingConfig())
GOOD = {
    "template_correlation": 0.86, "mask_dice": 0.98, "brain_ml": 1450.0, "intensity_low": 0.37, "intensity_high": 1.04,
    "seconds": 20.0,
}  # fmt: skip


def quality(**scans: dict) -> pd.DataFrame:
    return pd.DataFrame([{"scan": scan, **GOOD, **changed} for scan, changed in scans.items()])


def test_an_ordinary_scan_is_neither_flagged_nor_left_out():
    assert DEFAULT.reasons(quality(a={})) == {}
    assert len(conform("flags", DEFAULT.flags(quality(a={})))) == 0


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("template_correlation", 0.5, "r 0.5, at least 0.75 expected"),
        ("mask_dice", 0.85, "Dice 0.85, at least 0.9 expected"),
        ("brain_ml", 2300.0, "2300, 1000 to 2000 expected"),
        ("intensity_low", 0.7, "0.7, at most 0.6 expected"),
        ("intensity_high", 2.5, "2.5, 1 to 1.3 expected"),
        ("mask_dice", np.nan, "not computable"),
    ],
)
def test_each_figure_is_flagged_beyond_its_bounds(figure, value, words):
    found = DEFAULT.flags(quality(a={}, b={figure: value}))
    assert len(conform("flags", found)) == 1
    row = found.iloc[0]
    assert (row["scan"], row["figure"], row["source"], row["decision"]) == ("b", figure, "limits", "")
    assert words in row["text"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"template_correlation": 0.19}, "does not match the template"),
        ({"template_correlation": np.nan}, "does not match the template"),
        ({"brain_ml": 500.0}, "is it a whole head?"),
    ],
)
def test_what_is_far_out_is_left_out_unless_a_person_accepts_it(changed, words):
    found = quality(a={}, b=changed)
    assert list(DEFAULT.reasons(found)) == ["b"]
    assert words in DEFAULT.reasons(found)["b"]
    accepting = limits_of(PreprocessingConfig(), frozenset({"b"}))
    assert accepting.reasons(found) == {}
    assert accepting.flags(found)["decision"].tolist() == ["accept"]


@pytest.mark.parametrize(
    ("registration", "good", "flagged", "left_out"),
    [
        ("syn_quick", 0.835, 0.74, 0.19),  # the least of healthy heads (IXI)
        ("affine", 0.645, 0.578, 0.349),  # the least of 28 healthy heads; turned by 10 degrees; moved by 20 mm
        ("none", 0.645, 0.578, 0.305),  # upside down
    ],
)
def test_the_limits_are_those_of_the_kind_of_registration(registration, good, flagged, left_out):
    limits = limits_of(load_config(overrides={"preprocessing.registration": registration}).preprocessing)
    scans = {"a": good, "b": flagged, "c": left_out}
    found = quality(**{scan: {"template_correlation": r} for scan, r in scans.items()})
    assert list(limits.reasons(found)) == ["c"]
    assert limits.flags(found)["scan"].tolist() == ["b", "c"]


def test_limits_that_are_given_stay_whatever_the_registration():
    chosen = {"preprocessing.registration": "affine", "preprocessing.quality.flag.template_correlation": [0.7, None]}
    settings = load_config(overrides=chosen).preprocessing
    assert settings.quality.flag.template_correlation == (0.7, None)
    assert settings.quality.exclude.template_correlation == (0.35, None)
    stored = PreprocessingConfig.model_validate(settings.model_dump(mode="json"))
    assert stored == settings


def test_what_was_prepared_before_is_found_again():
    """Fingerprints of volumes, as they were before limits knew of registrations."""
    known = {"syn_quick": "627a97607f9d5686", "affine": "2a1edf2f45b8f437", "none": "b6e4d846d9a6dbc6"}
    for registration, fingerprint in known.items():
        run = _run(Path("/"), _registration=registration)
        assert run.preprocessing_fingerprint.startswith(fingerprint)


def test_figures_that_the_settings_leave_open_have_no_limits():
    open_ones = quality(a={"brain_ml": np.nan, "intensity_low": 40.0, "intensity_high": 900.0})
    assert limits_of(PreprocessingConfig(brain_extraction="none", intensity="none")).flags(open_ones).empty
    assert len(DEFAULT.flags(open_ones)) == 3
    assert limits_for(load_config()) == Limits({}, {})  # simulated


def test_limits_are_settings():
    chosen = {"flag.mask_dice": [0.99, None], "exclude.brain_ml": [None, None]}
    config = load_config(overrides={f"preprocessing.quality.{key}": pair for key, pair in chosen.items()})
    limits = limits_of(config.preprocessing)
    assert limits.flags(quality(a={}))["figure"].tolist() == ["mask_dice"]
    assert limits.reasons(quality(a={"brain_ml": 1.0})) == {}
    with pytest.raises(UserError, match=r"quality\.flag: brain_ml: the lower bound 3000 is above the upper bound 2000"):
        load_config(overrides={"preprocessing.quality.flag.brain_ml": [3000, 2000]})


def _run(folder: Path, _registration: str = "syn_quick", **limits) -> Run:
    groups = {"AD": "age > 1", "NC": "age <= 1"}
    chosen = {"cohort.reader": "table", "cohort.data": str(folder), "cohort.groups": groups}
    chosen["preprocessing.registration"] = _registration
    chosen |= {f"preprocessing.quality.{key}": value for key, value in limits.items()}
    return Run(load_config(overrides=chosen), folder, "cpu", Progress(quiet=True), data_fingerprint="d")


def test_other_limits_are_another_run_but_need_no_registration(tmp_path):
    default = _run(tmp_path)
    flag, exclude = (_run(tmp_path, **{f"{kind}.mask_dice": [0.5, None]}) for kind in ("flag", "exclude"))
    assert len({run.preprocessing_fingerprint for run in (default, flag, exclude)}) == 1
    assert len({run.fingerprint for run in (default, flag, exclude)}) == 3
    assert flag.training_fingerprint == default.training_fingerprint
    assert exclude.training_fingerprint != default.training_fingerprint


class Drawing(FakePreparer):
    """Scan s<i> has a correlation of i / 10 and a picture."""

    def __call__(self, row, folder):
        made = super().__call__(row, folder)
        (folder / "overlays").mkdir(exist_ok=True)
        Image.new("RGB", (60, 60)).save(folder / "overlays" / f"{row['scan']}.png")
        return Made(made.volume, {**GOOD, "template_correlation": int(row["scan"][1:]) / 10})


def prepared(folder: Path, exclude: float, flag: float, accepted=frozenset()):
    folder.mkdir(exist_ok=True)
    (folder / "made.txt").write_text("")
    limits = Limits({"template_correlation": (flag, None)}, {"template_correlation": (exclude, None)}, accepted)
    preparation = preprocessing_cohort.Preparation(
        Drawing(pictures=True), folder, "f", Progress(quiet=True), limits=limits
    )
    found = preprocessing_cohort.prepare_cohort(cohort(), preparation)
    return found, (folder / "made.txt").read_text().split()


def test_other_limits_are_applied_to_the_volumes_that_are_there(tmp_path):
    found, made = prepared(tmp_path, 0.15, 0.35)
    assert len(made) == 6
    assert found.cohort.scans["scan"].tolist() == found.quality["scan"].tolist() == ["s2", "s3", "s4", "s5"]
    assert found.cohort.exclusions["stage"].tolist() == ["preprocess"] * 2
    assert found.flags["scan"].tolist() == ["s2", "s3"]
    sheet = found.sheet.read_bytes()
    wider, made = prepared(tmp_path, 0.05, 0.35, frozenset({"s0"}))
    assert made == []
    assert wider.cohort.scans["scan"].tolist() == [f"s{i}" for i in range(6)]
    assert wider.cache.read(["s0"]).shape == (1, *SHAPE)
    assert wider.flags.set_index("scan")["decision"].to_dict() == {"s0": "accept", "s1": "", "s2": "", "s3": ""}
    assert wider.sheet.read_bytes() != sheet


def test_flagged_scans_are_said_in_one_line(tmp_path):
    run, said = _run(tmp_path), []
    run.progress.say = said.append
    found, _ = prepared(tmp_path / "c", 0.05, 0.35)
    run.flags, run.quality = found.flags, found.quality
    assert run.notices[-1] == "3 of 5 scans lie beyond preprocessing.quality.flag and were used."
    stages.say_flags(run, found.sheet)
    (line,) = said
    assert "3 of 5 scans flagged" in line
    assert "the worst s1: does not match the template" in line
    assert str(found.sheet) in line
    run.flags = run.flags.assign(decision="accept")
    assert not any("beyond" in notice for notice in run.notices)
    stages.say_flags(run, found.sheet)
    assert len(said) == 1


def test_a_run_with_a_stretched_atlas_is_not_one_of_when_it_lay_elsewhere(tmp_path, monkeypatch):
    stretched = {"atlas.placement": "stretched"}

    def fingerprints(version: str) -> list[str]:
        monkeypatch.setattr("engine.pipeline.fingerprints.STRETCHED_VERSION", version)
        runs = [Run(load_config(overrides=chosen), tmp_path, "cpu", Progress(quiet=True)) for chosen in ({}, stretched)]
        return [run.fingerprint for run in runs]

    (placed, before), (again, after) = fingerprints("1"), fingerprints("2")
    assert placed == again
    assert before != after


def test_two_runs_do_not_prepare_the_same_scans_at_once(tmp_path):
    """The second waits, says so, and finds the volumes of the first; else they would take each other's parts away."""
    said, order = [], []

    class Watched(Drawing):
        def __call__(self, row, folder):
            order.append(threading.current_thread().name)
            time.sleep(0.05)
            return super().__call__(row, folder)

    def run():
        progress = Progress(quiet=True)
        progress.say = said.append
        preparation = preprocessing_cohort.Preparation(Watched(pictures=True), tmp_path, "f", progress)
        preprocessing_cohort.prepare_cohort(cohort(), preparation)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(order)) == 1
    assert len(order) == 6
    assert any("another run prepares these scans" in line for line in said)
