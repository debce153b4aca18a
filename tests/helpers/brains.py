"""Made-up brains in MNI space as files, and a tiny run that was trained on them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

import run_pipeline
from engine.cli import main
from engine.images.grid import Grid
from engine.images.template import template_brain

AS_THEY_ARE = (
    "preprocessing.registration=none", "preprocessing.brain_extraction=none", "preprocessing.n4=false",
    "preprocessing.processes=1",
)  # fmt: skip
COHORT = (
    "cohort.reader=table", "cohort.diagnosis={AD: [Dementia], NC: [CN]}", "split.folds=2", "split.holdout_per_group=1",
    "training.epochs=1", "explain.occlusion={half_width_mm: 48, stride_mm: 80}", "explain.folds=[sensitivity]",
    "explain.holdout=[sensitivity, guided_backprop, occlusion, area_occlusion]", "trust.measures=[]",
)  # fmt: skip
SUBJECTS = 10


def brain(file: Path, seed: int, change: float = 1.0, shift: int = 0) -> Path:
    """Write a noisy template brain at 4 mm.

    Args:
        seed: of the noise.
        change: of the intensity of a place.
        shift: to the side, in voxels.
    """
    volume = template_brain(4) * (1 + 0.05 * np.random.default_rng(seed).normal(size=Grid(4).shape))
    volume[15:25, 20:30, 15:22] *= change
    file.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.roll(volume, shift, axis=0).astype(np.float32), Grid(4).affine), file)
    return file


def cohort(folder: Path) -> Path:
    """Write brains of two groups with their table."""
    rows = ["path,subject,label,age"]
    for i in range(SUBJECTS):
        label = ("Dementia", "CN")[i % 2]
        brain(folder / f"scan{i}.nii.gz", i, 0.7 if label == "Dementia" else 1.0)
        rows.append(f"scan{i}.nii.gz,p{i},{label},{70 + i}")
    (folder / "cohort.csv").write_text("\n".join(rows))
    return folder


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


def job(*arguments: object) -> int:
    """Run a command line in this process; returns its exit code."""
    return main.main(run_pipeline.STAGES, [str(a) for a in arguments])


def tiny_run(store: Path, data: Path, *more: str, name: str = "tiny") -> None:
    """Train on the brains in `data` and publish."""
    chosen = settings(*AS_THEY_ARE, *COHORT, *more)
    assert job("--preset", "smoke", "--name", name, "--store", store, "--data", data, "--device", "cpu", *chosen) == 0
