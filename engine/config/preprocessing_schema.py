"""Settings of the preprocessing: from a scanner's file to the working grid, and which scans are good enough."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from engine.config.section import Section

Bounds = tuple[float | None, float | None]


class QualityLimits(Section):
    """(lowest, highest) of each quality figure; null where there is no bound."""

    template_correlation: Bounds = Field((None, None), description="Pearson r with the template in the brain mask")
    mask_dice: Bounds = Field((None, None), description="overlap of the scan's own brain with the template's")
    brain_ml: Bounds = Field((None, None), description="brain volume in the scan's own space")
    intensity_low: Bounds = Field((None, None), description="2nd percentile in the mask; of white matter's, if scaled")
    intensity_high: Bounds = Field((None, None), description="98th percentile in the mask")

    @model_validator(mode="after")
    def _rules(self) -> QualityLimits:
        for figure, (low, high) in self:
            if low is not None and high is not None and low > high:
                raise ValueError(f"{figure}: the lower bound {low:g} is above the upper bound {high:g}")
        return self


class FlagLimits(QualityLimits):
    template_correlation: Bounds = Field((0.75, None), description="default: 0.75 after syn_quick, else 0.6")
    mask_dice: Bounds = (0.9, None)
    brain_ml: Bounds = (1000, 2000)
    intensity_low: Bounds = (None, 0.6)
    intensity_high: Bounds = (1.0, 1.3)


class ExclusionLimits(QualityLimits):
    template_correlation: Bounds = Field((0.2, None), description="default: 0.2 after syn_quick, else 0.35")
    brain_ml: Bounds = (600, 2600)


class QualityConfig(Section):
    """Scans beyond the first limits are flagged and used, beyond the second left out; decisions.csv wins."""

    flag: FlagLimits = FlagLimits()
    exclude: ExclusionLimits = ExclusionLimits()


# Least correlations with the template where nothing deforms brains to be alike. Of 28 healthy heads of all ages (IXI)
# registered by `affine` the least is 0.645, the median 0.72; moved by 8 mm or turned by 10 degrees they are below 0.58,
# by 20 mm or 30 degrees below 0.35. After `syn_quick` they have 0.835 or more.
_LOOSE = {"flag": (0.6, None), "exclude": (0.35, None)}


class PreprocessingConfig(Section):
    """From a scanner's file to the working grid."""

    registration: Literal["syn_quick", "affine", "none"] = "syn_quick"
    registration_mm: Literal[1, 2] = Field(2, description="resolution at which the registration is estimated")
    brain_extraction: Literal["deepbet", "none"] = "deepbet"
    n4: bool = True
    intensity: Literal["white_matter", "none"] = Field(
        "white_matter", description="divide by the 90th percentile in the mask"
    )
    processes: int = Field(2, ge=1)
    keep_transforms: bool = True
    quality: QualityConfig = QualityConfig()

    @model_validator(mode="before")
    @classmethod
    def _limits_of_the_registration(cls, values: Any) -> Any:
        """Loosen the limits where nothing deforms scans to match the template; limits that are given stay."""
        if not isinstance(values, dict) or values.get("registration", "syn_quick") == "syn_quick":
            return values
        quality = values.get("quality") or {}
        if not isinstance(quality, dict):
            return values
        loose = dict(quality)
        for kind, pair in _LOOSE.items():
            if isinstance(loose.get(kind) or {}, dict):
                loose[kind] = {"template_correlation": pair} | (loose.get(kind) or {})
        return {**values, "quality": loose}


class HarmonisationConfig(Section):
    """Effects of sites, taken out by what the training scans of each network show."""

    region_means: Literal["none", "combat"] = Field(
        "none", description="of the linear baseline; combat: shift and scale of each site, shrunk over the regions"
    )
    intensity: Literal["none", "combat"] = Field(
        "none", description="that networks see; combat: shift and scale of each site, shrunk over the sites"
    )
