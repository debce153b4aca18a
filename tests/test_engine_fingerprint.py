"""What a run's identifier depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.config.loading import load_config
from engine.pipeline.run import Run
from engine.progress import Progress


def fingerprints(threads: int, device: str = "cpu") -> tuple[str, str]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = Run(load_config(preset="smoke"), Path("nowhere"), device, Progress())
        return run.fingerprint, run.training_fingerprint
    finally:
        torch.set_num_threads(before)


def test_one_and_two_threads_are_two_runs_with_networks_of_their_own():
    """Their sums differ in the last digits, and after training in ranks of regions."""
    one, two = fingerprints(1), fingerprints(2)
    assert one == fingerprints(1)
    assert one[0] != two[0]
    assert one[1] != two[1]


def test_on_a_gpu_the_threads_of_the_host_do_not_count():
    assert fingerprints(1, "cuda") == fingerprints(2, "cuda")


def test_null_networks_that_are_made_otherwise_make_runs_with_them_new(monkeypatch):
    def found() -> list[str]:
        configs = [load_config(preset="smoke", overrides={"analysis.null_networks": count}) for count in (1, 0)]
        return [Run(config, Path("nowhere"), "cpu", Progress()).fingerprint for config in configs]

    before = found()
    monkeypatch.setattr("engine.pipeline.fingerprints.NULL_VERSION", "otherwise")
    after = found()
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(("threads", "words"), [(1, "cpu, 1 thread"), (2, "cpu, 2 threads")])
def test_the_threads_are_in_the_provenance(threads, words):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert Run(load_config(preset="smoke"), Path("nowhere"), "cpu", Progress()).computing_device() == words
    finally:
        torch.set_num_threads(before)


def test_a_plan_counts_what_distances_over_the_whole_volume_compute_again(tmp_path):
    """Two passes over two gradient maps of each of the four held-out scans and two apply scans."""
    from engine.cli.costs import estimate_costs
    from engine.cli.network_costs import FORWARD_S, GRADIENT_FACTOR
    from engine.pipeline.stages import ingest

    seconds = []
    for volume in ("mask", "whole"):
        overrides = {"analysis.distance_volume": volume, "explain.folds": []}
        run = Run(load_config(preset="smoke", overrides=overrides), tmp_path, "cpu", Progress(quiet=True))
        ingest(run)
        run.cohort = run.with_parts(run.cohort)
        seconds.append(estimate_costs(run).seconds["aggregate and compare"])
        explained = sum(len(job.explain) for job in run.jobs if job.model_set == "holdout")
    expected = 2 * 2 * GRADIENT_FACTOR * explained * FORWARD_S[4]
    assert seconds[1] - seconds[0] == pytest.approx(expected, rel=0.01)


def test_a_plan_counts_the_networks_that_know_nothing(tmp_path):
    """Two gradient maps of each patient of the fixed test set by every untrained network; null networks train, too."""
    from engine.cli.costs import estimate_costs
    from engine.cli.network_costs import FORWARD_S, GRADIENT_FACTOR
    from engine.pipeline.stages import ingest

    def seconds(untrained: int, null: int) -> float:
        overrides = {
            "analysis.untrained_networks": untrained, "analysis.null_networks": null, "explain.folds": [],
            "explain.holdout": ["sensitivity", "input_x_gradient"],
        }  # fmt: skip
        run = Run(load_config(preset="smoke", overrides=overrides), tmp_path, "cpu", Progress(quiet=True))
        ingest(run)
        run.cohort = run.with_parts(run.cohort)
        return estimate_costs(run).seconds["aggregate and compare"]

    patients = 2
    assert seconds(3, 0) - seconds(0, 0) == pytest.approx(3 * 2 * patients * GRADIENT_FACTOR * FORWARD_S[4], rel=0.01)
    assert seconds(0, 1) - seconds(0, 0) > seconds(1, 0) - seconds(0, 0) > 0


def test_a_plan_counts_the_work_on_real_heads():
    """Each is registered and changed, which takes a hundred times what a template brain does."""
    from engine.cli.costs import PREPARE_S, seconds_of_a_scan

    plain = load_config(preset="smoke")
    heads = load_config(preset="smoke", overrides={"cohort.simulation.heads": {"data": "heads.csv"}})
    there = load_config(
        preset="smoke", overrides={"cohort.simulation.heads": {"data": "heads.csv", "registration": "none"}}
    )
    assert seconds_of_a_scan(heads) > seconds_of_a_scan(plain) + PREPARE_S["affine"]
    assert seconds_of_a_scan(plain) < seconds_of_a_scan(there) < seconds_of_a_scan(heads)
