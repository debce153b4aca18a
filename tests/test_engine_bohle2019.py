"""Training as in Boehle et al. 2019: scaling by scan, flips and shifts, validation subjects, early stopping."""

from __future__ import annotations

import json
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from engine.cohort.splits import Job, check_no_leak, jobs, split, with_validation
from engine.config.schema import TrainingConfig
from engine.errors import LeakError, UserError
from engine.images.grid import Grid
from engine.training import trainer
from engine.training.augmentation import left_right
from engine.training.checkpoints import load_model, model_card, pack_model
from engine.training.normalisation import ScanScaling
from engine.training.objective import Classification
from engine.training.stopping import chosen_epoch, is_finished
from engine.training.trainer import TrainedNetwork, Trainer, TrainingSetup
from store.files import tables

# -- scaling ------------------------------------------------------------------------------------------------------


def test_each_scan_is_scaled_by_itself_and_stays_0_outside_the_brain():
    mask = np.zeros((4, 4, 4), bool)
    mask[1:3, 1:3, 1:3] = True
    volumes = np.random.default_rng(0).uniform(2, 5, (3, 4, 4, 4)).astype(np.float32)
    volumes[1] *= 100
    volumes[2, mask] = 0  # nothing in it
    volumes[0, 0, 0, 0] = -50  # outside: not looked at
    found = ScanScaling(mask)(volumes)
    assert found.dtype == np.float32
    assert not found[:, ~mask].any()
    assert not found[2].any()
    for scan in (0, 1):
        np.testing.assert_allclose(found[scan][mask], volumes[scan][mask] / volumes[scan][mask].max(), rtol=1e-6)
    volumes[0, 1, 1, 1] = -1  # undershoot of an interpolation becomes the 0 of this scan
    found = ScanScaling(mask)(volumes[:1])[0]
    assert (found[1, 1, 1], found.max(), found[~mask].any()) == (0, 1, False)


# -- flips and shifts ---------------------------------------------------------------------------------------------

WHOLE = torch.ones(9, 4, 3, dtype=torch.bool)
SCANS = [f"s{i}" for i in range(60)]


def _volumes() -> torch.Tensor:
    return torch.randn(60, 1, 9, 4, 3, generator=torch.Generator().manual_seed(0))


def test_flips_and_shifts_depend_on_seed_epoch_and_scan_alone():
    volumes = _volumes()
    whole = left_right(volumes, SCANS, WHOLE, 2, 7, 3)
    for row in (0, 31):
        assert torch.equal(left_right(volumes[[row]], [SCANS[row]], WHOLE, 2, 7, 3)[0], whole[row])
    for seed, epoch in ((8, 3), (7, 4)):
        assert not torch.equal(left_right(volumes, SCANS, WHOLE, 2, seed, epoch), whole)


def test_every_volume_is_one_of_the_ten_flips_and_shifts_and_all_occur():
    volumes, seen = _volumes(), set()
    for before, after in zip(volumes, left_right(volumes, SCANS, WHOLE, 2, 0, 0), strict=True):
        for flip in (False, True):
            given = (before.flip(1) if flip else before)[0]
            for by in range(-2, 3):
                moved = torch.zeros_like(given)
                for x in range(9):
                    if 0 <= x + by < 9:
                        moved[x + by] = given[x]
                if torch.equal(moved, after[0]):
                    seen.add((flip, by))
                    break
            else:
                continue
            break
        else:
            pytest.fail("neither flipped nor shifted")
    assert len(seen) == 10


def test_what_leaves_the_brain_is_cut_off():
    mask = torch.zeros(9, 4, 3, dtype=torch.bool)
    mask[1:5] = True  # not symmetric
    found = left_right(_volumes() * mask, SCANS, mask, 2, 0, 0)
    assert not found[:, 0, ~mask].any()
    assert found.any()


# -- validation subjects ------------------------------------------------------------------------------------------


def _people(each: int = 20) -> pd.DataFrame:
    rows = []
    for i in range(2 * each):
        group = ("AD", "NC")[i % 2]
        rows += [(f"p{i}_{k}", f"p{i}", group, group, "cohort") for k in range(1 + i % 3)]
    return pd.DataFrame(rows, columns=["scan", "subject", "group", "diagnosis", "role"])


def _jobs(each: int = 20) -> tuple[pd.DataFrame, list[Job]]:
    from engine.config.schema import SplitConfig

    scans = split(_people(each), ("AD", "NC"), SplitConfig(folds=2), 0)
    return scans, jobs(scans, ["holdout", "folds"], [1, 2], 0)


def test_validation_subjects_are_of_both_groups_and_on_no_other_side():
    scans, planned = _jobs()
    subject = scans.set_index("scan")["subject"]
    for job in planned:
        found = with_validation(job, scans, ("AD", "NC"), 0.25)
        assert sorted([*found.train, *found.validation]) == sorted(job.train)
        assert (found.test, found.explain) == (job.test, job.explain)
        sides = [set(subject[list(part)]) for part in (found.train, found.validation, found.explain)]
        assert sum(len(side) for side in sides) == len(set.union(*sides))
        people = scans[scans["scan"].isin(job.train)].drop_duplicates("subject").set_index("subject")["group"]
        for group in ("AD", "NC"):
            assert (people[sorted(sides[1])] == group).sum() == round(0.25 * (people == group).sum())
        assert found == with_validation(job, scans, ("AD", "NC"), 0.25)
        assert with_validation(job, scans, ("AD", "NC"), 0) == job


def test_too_few_for_validation_and_a_leak():
    scans, planned = _jobs(4)
    with pytest.raises(
        UserError, match=r"training\.validation_share: 0\.9 of the .* training subjects of AD in holdout"
    ):
        with_validation(planned[0], scans, ("AD", "NC"), 0.9)
    scan, other = "p2_0", "p2_1"
    with pytest.raises(LeakError):
        check_no_leak(scans, Job("fold-1", "folds", 0, (scan,), (), (), (other,)))


# -- early stopping -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "start", "chosen", "ends"),
    [
        ([3, 2, 1], 0, 3, False),
        ([3, 1, 2], 0, 2, False),
        ([3, 1, 2, 2], 0, 2, True),
        ([0, 3, 2, 3], 1, 3, False),  # the first does not count
        ([0, 3, 2, 3, 4], 1, 3, True),
        ([1, 2, 3], 4, 3, False),
        ([5] * 9, 0, 1, True),
    ],
)
def test_when_training_ends(losses, start, chosen, ends):
    config = TrainingConfig(epochs=9, validation_share=0.2, patience=2, patience_from=start)
    curve = [{"epoch": number, "validation_loss": loss} for number, loss in enumerate(losses, start=1)]
    assert chosen_epoch(curve, config) == chosen
    assert is_finished(curve, config) == ends


def test_without_patience_the_last_epoch_is_kept():
    curve = [{"epoch": 1, "validation_loss": 0.1}, {"epoch": 2, "validation_loss": 0.9}]
    config = TrainingConfig(epochs=2, validation_share=0.2)
    assert (chosen_epoch(curve, config), is_finished(curve[:1], config), is_finished(curve, config)) == (2, False, True)
    assert not is_finished([], TrainingConfig(validation_share=0.2, patience=1))


# -- a training with all of it ------------------------------------------------------------------------------------

IDS = [f"s{i}" for i in range(10)]
OBJECTIVE = Classification({scan: number % 2 == 0 for number, scan in enumerate(IDS)})
JOB = Job("fold-1", "folds", 3, tuple(IDS[:6]), tuple(IDS[8:]), tuple(IDS[8:]), tuple(IDS[6:8]))
MASK = np.zeros(Grid(4).shape, bool)
MASK[8:41, 10:45, 8:41] = True


def _read(scans) -> np.ndarray:
    found = np.random.default_rng(0).normal(1, 0.1, (10, *Grid(4).shape)).astype(np.float32)
    found[::2, 12:25, 12:25, 12:25] += 0.5
    return found[[IDS.index(scan) for scan in scans]]


def _train(folder, **options) -> TrainedNetwork:
    config = TrainingConfig(**{
        "epochs": 9, "batch_size": 3, "learning_rate": 3e-3, "dropout": 0.4, "weight_decay": 1e-4, "shift_mm": 8,
        "normalisation": "scan", "augmentation": "left_right", "validation_share": 0.2, "patience": 2,
    } | options)  # fmt: skip
    ticks = []
    setup = TrainingSetup(OBJECTIVE, _read, MASK, 4, config, torch.device("cpu"), folder)
    trained = Trainer(setup, JOB, on_epoch=lambda: ticks.append(1)).train()
    assert len(ticks) == config.epochs  # also those that were spared
    return trained


def _same(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The validation loss is made to fall until the third epoch."""
    with patch.object(trainer, "evaluate", _made_up()):
        return _train(tmp_path_factory.mktemp("whole") / "m")


def _made_up():
    original = trainer.evaluate

    def evaluate(network, volumes, scans, positive):
        found = original(network, volumes, scans, positive)
        seen = int(network.features[1].num_batches_tracked)  # two batches an epoch
        return found | {"loss": abs(seen / 2 - 3)} if scans == JOB.validation else found

    return evaluate


def test_training_ends_early_and_keeps_the_chosen_weights(whole, tmp_path):
    assert [row["validation_loss"] for row in whole.curve] == [2, 1, 0, 1, 2]
    assert all(np.isfinite(row["loss"]) and 0 <= row["validation_accuracy"] <= 1 for row in whole.curve)
    assert _same(whole, _train(tmp_path / "three", epochs=3, patience=None))


@pytest.mark.parametrize("interrupted", [2, 4, 5])
def test_an_interrupted_training_ends_in_the_same_network(whole, tmp_path, interrupted):
    original, calls = Trainer.pass_over, []

    def stop(*args):
        calls.append(1)
        if len(calls) == interrupted:
            raise KeyboardInterrupt
        return original(*args)

    with patch.object(trainer, "evaluate", _made_up()):
        with patch.object(Trainer, "pass_over", stop), pytest.raises(KeyboardInterrupt):
            _train(tmp_path / "m")
        torch.manual_seed(99)
        resumed = _train(tmp_path / "m")
        again = _train(tmp_path / "m")  # nothing is left to do
    assert _same(whole, resumed)
    assert _same(whole, again)
    assert [row["loss"] for row in resumed.curve] == [row["loss"] for row in whole.curve]


def test_augmentation_reaches_the_training_alone(tmp_path):
    seen = []
    with patch.object(trainer, "left_right", lambda *a: seen.append(tuple(a[1])) or left_right(*a)):
        one = _train(tmp_path / "with", epochs=1, patience=None)
    assert sorted(scan for chunk in seen for scan in chunk) == sorted(JOB.train)
    assert not _same(one, _train(tmp_path / "without", epochs=1, patience=None, augmentation="none"))


def test_the_card_says_how_scans_are_scaled(whole, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(pack_model(whole.network, whole.normalisation))
    (tmp_path / "m.json").write_text(json.dumps(model_card(4, TrainingConfig(normalisation="scan"), ("AD", "NC"))))
    _, normalisation, _ = load_model(tmp_path, "m", MASK)
    assert isinstance(normalisation, ScanScaling)
    np.testing.assert_array_equal(normalisation(_read(["s1"])), whole.normalisation(_read(["s1"])))


# -- the store ----------------------------------------------------------------------------------------------------


def test_tables_of_earlier_runs_lack_the_later_columns_and_are_right():
    row = {"model": "m", "epoch": 1} | dict.fromkeys(
        ("loss", "accuracy", "test_loss", "test_accuracy", "test_auc"), 0.5
    )
    frame = pd.DataFrame([row | {"seconds": 1.0}])
    read = list(frame.columns)
    assert tables.problems("training", pa.Table.from_pandas(frame, preserve_index=False), read) == []
    written = tables.conform("training", frame)
    assert written["validation_loss"].isna().all()
    lacking = frame.drop(columns="test_auc")
    assert "missing columns test_auc" in tables.problems("training", pa.Table.from_pandas(lacking), read)[0]
