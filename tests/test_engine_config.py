"""A wrong configuration gives one line that names the key, the value and what is allowed."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
import yaml

from engine.config.loading import BRAIN_END_MM, GRID_MM, load_config, parse_override, preset_names, restored_config
from engine.config.model_card import read_card
from engine.config.schema import RunConfig
from engine.config.yaml_text import load_yaml
from engine.errors import UserError
from engine.images.grid import Grid
from engine.images.template import brain_mask
from engine.relevance.occlusion import cube_at, position_shape

TABLE = {"cohort.reader": "table", "cohort.groups": {"old": "age >= 60", "young": "age < 40"}}


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_valid_and_say_what_they_are(name):
    config = load_config(preset=name)
    assert config.name in (name, name.replace("_", "-"))
    assert isinstance(RunConfig.model_validate(config.model_dump()), RunConfig)


def test_the_presets_there_are():
    assert {"demo", "smoke", "ixi_age", "rieke2018", "bohle2019", "regression"} <= set(preset_names())


def test_rieke2018_is_what_the_paper_did():
    config = load_config(preset="rieke2018")
    training = config.training
    assert (config.grid_mm, training.epochs, training.batch_size, training.learning_rate) == (1, 20, 5, 1e-4)
    assert (training.weight_decay, training.dropout, training.normalisation_scans) == (0, 0.8, 200)
    assert training.normalisation_epsilon == 1e-10
    assert (config.split.rule, config.split.holdout_per_group, config.split.sd_ddof) == ("rieke2018", 30, 0)
    assert config.atlas.placement == "stretched"
    assert (config.explain.occlusion.half_width_mm, config.explain.occlusion.stride_mm) == (20, 12)
    analysis = config.analysis
    assert (analysis.weights, analysis.target, analysis.gradient_scale) == ("scan", "predicted", "probability")


def test_bohle2019_is_that_training_on_the_same_scans():
    training, paper = load_config(preset="bohle2019").training, load_config(preset="rieke2018").training
    assert (training.network, training.learning_rate) == (paper.network, paper.learning_rate)
    assert (training.weight_decay, training.dropout, training.batch_size) == (1e-4, 0.4, 4)
    assert (training.normalisation, training.augmentation, training.shift_mm) == ("scan", "left_right", 2)
    assert (training.epochs, training.patience, training.patience_from) == (200, 8, 15)
    assert training.validation_share > 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.epoch": 3}, "training.epoch: unknown key; did you mean epochs?"),
        ({"nonsense": 1}, "nonsense: unknown key; allowed are name, seed, grid_mm"),
        ({"training.epochs": 0}, "training.epochs: 0 is not allowed; input should be greater than or equal to 1"),
        ({"training.epochs": "many"}, "training.epochs: 'many' is not allowed; input should be a valid integer"),
        ({"grid_mm": 5}, "grid_mm: 5 is not allowed; input should be 1, 2, 3 or 4"),
        ({"training.dropout": 1.0}, "training.dropout: 1.0 is not allowed"),
        ({"explain.holdout": ["magic"]}, "explain.holdout.0: 'magic' is not allowed; input should be 'sensitivity'"),
        ({"cohort.simulation.positive": -1}, "cohort.simulation.positive: -1 is not allowed"),
        ({"cohort.reader": "table"}, "cohort: give either diagnosis (by label) or groups (by expression)"),
        (TABLE | {"cohort.groups": {"old": "age >= 60"}}, "cohort: exactly two groups are needed"),
        ({"name": "no/slash"}, "name: 'no/slash' is not allowed"),
        ({"training": 3}, "training: 3 is not allowed"),
        ({"explain.folds": [], "explain.holdout": []}, "configuration: explain: no method is asked for"),
        ({"training.patience": 3}, "training: patience needs validation scans: set validation_share"),
        ({"training.normalisation": "scan", "training.normalisation_scans": 9}, "training: normalisation_scans has no"),
        ({"explain.occlusion.reference": "zebra"}, "explain.occlusion.reference: 'zebra' is not allowed"),
    ],
)
def test_impossible_values_give_one_line(overrides, message):
    with pytest.raises(UserError) as caught:
        load_config(overrides=overrides)
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text


def test_a_file_goes_over_its_preset_and_the_command_line_over_both(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump({"preset": "smoke", "training": {"epochs": 7, "batch_size": 3}}))
    config = load_config(file, overrides={"training.epochs": 9})
    assert (config.training.epochs, config.training.batch_size, config.split.folds) == (9, 3, 2)


def test_the_users_own_mappings_replace_those_of_the_preset(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text(
        yaml.safe_dump(
            {"preset": "ixi_age", "cohort": {"groups": {"women": "icv < 1", "men": "icv > 1"}}}, sort_keys=False
        )
    )
    assert list(load_config(file).cohort.groups) == ["women", "men"]


# Nine levels of nine aliases: 400 million values out of 400 bytes.
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such configuration file"),
        ("a: [", "not valid YAML, line 1"),
        ("- 1\n- 2\n", "a mapping"),
        ("preset: no", "unknown"),
        (BOMB, "not valid YAML: more than 100000 values, aliases written out"),
        ("a: &a [*a]\n", r"not valid YAML: the alias \*a stands inside of what it stands for"),
        ("a: " + "[" * 5000 + "]" * 5000, "not valid YAML: deeper than 30 levels"),
        ("a: " + "x" * (1 << 20), "not valid YAML: larger than 1 MB"),
        ("a: 2020-13-45\n", "not valid YAML: a value that cannot be"),
        ("a: " + "9" * 5000, "not valid YAML: a value that cannot be"),
        ("a: *nothing\n", "not valid YAML, line 1"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML, line 1"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    file = tmp_path / "my.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_config(file)


def test_aliases_that_stay_small_are_read(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("preset: smoke\ncohort:\n  diagnosis:\n    AD: &labels [a, b]\n    NC: [c]\n  apply: []\n")
    assert load_config(file).cohort.diagnosis["AD"] == ["a", "b"]
    assert load_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}, e: *x}") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": 1, "e": [1, 2]},
    }


def test_a_bomb_is_refused_before_it_is_unpacked():
    with pytest.raises(UserError, match=r"--set cohort.apply=.*the value is not valid YAML"):
        parse_override("cohort.apply={a: &a [x,x,x,x,x,x,x,x,x], " + ", ".join(
            f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in itertools.pairwise("abcdefghi")) + "}")  # fmt: skip


def test_a_bomb_is_no_card(tmp_path):
    (tmp_path / "card.yaml").write_text(BOMB)
    with pytest.raises(UserError, match=r"card.yaml: cannot be read as YAML \(more than 100000 values"):
        read_card(tmp_path / "card.yaml")


def test_a_pipe_is_no_configuration(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe.yaml: not a file"):
        load_config(tmp_path / "pipe.yaml")


def test_a_value_that_is_not_allowed_is_shown_in_short():
    with pytest.raises(UserError) as caught:
        load_config(overrides={"training.epochs": "x" * 100_000})
    assert len(str(caught.value)) < 400


def test_overrides_are_yaml():
    assert parse_override("training.epochs=5") == ("training.epochs", 5)
    assert parse_override("explain.folds=[sensitivity]") == ("explain.folds", ["sensitivity"])
    assert parse_override("cohort.data=") == ("cohort.data", None)
    for bad in ("training.epochs", "=5", "a=[1"):
        with pytest.raises(UserError, match="--set"):
            parse_override(bad)


def test_the_fingerprint_is_of_settings_not_of_places():
    base = load_config()
    assert load_config(overrides={"name": "other"}).fingerprint() == base.fingerprint()
    assert load_config(overrides={"training.epochs": 3}).fingerprint() != base.fingerprint()
    moved = TABLE | {"cohort.data": "/somewhere"}
    assert load_config(overrides=TABLE).fingerprint() == load_config(overrides=moved).fingerprint()
    assert load_config(overrides=moved).stored()["cohort"]["data"] is None


@pytest.mark.parametrize(
    ("grid_mm", "half", "stride", "words"),
    [
        (4, 4, 24, "at most twice half_width_mm, here 8"),  # 33 of 48 voxels of an axis were in no cube
        (1, 2, 5, "at most twice half_width_mm, here 4"),
        (4, 20, 44, "at most twice half_width_mm, here 40"),
        (4, 60, 120, "do not reach the end of the brain"),
        (1, 20, 12, None),
        (4, 20, 40, None),
        (3, 20, 40, None),
    ],
)
def test_cubes_that_leave_brain_out_are_refused(grid_mm, half, stride, words):
    chosen = {"grid_mm": grid_mm, "explain.occlusion": {"half_width_mm": half, "stride_mm": stride}}
    if words:
        with pytest.raises(UserError, match=words):
            load_config(overrides=chosen)
        load_config(overrides={**chosen, "explain.holdout": ["sensitivity"], "explain.folds": ["sensitivity"]})
        return
    occlusion, grid = load_config(overrides=chosen).explain.occlusion, Grid(grid_mm)
    half, stride = grid.voxels(occlusion.half_width_mm), grid.voxels(occlusion.stride_mm)
    looked_at = np.zeros(grid.shape, bool)
    for position in np.ndindex(position_shape(grid.shape, stride)):
        looked_at[cube_at(position, half, stride, grid.shape)] = True
    assert looked_at[brain_mask(grid_mm)].all()


def test_the_brain_ends_where_the_cubes_are_checked_against():
    assert Grid(1).shape == GRID_MM
    assert tuple(int(where.max()) + 1 for where in np.nonzero(brain_mask(1))) == BRAIN_END_MM


def test_a_run_keeps_the_cubes_that_it_was_made_with():
    stored = load_config().stored()
    stored["explain"]["occlusion"]["stride_mm"] = 48.0
    assert restored_config(stored, {"name": "again"}, "old").explain.occlusion.stride_mm == 48
    with pytest.raises(UserError, match="the cubes do not touch"):
        restored_config(stored, {"explain.occlusion.half_width_mm": 20}, "old")
