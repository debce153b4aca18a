"""The network, its normalisation, training that resumes exactly, checkpoints, metrics, folds."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch import nn

from engine.cohort.splits import Job, check_no_leak, jobs, split
from engine.config.schema import SplitConfig, TrainingConfig
from engine.errors import LeakError, RunError, UserError
from engine.evaluation.baselines import balance_rows, covariate_table, logistic_predictions, region_means
from engine.evaluation.metrics import curve_rows, metric_rows, scores
from engine.images.grid import Grid
from engine.networks.architectures import build_network
from engine.networks.cnn3d import CNN3D, POOLS, feature_shape, margins, parameter_count
from engine.networks.device import choose_device
from engine.training import trainer
from engine.training.checkpoints import load_model, model_card, pack_model
from engine.training.normalisation import Normalisation, fit_normalisation
from engine.training.objective import Classification
from engine.training.trainer import Trainer, TrainingSetup, predict_margins, probability
from engine.training.volumes import STREAMED, Volumes, chunked

# -- network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mm", "shape", "features"), [(1, (4, 5, 4), 5120), (2, (4, 5, 4), 5120), (3, (4, 5, 4), 5120), (4, (2, 3, 2), 768)]
)
def test_the_network_of_the_paper(mm, shape, features):
    assert feature_shape(Grid(mm).shape, POOLS[mm]) == shape
    network = build_network(mm)
    assert network.classifier[2].in_features == features
    if features == 5120:
        assert parameter_count(network) == 737_026


def test_layers_are_those_of_the_paper():
    network = build_network(1)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.padding) for c in convolutions] == [
        (a, b, (3, 3, 3), (0, 0, 0)) for a, b in ((1, 8), (8, 16), (16, 32), (32, 64))
    ]
    assert [m.kernel_size for m in network.modules() if isinstance(m, nn.MaxPool3d)] == [2, 3, 2, 3]
    relus = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    assert len(relus) == 6
    assert not any(r.inplace for r in relus)
    assert [type(m).__name__ for m in network.classifier] == [
        "Flatten",
        "Dropout",
        "Linear",
        "ReLU",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert network.classifier[1].p == 0.8
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [128, 64, 2]


def test_the_same_seed_gives_the_same_network_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    first, second, other = (build_network(4, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    key = "features.0.weight"
    assert torch.equal(first[key], second[key])
    assert not torch.equal(first[key], other[key])


def test_margin_is_log_odds():
    logits = torch.tensor([[0.2, -1.0, 2.5], [5.0, 5.0, 0.0]], dtype=torch.float64)
    p = logits.softmax(1)
    torch.testing.assert_close(margins(logits), torch.log(p) - torch.log(1 - p))
    two = torch.tensor([[-20.0, 30.0]])
    assert margins(two)[0, 1] == 50.0


# -- normalisation ------------------------------------------------------------------------------------------------


def test_normalisation_is_streamed_population_statistics():
    rng = np.random.default_rng(0)
    data = (rng.normal(1000, 3, (21, 4, 5, 3))).astype(np.float32)
    data[:, 1, 1, 1] = 7.0  # never varies
    mask = np.ones((4, 5, 3), bool)
    mask[0] = False
    largest = []

    def read(scans):
        largest.append(len(scans))
        return data[[int(s) for s in scans]]

    found = fit_normalisation(read, [str(i) for i in range(21)], mask)
    assert max(largest) <= 8
    np.testing.assert_allclose(found.mean[mask], data.mean(0, dtype=np.float64)[mask], rtol=1e-6)
    np.testing.assert_allclose(found.std[mask], data.std(0, dtype=np.float64)[mask], rtol=1e-4)
    z = found(data)
    assert not z[:, 0].any()
    assert not z[:, 1, 1, 1].any()
    assert abs(z[:, 2, 2, 2].std() - 1) < 1e-3


# -- training -----------------------------------------------------------------------------------------------------


class Cohort:
    """Twelve tiny 4 mm 'scans': the positive ones are brighter in one corner."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.mask = np.zeros(Grid(4).shape, bool)
        self.mask[5:45, 5:50, 5:45] = True
        self.ids = [f"s{i}" for i in range(12)]
        self.objective = Classification({s: i % 2 == 0 for i, s in enumerate(self.ids)})
        self.data = rng.normal(1, 0.1, (12, *Grid(4).shape)).astype(np.float32)
        self.data[::2, 10:25, 10:25, 10:25] += 0.3
        self.job = Job("fold-1", "folds", 3, tuple(self.ids[:8]), tuple(self.ids[8:]), tuple(self.ids[8:]))

    def read(self, scans) -> np.ndarray:
        return self.data[[self.ids.index(s) for s in scans]]

    def train(self, folder, epochs=2, **kwargs):
        config = TrainingConfig(epochs=epochs, learning_rate=1e-3, batch_size=4, schedule="cosine", **kwargs)
        setup = TrainingSetup(self.objective, self.read, self.mask, 4, config, torch.device("cpu"), folder)
        return Trainer(setup, self.job).train()


@pytest.fixture(scope="module")
def cohort():
    return Cohort()


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    return cohort.train(tmp_path_factory.mktemp("whole"))


def _same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns_and_is_deterministic(cohort, trained, tmp_path):
    again = cohort.train(tmp_path)
    assert _same(trained.network, again.network)
    assert trained.curve[-1]["loss"] < trained.curve[0]["loss"]
    assert [row["epoch"] for row in trained.curve] == [1, 2]


def test_a_normalisation_that_is_given_is_not_fitted(cohort, tmp_path):
    given = Normalisation(np.zeros(cohort.mask.shape, np.float32), np.ones(cohort.mask.shape, np.float32), cohort.mask)
    config = TrainingConfig(epochs=1, batch_size=3)
    setup = TrainingSetup(
        cohort.objective, cohort.read, cohort.mask, 4, config, torch.device("cpu"), tmp_path, normalisation=given
    )
    assert Trainer(setup, cohort.job).train().normalisation is given


def test_interrupted_training_ends_in_the_same_network(cohort, trained, tmp_path):
    """The second epoch is interrupted in the middle; the next call goes on after the first."""
    calls = []

    def stop_in_the_second_epoch(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = Trainer.pass_over
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "pass_over", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            cohort.train(tmp_path)
    torch.manual_seed(99)  # a new process has another random state
    resumed = cohort.train(tmp_path)
    assert _same(trained.network, resumed.network)
    assert [row["loss"] for row in resumed.curve] == [row["loss"] for row in trained.curve]


def test_fused_steps_learn_what_plain_ones_do(cohort, tmp_path):
    """Three epochs; the curves differ by rounding alone."""
    fused, plain = (cohort.train(tmp_path / engine, 3, engine=engine).curve for engine in ("auto", "plain"))
    for column in ("loss", "test_loss"):
        np.testing.assert_allclose([row[column] for row in fused], [row[column] for row in plain], rtol=2e-3)


def test_schedules():
    constant, cosine = (TrainingConfig(epochs=10, learning_rate=0.2, schedule=s) for s in ("constant", "cosine"))
    assert [trainer.learning_rate(constant, e) for e in (0, 9.9)] == [0.2, 0.2]
    assert [round(trainer.learning_rate(cosine, e), 6) for e in (0, 5, 10)] == [0.2, 0.1, 0]


def test_a_damaged_checkpoint_is_as_none(cohort, trained, tmp_path):
    (tmp_path / "fold-1.safetensors").write_bytes(b"not a checkpoint")
    assert _same(trained.network, cohort.train(tmp_path).network)


def test_streaming_gives_the_same_network(cohort, trained, tmp_path):
    assert _same(trained.network, cohort.train(tmp_path, resident="never").network)


def test_out_of_memory_while_resident_goes_over_to_streaming(cohort, trained, tmp_path, monkeypatch):
    original, said = Volumes.batches, []

    def tight(self, chunks):
        for batch in original(self, chunks):
            if self.resident and len(said) == 0 and len(batch) == 4:
                said.append("raised")
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield batch

    monkeypatch.setattr(Volumes, "batches", tight)
    again = cohort.train(tmp_path)
    assert said
    assert _same(trained.network, again.network)


def test_out_of_memory_while_streaming_is_a_clear_failure(cohort, tmp_path, monkeypatch):
    def full(self, chunks):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Volumes, "batches", full)
    with pytest.raises(RunError, match="out of memory while training"):
        cohort.train(tmp_path)


def test_a_model_on_disk_is_the_model(cohort, trained, tmp_path):
    card = model_card(4, TrainingConfig(), ("AD", "NC"))
    (tmp_path / "fold-1.safetensors").write_bytes(pack_model(trained.network, trained.normalisation))
    (tmp_path / "fold-1.json").write_text(json.dumps(card))
    network, normalisation, _ = load_model(tmp_path, "fold-1", cohort.mask)
    assert isinstance(network, CNN3D)
    assert not network.training
    assert _same(network, trained.network)
    np.testing.assert_array_equal(normalisation.mean, trained.normalisation.mean)
    with pytest.raises(RunError, match="fold-2"):
        load_model(tmp_path, "fold-2", cohort.mask)
    (tmp_path / "fold-1.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(RunError, match="fold-1"):
        load_model(tmp_path, "fold-1", cohort.mask)


def test_predictions_do_not_depend_on_the_batch(cohort, trained):
    volumes = Volumes(cohort.read, cohort.ids, trained.normalisation, torch.device("cpu"), STREAMED)
    whole = predict_margins(trained.network, volumes, cohort.ids)
    single = np.concatenate([predict_margins(trained.network, volumes, [s]) for s in cohort.ids])
    np.testing.assert_allclose(whole, single, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probability(np.array([-800.0, 0.0, 800.0])), [0, 0.5, 1])


def test_chunks_keep_order_and_everything():
    assert chunked(["a", "b", "c"], 2) == [["a", "b"], ["c"]]


def test_cuda_where_there_is_none_is_the_users_mistake():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="--device cuda"):
        choose_device("cuda")


# -- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_by_hand():
    positive = np.array([1, 1, 1, 0, 0], bool)
    found = scores(positive, np.array([0.9, 0.6, 0.2, 0.7, 0.1]))
    assert (found["true_positive"], found["false_negative"], found["false_positive"], found["true_negative"]) == (
        2,
        1,
        1,
        1,
    )
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["auc_hard"] == found["balanced_accuracy"]
    assert found["auc"] == pytest.approx(4 / 6)  # pairs (positive, negative) in the right order
    assert found["brier"] == pytest.approx((0.01 + 0.16 + 0.64 + 0.49 + 0.01) / 5)
    assert np.isnan(scores(np.array([True]), np.array([0.4]))["auc"])


def _predictions() -> pd.DataFrame:
    rows = [
        ("fold-1", "a", "AD", 0.9), ("fold-1", "a", "AD", 0.3), ("fold-1", "b", "NC", 0.4), ("fold-2", "c", "AD", 0.2),
        ("fold-2", "d", "NC", 0.1), ("fold-2", "d", "NC", 0.7),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["model", "subject", "group", "probability"])


def test_mean_and_spread_over_folds_and_subjects():
    table = pd.DataFrame(metric_rows(_predictions(), ("AD", "NC"), "cnn", ddof=1)).set_index(
        ["level", "model", "metric"]
    )["value"]
    assert table["scan", "fold-1", "accuracy"] == pytest.approx(2 / 3)
    assert table["scan", "fold-2", "accuracy"] == pytest.approx(1 / 3)
    assert table["scan", "mean", "accuracy"] == pytest.approx(0.5)
    assert table["scan", "sd", "accuracy"] == pytest.approx(np.std([2 / 3, 1 / 3], ddof=1))
    assert table["subject", "fold-1", "accuracy"] == 1.0  # subject a: mean probability 0.6


def test_folds_without_a_group_are_counted_out_of_mean_and_spread():
    """Five patients and fifty controls over five folds by chance: two folds have no patient (FC-08)."""
    rng = np.random.default_rng(0)
    folds = {f"p{i}": fold for i, fold in enumerate((1, 1, 4, 5, 5))} | {f"c{i}": 1 + i % 5 for i in range(50)}
    frame = pd.DataFrame({"subject": list(folds), "model": [f"fold-{k}" for k in folds.values()]})
    frame["group"] = np.where(frame["subject"].str.startswith("p"), "AD", "NC")
    frame["probability"] = rng.random(55)
    table = pd.DataFrame(metric_rows(frame, ("AD", "NC"), "cnn", ddof=1))
    table = table[table["level"] == "scan"].set_index(["model", "metric"])
    known = table.loc[[(f"fold-{k}", "auc") for k in range(1, 6)], "value"]
    assert known.isna().sum() == 2
    assert table.loc[("mean", "auc"), "value"] == pytest.approx(known.mean())
    assert table.loc[("mean", "auc"), "folds"] == table.loc[("sd", "auc"), "folds"] == 3
    assert table.loc[("mean", "accuracy"), "folds"] == 5
    assert np.isfinite(table.loc[("folds", "auc"), ["low", "high"]].astype(float)).all()


def test_curves_end_where_they_must():
    curves = pd.DataFrame(curve_rows(_predictions(), ("AD", "NC")))
    roc = curves[(curves["curve"] == "roc") & (curves["model"] == "folds")]
    assert (roc["x"].iloc[0], roc["y"].iloc[0]) == (0, 0)
    assert (roc["x"].iloc[-1], roc["y"].iloc[-1]) == (1, 1)
    calibration = curves[(curves["curve"] == "calibration") & (curves["model"] == "folds")]
    assert calibration["scans"].sum() == 6


# -- baselines and balance ----------------------------------------------------------------------------------------


def _people(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group = np.array(["AD", "NC"] * (n // 2))
    return pd.DataFrame(
        {
            "scan": [f"s{i}" for i in range(n)],
            "subject": [f"p{i}" for i in range(n)],
            "group": group,
            "diagnosis": group,
            "role": "cohort",
            "age": rng.normal(70, 5, n) + (group == "AD") * 10,
            "sex": rng.choice(["F", "M"], n),
            "icv": np.nan,
            "site": "",
        }
    )


def test_covariates_that_define_the_groups_or_are_missing_are_left_out():
    people = _people()
    assert covariate_table(people, ())[1] == ["age", "sex"]
    features, names = covariate_table(people, ("age",))
    assert names == ["sex"]
    assert list(features.columns) == ["sex=M"]


def test_balance_tells_an_imbalanced_age():
    rows = {row["covariate"]: row for row in balance_rows(_people(), ("AD", "NC"), ("sex",))}
    assert rows["age"]["p"] < 1e-4
    assert rows["age"]["difference"] > 1
    assert rows["sex"]["note"] == "defines the groups"
    assert "icv" not in rows


def test_region_means_and_logistic_regression():
    people = _people()
    labels = np.array([[[0, 1, 2]]])
    data = np.random.default_rng(0).normal(size=(40, 1, 1, 3))
    data[:, 0, 0, 1] += (people["group"] == "AD") * 5
    means = region_means(lambda ids: data[[int(s[1:]) for s in ids]], people["scan"].tolist(), labels, 2)
    np.testing.assert_allclose(means.to_numpy(), data[:, 0, 0, 1:])
    scans = split(people, ("AD", "NC"), SplitConfig(folds=4), 0)
    found = logistic_predictions(means, scans, jobs(scans, ["folds"], [1, 2, 3, 4], 0), "AD")
    assert len(found) == 40
    assert scores(found["group"] == "AD", found["probability"])["auc"] > 0.95


# -- folds --------------------------------------------------------------------------------------------------------


def _cohort(positive: int, negative: int, repeats: int = 3) -> pd.DataFrame:
    rows = []
    for i in range(positive + negative):
        group = "AD" if i < positive else "NC"
        rows += [(f"p{i}_{k}", f"p{i}", group, group, "cohort") for k in range(1 + i % repeats)]
    rows += [("p0_late", "p0", "NC", "NC", "cohort")]  # seen in both groups: split as AD
    rows += [("p1_mci", "p1", "", "MCI", "apply"), ("m_1", "m", "", "MCI", "apply"), ("m_2", "m", "", "MCI", "apply")]
    return pd.DataFrame(rows, columns=["scan", "subject", "group", "diagnosis", "role"])


@pytest.mark.parametrize("seed", [0, 1])
def test_split_is_by_subject_stratified_and_seeded(seed):
    scans = split(_cohort(20, 30), ("AD", "NC"), SplitConfig(), seed)
    assert scans.equals(split(_cohort(20, 30), ("AD", "NC"), SplitConfig(), seed))
    assert (scans.groupby("subject")["fold"].nunique() == 1).all()
    assert (scans.groupby("subject")["holdout"].nunique() == 1).all()
    cohort = scans[scans["role"] == "cohort"].drop_duplicates("subject")
    assert (cohort.groupby(["fold", "group"]).size().unstack()["AD"] == 4).all()
    held_out = cohort[cohort["holdout"]]["group"].value_counts()
    assert (held_out == 4).all()  # round(0.2 x 20)
    planned = jobs(scans, ["holdout", "folds"], range(1, 6), seed)
    explained = [s for job in planned if job.model_set == "folds" for s in job.explain]
    assert sorted(explained) == sorted(scans["scan"])  # every scan once
    assert all("m_1" in job.explain and "m_2" in job.explain for job in planned if job.model == "holdout")
    subjects = scans.set_index("scan")["subject"]
    for job in planned:
        assert not set(subjects[list(job.train)]) & set(subjects[list(job.explain)])
        assert "p1_mci" not in job.train


def test_holdout_size_as_designed():
    assert (
        split(_cohort(150, 160, 1), ("AD", "NC"), SplitConfig(), 0)
        .query("holdout and role == 'cohort'")["subject"]
        .nunique()
        == 60
    )
    assert (
        split(_cohort(100, 100, 1), ("AD", "NC"), SplitConfig(), 0)
        .query("holdout and role == 'cohort'")["subject"]
        .nunique()
        == 40
    )


def test_rieke2018_draws_as_scikit_learn_in_table_order():
    table = _cohort(60, 80)
    scans = split(table, ("AD", "NC"), SplitConfig(rule="rieke2018", holdout_per_group=30), 0)
    with_ad = table[table["group"] == "AD"]["subject"].unique()
    without = [s for s in table[table["group"] == "NC"]["subject"].unique() if s not in set(with_ad)]
    expected = {
        s for group in (with_ad, without) for s in train_test_split(list(group), test_size=30, random_state=0)[1]
    }
    assert set(scans[scans["holdout"] & (scans["role"] == "cohort")]["subject"]) == expected


def test_too_few_subjects():
    with pytest.raises(UserError, match=r"split\.folds: 5 folds need at least 5 subjects"):
        split(_cohort(4, 9), ("AD", "NC"), SplitConfig(), 0)
    with pytest.raises(UserError, match=r"split\.holdout_per_group"):
        split(_cohort(9, 9), ("AD", "NC"), SplitConfig(holdout_per_group=8), 0)


def test_a_leak_raises():
    scans = _cohort(3, 3)
    job = Job("fold-1", "folds", 0, train=("p2_0",), test=("p2_1",), explain=("p2_1",))
    with pytest.raises(LeakError, match="fold-1: 1 subjects are on both sides"):
        check_no_leak(scans, job)
    apply_leak = Job("fold-1", "folds", 0, train=("p1_0",), test=(), explain=("p1_mci",))
    with pytest.raises(LeakError):
        check_no_leak(scans, apply_leak)
