"""What networks that were trained where nothing was imposed find of a change: in patients, and in the same without it.

    python tests/helpers/null_networks.py STORE COHORT     # a finished cohort of the benchmark, as typical_ad-1.4

If they marked places that learning of any kind favours, the patients' twins without the change would be marked there,
too. Voxel AUC of the mean map of the fixed test set's patients, each by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.analysis.distances import mass
from engine.pipeline import stages
from engine.pipeline.explain_again import Explainable, explain_again
from engine.pipeline.imposed_truth import twins
from engine.pipeline.inputs import preparer_for
from engine.pipeline.method_benchmark.cells import CELLS, FULL, configuration
from engine.pipeline.run import Run
from engine.pipeline.truth_references import References
from engine.preprocessing.cohort import Preparation, prepare_cohort
from engine.progress import Progress
from engine.relevance import METHODS
from store import RunReader, open_run
from store.reading.truth import binary_of, visible_change

METHODS_ASKED = ("guided_backprop", "lrp", "segment_occlusion", "sensitivity", "smoothgrad")


class FinishedRun(Run):
    """A published run, whose networks and heatmaps are read where they are."""

    @property
    def staging(self) -> Path:
        """Return the folder of the published run."""
        found = self.finished()
        if found is None:
            raise SystemExit(f"no finished run {self.run_id} in {self.store}: python run_pipeline.py benchmark")
        return found

    def reader(self) -> RunReader:
        """Open the published run."""
        return open_run(self.store, self.staging.name)


def opened(store: Path, name: str) -> FinishedRun:
    """Return the run of a cohort with its volumes."""
    cell = next(cell for cell in CELLS if cell.name == name)
    run = FinishedRun(configuration(cell, FULL, 0), store, "cpu", Progress())
    stages.ingest(run)
    preparer, processes = preparer_for(run.config, run.store)
    where = Preparation(preparer, run.volumes_folder, run.preprocessing_fingerprint, run.progress, processes)
    prepared = prepare_cohort(run.cohort, where)
    run.cache, run.cohort = prepared.cache, run.with_parts(prepared.cohort)
    return run


def found_by(
    run: Run, network: Explainable, method: str, scans: Sequence[str], read: Callable[[Sequence[str]], np.ndarray]
) -> np.ndarray:
    """Return the mean map of scans, each divided by its sum, of the brain's voxels."""
    total = np.zeros(int(run.mask.sum()))
    for _, heatmap in explain_again(run, network, method, scans, read=read):
        values = mass(heatmap, METHODS[method].gradient)[run.mask]
        total += values / max(float(values.sum()), 1e-12)
    return total


def rows(run: Run) -> Iterator[str]:
    """Yield a line for each method, kind of network and kind of scan."""
    reader, changed = run.reader(), twins(run)
    truth = binary_of(visible_change(reader), run.mask)[run.mask]
    known = reader.table("predictions", model_set="holdout")
    scans = known.loc[(known["model"] == "holdout") & (known["diagnosis"] == run.groups[0]), "scan"].tolist()
    references = References(run)
    for method in METHODS_ASKED:
        for kind, networks in references.networks_for(method).items():
            for what, read in (("patients", run.cache.read), ("their twins", changed.read)):
                auc = [roc_auc_score(truth, found_by(run, one, method, scans, read)) for one in networks]
                yield f"| {method} | {kind} | {what} | {np.mean(auc):.2f} | {', '.join(f'{one:.2f}' for one in auc)} |"


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("store", type=Path)
    options.add_argument("cohort", choices=[cell.name for cell in CELLS if cell.effect > 0])
    chosen = options.parse_args()
    torch.set_num_threads(1)  # as the benchmark computes its cohorts
    print("| method | networks | scans | voxel AUC, mean | each |\n|---|---|---|---|---|")
    for line in rows(opened(chosen.store, chosen.cohort)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
