"""Made-up heads whose putamen is as bright as their phenotype is large, in MNI space already."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from engine.atlas.aal import load_atlas
from engine.config.schema import AtlasConfig
from engine.images.grid import Grid
from engine.images.template import template_brain

OF_HEADS = (
    "preprocessing.registration=none", "preprocessing.brain_extraction=none", "preprocessing.n4=false",
    "preprocessing.intensity=none", "preprocessing.processes=1",
)  # fmt: skip


def make_heads(data: Path, values: np.ndarray) -> Path:
    """Write a head a value, and cohort.csv with the value in the column inside; the first person has none."""
    brain, rng = template_brain(4), np.random.default_rng(0)
    inside = load_atlas(AtlasConfig(), 4).mask("Putamen")
    rows = []
    for i, value in enumerate(values):
        volume = brain * (1 + 0.02 * rng.normal(size=brain.shape)) * np.where(inside, 1 + 0.1 * value, 1)
        nib.save(nib.Nifti1Image(volume.astype(np.float32), Grid(4).affine), data / f"scan{i}.nii.gz")
        shown = "" if i == 0 else f"{value:.6f}"
        rows.append({"path": f"scan{i}.nii.gz", "subject": f"p{i}", "age": 30 + i, "sex": "FM"[i % 2], "inside": shown})
    pd.DataFrame(rows).to_csv(data / "cohort.csv", index=False)
    return data / "cohort.csv"
