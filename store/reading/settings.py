"""How a run averages, ranks and measures its heatmaps: its own settings, for exports and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.errors import NotInRunError
from store.keys import explains

if TYPE_CHECKING:
    from store.reading.reader import RunReader

_TARGET_WORDS = {"true": "the true group", "predicted": "the predicted group"}
_WEIGHT_WORDS = {"subject": "every subject weighs the same", "scan": "every scan weighs the same"}
_VOLUME_WORDS = {"mask": "inside the brain mask", "whole": "over the whole volume"}
_SCALE_WORDS = {
    "relative": "each divided by its sum", "margin": "of the margin", "probability": "of the probability",
}  # fmt: skip


@dataclass(frozen=True)
class AnalysisSettings:
    """Settings of the group analysis of a run (`analysis.*` of its configuration).

    Attributes:
        target: whose evidence is explained: a group, "true" or "predicted".
        gradient_scale, occlusion_scale: in which scale heatmaps enter averages.
        weights: who weighs the same in averages: subject or scan.
        distance_volume: where distances are measured: mask or whole.
    """

    target: str
    gradient_scale: str = "relative"
    occlusion_scale: str = "margin"
    weights: str = "subject"
    distance_volume: str = "mask"

    @classmethod
    def of(cls, run: RunReader) -> AnalysisSettings:
        """Read the settings from the manifest; what it lacks is as in runs without these options."""
        config = run.manifest.get("config")
        analysis = config.get("analysis") if isinstance(config, dict) else None
        given = analysis if isinstance(analysis, dict) else {}
        groups = dict(zip(("positive", "negative"), run.groups, strict=True))
        target = str(given.get("target", "positive"))
        rest = {name: str(given[name]) for name in list(cls.__dataclass_fields__)[1:] if name in given}
        return cls(groups.get(target, target), **rest)

    def evidence(self) -> str:
        """Say whose evidence is explained: "evidence for AD", "evidence for the predicted group"."""
        return evidence(self.target)

    def weighing(self) -> str:
        """Say who weighs the same in averages."""
        return _WEIGHT_WORDS.get(self.weights, self.weights)

    def measured(self) -> str:
        """Say where distances are measured."""
        return _VOLUME_WORDS.get(self.distance_volume, self.distance_volume)


def evidence(target: str) -> str:
    """Say whose evidence is explained."""
    return f"evidence for {_TARGET_WORDS.get(target, target)}"


def scale_words(scale: str) -> str:
    """Say in which scale heatmaps enter an average: "each divided by its sum"."""
    return _SCALE_WORDS.get(scale, scale)


def average_scale(run: RunReader, model_set: str, method: str) -> str:
    """Return the scale in which a run averages the heatmaps of a method, as its settings say.

    Raises:
        NotInRunError: the run has no group maps of the method, or none in the scale of its settings.
    """
    cells = run.table("cells", ["scale"], model_set=model_set, method=method)
    stored = sorted(set(cells["scale"]))
    if not stored:
        raise NotInRunError(f"run {run.run_id} has no group maps of {method} for model set {model_set}")
    settings = AnalysisSettings.of(run)
    wanted = settings.gradient_scale if run.is_gradient(method) else settings.occlusion_scale
    if wanted not in stored:
        raise NotInRunError(
            f"run {run.run_id} has no group maps of {method} in the scale {wanted} of its settings, only in "
            f"{', '.join(stored)}"
        )
    return wanted


def average_unit(run: RunReader, method: str, scale: str) -> str:
    """Return the unit of a group map on the working grid, as a header of 80 letters can hold it."""
    if scale == "relative":
        return "share of relevance per voxel" if explains(method) else "share per voxel, no explanation"
    if not explains(method):
        return "own units, no explanation"
    kind = "d" if run.is_gradient(method) else "drop of"
    if run.task == "regression":
        return f"{kind} prediction, in SD"
    return f"{kind} {scale}"


def as_dict(settings: AnalysisSettings) -> dict[str, Any]:
    """Return the settings as name -> value, for tables."""
    return {name: getattr(settings, name) for name in AnalysisSettings.__dataclass_fields__}
