"""Does the network use what a heatmap marks beside the known truth: what is there is replaced by the mean brain.

See docs/definitions.md, Trust, Faithfulness. The control is the mirror image of the same voxels.
"""

from __future__ import annotations

import numpy as np
import torch

from engine.analysis.faithfulness import mean_over_subjects
from engine.analysis.false_positives import beside_truth, marked_voxels
from engine.networks.cnn3d import margins
from engine.pipeline.trust.scope import HELD_OUT, TrustScope
from engine.training.volumes import STREAMED, Volumes
from store.reading.truth import voxel_truth
from store.spec import TRUTH_SCANS

ALL = "all"
POSITIVE = 1  # class of the network


def false_positive_rows(scope: TrustScope) -> list[dict]:
    """Return the rows of the table false_positives; none of a run that is not simulated, or where nothing was imposed.

    The truth of a patient is the own visible change; that of a control, on whom nothing was imposed, the mean one.
    """
    if not (scope.run.cohort.simulated and scope.reader.has_array(TRUTH_SCANS.path)):
        return []
    scans, changes = scope.scans, _changes(scope)
    subjects, analysis = scans["subject"].to_numpy(), scope.run.config.analysis
    rows = []
    for method in scope.methods:
        for diagnosis in (*scans["diagnosis"].drop_duplicates(), ALL):
            chosen = ((scans["diagnosis"] == diagnosis) | (diagnosis == ALL)).to_numpy()
            marked, mirrored, share = changes[method].T
            used = chosen & np.isfinite(marked)
            values = np.column_stack([marked, mirrored, marked - mirrored])[used]
            mean = mean_over_subjects(values, subjects[used], analysis.bootstrap, scope.run.config.seed)
            known = chosen & np.isfinite(share)
            shares = mean_over_subjects(share[known, None], subjects[known], analysis.bootstrap, scope.run.config.seed)
            rows.append(
                {
                    "model_set": HELD_OUT, "method": method, "target": scope.target, "diagnosis": diagnosis,
                    "marked": mean.value[0], "mirrored": mean.value[1], "difference": mean.value[2],
                    "difference_low": mean.low[2], "difference_high": mean.high[2], "share_outside": shares.value[0],
                    "scans": int(used.sum()), "subjects": len(set(subjects[used])),
                    "left_out": int((chosen & ~used).sum()),
                }
            )  # fmt: skip
    return rows


def _changes(scope: TrustScope) -> dict[str, np.ndarray]:
    """Return method -> (scans, 3): |change| by the marked and by the mirrored voxels, share of marks outside the truth.

    Changes are nan where no voxel has to be replaced.
    """
    run, names = scope.run, scope.scans["scan"].tolist()
    found = {method: np.full((len(names), 3), np.nan) for method in scope.methods}
    cohort = voxel_truth(scope.reader).binary
    volumes = Volumes(run.cache.read, names, scope.held_out.normalisation, scope.device, STREAMED)
    with run.progress.task("faithfulness, marks beside the truth", len(names)) as task:
        batches = volumes.batches([[scan] for scan in names])
        for number, (row, volume) in enumerate(zip(scope.scans.itertuples(), batches, strict=True)):
            truth = voxel_truth(scope.reader, row.scan).binary if row.group == scope.target else cohort
            intact = _margins(scope, volume)
            for method, of_method in found.items():
                marked = marked_voxels(scope.stored_map(method, row.scan), run.mask, run.config.grid_mm)
                beside = beside_truth(marked, truth, run.mask, run.config.grid_mm)
                of_method[number, 2] = beside.share_outside
                if beside.marked.any():
                    away = torch.from_numpy(np.stack([beside.marked, beside.mirrored])).to(volume.device)
                    changed = _margins(scope, torch.where(away[:, None], 0, volume))
                    of_method[number, :2] = np.abs(changed - intact)
            task.advance()
    return found


def _margins(scope: TrustScope, volumes: torch.Tensor) -> np.ndarray:
    """Return the (n,) margins of normalised volumes (n, 1, x, y, z), of which 0 is the mean brain."""
    with torch.no_grad():
        return margins(scope.held_out.network(volumes))[:, POSITIVE].double().cpu().numpy()
