"""All heatmaps of a run: one network and method after the other here, block by block on several GPUs or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from engine.networks.card_check import check_card
from engine.networks.device import choose_device, make_deterministic
from engine.parallel import Work
from engine.pipeline.explain import CHUNK, build_brain, explain_scans, explanations_of, space, start_all
from engine.pipeline.remote import heard_by, remote_copy
from engine.pipeline.run import Run
from engine.relevance import BatchSize
from engine.training.checkpoints import load_model
from engine.training.volumes import chunked
from store.spec import MODELS_FOLDER


def write_heatmaps(run: Run) -> None:
    """Compute and write the heatmaps of all networks by all methods that do not exist yet."""
    if (places := run.engine.places(run.device)) > 1:
        _write_by_blocks(run, places)
    else:
        device = choose_device(run.device)
        make_deterministic(device)
        check_card(device, "float32", run.progress.say)
        batch = BatchSize(run.config.explain.batch_size, run.progress.say)
        for job in run.jobs:
            network, normalisation, _ = load_model(run.staging / MODELS_FOLDER, job.model, run.mask, run.sites)
            network = network.to(device)
            for explanation in explanations_of(run, job, build_brain(run, job, normalisation, device), batch):
                start_all(run, explanation)
                explain_scans(run, explanation, network, normalisation)
    run.writer.compact()  # what follows reads one table instead of a part for each handful of heatmaps


@dataclass(frozen=True)
class Block:
    """Some scans of one network that are explained together by one method: a unit of work.

    Attributes:
        first: the first chunk of scans.
        chunks: how many.
    """

    model: str
    method: str
    group: str
    first: int
    chunks: int

    @property
    def name(self) -> str:
        """The block for people."""
        first = self.first * CHUNK + 1
        return f"{self.model} {self.method} for {self.group}, scans {first} to {first + self.chunks * CHUNK - 1}"


def _write_by_blocks(run: Run, places: int) -> None:
    """Hand the heatmaps that do not exist yet to the engine, block by block."""
    blocks, total, finished = [], 0, 0
    size = max(1, run.config.cluster.block_scans // CHUNK)
    for job in run.jobs:
        for explanation in explanations_of(run, job, space(run, torch.device("cpu")), BatchSize(1)):
            keys = start_all(run, explanation)
            done = set.intersection(*(run.writer.completed(key) for key in keys.values()))
            chunks = chunked(job.explain, CHUNK)
            total += len(job.explain)
            finished += len(done)
            for first in range(0, len(chunks), size):
                part = chunks[first : first + size]
                if not all(done.issuperset(chunk) for chunk in part):
                    own = (job.model, explanation.method.name, explanation.group)
                    blocks.append(Block(*own, first, len(part)))
    work = Work(
        "explain", partial(explain_block, remote_copy(run)), blocks, [block.name for block in blocks],
        torch.get_num_threads(), min(places, len(blocks)), run.device == "cuda",
    )  # fmt: skip
    with run.progress.task("explaining, heatmaps", total, finished) as task:
        for _ in run.engine.run(work, heard_by(run.progress, task)):
            pass


def explain_block(run: Run, block: Block) -> None:
    """Compute and write the heatmaps of a block that do not exist yet; runs in a worker."""
    device = choose_device(run.device)
    make_deterministic(device)
    check_card(device, "float32", run.progress.say)
    job = next(job for job in run.jobs if job.model == block.model)
    network, normalisation, _ = load_model(run.staging / MODELS_FOLDER, job.model, run.mask, run.sites)
    brain = build_brain(run, job, normalisation, device, [block.method])
    batch = BatchSize(run.config.explain.batch_size, run.progress.say)
    own = (block.method, block.group)
    explanations = explanations_of(run, job, brain, batch)
    explanation = next(one for one in explanations if (one.method.name, one.group) == own)
    explain_scans(run, explanation, network.to(device), normalisation, range(block.first, block.first + block.chunks))
