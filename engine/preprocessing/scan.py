"""One scan from its file to the working grid, with quality figures and a picture."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from engine.config.preprocessing_schema import PreprocessingConfig
from engine.images.grid import Grid, coarsen, resample_to_grid
from engine.images.template import brain_mask, template_brain
from engine.preprocessing import native_space, pictures, steps
from store.files.atomic import replacing

TURNED_BETTER = 0.1  # how much better the correlation is the other way round, where the orientation is wrong
WAYS = {"back to front": (1,), "upside down": (2,), "upside down and back to front": (1, 2)}
SMALLEST_COVER = 0.6  # share of the brain mask that an already registered scan must fill


@dataclass(frozen=True)
class PreparedScan:
    """What came of one scan.

    Attributes:
        volume: float32 on the working grid, 0 outside the brain mask; None if the scan is left out.
        quality: template_correlation, mask_dice, brain_ml (NaN without brain extraction), intensity_low,
            intensity_high, seconds.
        reason: why the scan is left out; empty if it is not.
    """

    volume: np.ndarray | None
    quality: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class ScanPreparer:
    """Prepares scans; picklable, called in worker processes.

    Attributes:
        settings: the preprocessing section of the configuration.
        grid_mm: of the working grid.
        accepted: scans that a person accepted: they may cover less of the brain.
    """

    settings: PreprocessingConfig
    grid_mm: int
    accepted: frozenset[str] = frozenset()

    def __call__(self, row: dict[str, Any], folder: Path) -> PreparedScan:
        """Prepare a scan; write overlays/<scan>.png and transforms/<scan>/ in `folder`.

        Args:
            row: of the scans table; scan and path are read.
            folder: of the prepared cohort.

        Raises:
            ValueError: no brain is found, or the image has no signal in it.
            RunError: a package is missing.
        """
        started = time.perf_counter()
        transforms = folder / native_space.TRANSFORMS / row["scan"]
        shutil.rmtree(transforms, ignore_errors=True)  # they may be those of another input
        image = steps.load_upright(Path(row["path"]))
        mask, brain = self._own_brain(image)
        brain_ml = float(mask.sum() * np.prod(voxel_sizes(image.affine)) / 1000)
        extracted = self.settings.brain_extraction != "none"
        if self.settings.registration == "none":
            registered = _by_affine(brain, mask, image.affine, self.grid_mm)
        else:
            registered = self._register(brain, mask, image.affine, row["scan"], folder / "parts", transforms)
        prepared = self._finish(registered, row["scan"], folder)
        if self.settings.keep_transforms and prepared.volume is not None:
            native_space.keep(Path(row["path"]), transforms, self.settings.registration)
        prepared.quality["brain_ml"] = brain_ml if extracted else float("nan")
        prepared.quality["seconds"] = round(time.perf_counter() - started, 2)
        return prepared

    def describe(self) -> dict[str, Any]:
        """Return the settings as plain values, to be stored with the volumes."""
        return {**self.settings.model_dump(mode="json", exclude={"quality"}), "grid_mm": self.grid_mm}

    def _own_brain(self, image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray]:
        """Return the brain mask in the scan's space and bias-corrected intensities inside it."""
        data = np.asarray(image.dataobj)
        mask = steps.extract_brain(image) if self.settings.brain_extraction != "none" else data > 0
        if self.settings.n4 and mask.any():
            # Inside the brain: skull and neck have their own, larger, differences in intensity.
            data = steps.correct_bias(data, image.affine, mask)
        if self.settings.brain_extraction != "none":
            data = data * mask
        return mask, data

    def _register(
        self, brain: np.ndarray, mask: np.ndarray, affine: np.ndarray, scan: str, parts: Path, transforms: Path
    ) -> _Registered:
        """Register the scan to the template; keep the transforms if the settings say so."""
        mm = sampling_mm(self.grid_mm)
        # In the cohort's folder, which has room for the results, not in a small /tmp.
        parts.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{scan}-", dir=parts) as scratch:
            registration = steps.register(
                brain, affine, self.settings.registration, self.settings.registration_mm, f"{scratch}/"
            )
            volume = steps.sample(brain, affine, registration, mm)
            own_mask = steps.sample(mask, affine, registration, mm) > 0.5
            if self.settings.keep_transforms:
                _keep(registration, transforms)
        return _Registered(volume, own_mask, mm, coarsen(volume, mm, self.grid_mm))

    def _finish(self, registered: _Registered, scan: str, folder: Path) -> PreparedScan:
        """Draw the picture, apply the template's mask, scale and measure; give a reason to what lies elsewhere."""
        mask = brain_mask(self.grid_mm)
        cover = float((registered.own_mask & brain_mask(registered.mm)).sum() / brain_mask(registered.mm).sum())
        _draw(registered, scan, folder)
        volume = np.where(mask, registered.final, 0).astype(np.float32)
        if self.settings.intensity == "white_matter":
            volume = steps.scale_to_white_matter(volume, mask)
        quality = quality_metrics(volume, registered.own_mask, self.grid_mm, registered.mm)
        if scan not in self.accepted and self.settings.registration == "none" and cover < SMALLEST_COVER:
            reason = (
                f"covers {cover:.0%} of the template's brain: it is not in MNI space or not a whole brain; "
                "register it with preprocessing.registration syn_quick"
            )
            return PreparedScan(None, quality, reason)
        if scan not in self.accepted and (reason := find_wrong_turn(registered.final, self.grid_mm)):
            return PreparedScan(None, quality, reason)
        return PreparedScan(volume, quality)


@dataclass(frozen=True)
class _Registered:
    """A scan in the template's space: intensities and own brain mask on Grid(mm), intensities on the working grid."""

    volume: np.ndarray
    own_mask: np.ndarray
    mm: int
    final: np.ndarray


def sampling_mm(grid_mm: int) -> int:
    """Return the grid on which transforms are applied: 2 mm if the working grid is a multiple of it, else 1 mm."""
    return 2 if grid_mm % 2 == 0 else 1


def quality_metrics(volume: np.ndarray, own_mask: np.ndarray, grid_mm: int, mm: int) -> dict[str, float]:
    """Measure quality figures of `volume` on Grid(grid_mm), with the scan's own brain mask on Grid(mm)."""
    mask, full = brain_mask(grid_mm), brain_mask(mm)
    inside = volume[mask].astype(np.float64)
    template = template_brain(grid_mm)[mask]
    low, high = np.percentile(inside, [2, 98])
    return {
        "template_correlation": float(np.corrcoef(inside, template)[0, 1]) if inside.std() > 0 else float("nan"),
        "mask_dice": float(2 * (own_mask & full).sum() / (own_mask.sum() + full.sum())),
        "intensity_low": float(low),
        "intensity_high": float(high),
    }


def find_wrong_turn(volume: np.ndarray, grid_mm: int) -> str:
    """Say that a brain matches the template better upside down or back to front; empty if it does not.

    What is mirrored from left to right is not found: brains are too alike on both sides.

    Args:
        volume: (x, y, z) on Grid(grid_mm), not masked by the template's brain.
    """
    mask, template = brain_mask(grid_mm), template_brain(grid_mm)
    if not np.isfinite(volume).all() or not (volume > 0).any():
        return ""

    def likeness(brain: np.ndarray) -> float:
        inside = brain[mask]
        return float(np.corrcoef(inside, template[mask])[0, 1]) if inside.std() > 0 else 0.0

    def centred(brain: np.ndarray) -> np.ndarray:
        away = np.subtract(*(ndimage.center_of_mass(np.maximum(one, 0)) for one in (template, brain)))
        return np.roll(brain, np.rint(away).astype(int), axis=(0, 1, 2))

    as_it_is = likeness(volume)
    likenesses = {way: likeness(centred(np.flip(volume, axes))) for way, axes in WAYS.items()}
    way = max(likenesses, key=likenesses.__getitem__)
    if likenesses[way] <= as_it_is + TURNED_BETTER:
        return ""
    return (
        f"lies {way}: turned round it matches the template with r {likenesses[way]:.2f} instead of {as_it_is:.2f}; "
        "mend the orientation in its header, or write accept into decisions.csv"
    )


def _by_affine(brain: np.ndarray, mask: np.ndarray, affine: np.ndarray, grid_mm: int) -> _Registered:
    image = nib.Nifti1Image(brain.astype(np.float32), affine)
    own_mask = resample_to_grid(nib.Nifti1Image(mask.astype(np.float32), affine), Grid(grid_mm)) > 0.5
    volume = resample_to_grid(image, Grid(grid_mm))
    return _Registered(volume, own_mask, grid_mm, volume)


def _keep(registration: steps.Registration, folder: Path) -> None:
    """Move the files that take a heatmap back to the scan; the forward deformation is not needed for that."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(registration.affine, folder / steps.AFFINE_FILE)
    if registration.inverse_warp:
        shutil.move(registration.inverse_warp, folder / steps.INVERSE_FILE)


def _draw(registered: _Registered, scan: str, folder: Path) -> None:
    with replacing(folder / "overlays" / f"{scan}.png") as temporary:
        pictures.overlay(registered.volume, registered.mm, scan).save(temporary, format="PNG")
