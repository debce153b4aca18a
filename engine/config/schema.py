"""Every number a run depends on, with its unit.

The sections `cohort`, `preprocessing` and `cluster` are in modules of their own; loading.py reads presets, files and
overrides.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from engine.config.cluster_schema import ClusterConfig
from engine.config.cohort_schema import CohortConfig, PhenotypeConfig
from engine.config.model_card import Imported
from engine.config.preprocessing_schema import HarmonisationConfig, PreprocessingConfig
from engine.config.section import Section

NETWORK_NAMES = ("rieke2018", "korolev2017_plain", "korolev2017_residual")
Method = Literal[
    "sensitivity", "guided_backprop", "occlusion", "area_occlusion", "segment_occlusion", "input_x_gradient",
    "integrated_gradients", "smoothgrad", "deeplift", "lrp", "grad_cam", "guided_grad_cam", "sobel", "intensity",
    "smooth_random", "t_map", "linear_weights", "linear_pattern",
]  # fmt: skip
METHOD_NAMES = get_args(Method)
USUAL_METHODS = METHOD_NAMES[:4]  # the paper's
LATER_METHODS = ("integrated_gradients", "smoothgrad", "deeplift", "lrp")  # with settings, since 0.2.0
Target = Literal["age", "mmse", "cdr", "cdr_sb", "icv", "phenotype"]
TARGETS = get_args(Target)
TrustMeasure = Literal["randomisation", "stability", "faithfulness", "anatomy"]
TRUST_MEASURES = get_args(TrustMeasure)
MNI_SPACE = "MNI152NLin2009cAsym"


class AtlasConfig(Section):
    """Regions. AAL2 ships with a dependency; any NIfTI with a label table can be given."""

    path: Path | None = Field(None, description="NIfTI of integer labels; default: AAL2")
    labels: Path | None = Field(
        None,
        description="CSV with columns name and index (voxel value), optional code and lobe (temporal, cortical, other)",
    )
    placement: Literal["affine", "stretched"] = Field(
        "affine", description="stretched: from the box of Colin27, 181x217x181, to the grid's size, as in the paper"
    )


class SplitConfig(Section):
    """Folds and the fixed test set, by subject."""

    by: Literal["subject", "site"] = Field(
        "subject", description="site: folds hold whole sites, so that networks are tested where they never trained"
    )
    folds: int = Field(5, ge=2, description="by site: at most so many; with fewer sites each is a fold of its own")
    rule: Literal["stratified", "rieke2018"] = "stratified"
    holdout_per_group: int | None = Field(
        None, ge=1, description="default: 30 if that is at most 20 % of the smaller group"
    )
    sd_ddof: Literal[0, 1] = Field(1, description="of the spread over folds")

    @model_validator(mode="after")
    def _rules(self) -> SplitConfig:
        if self.by == "site" and self.rule == "rieke2018":
            raise ValueError("by=site has no counterpart in the original study; leave rule out")
        return self

    def dealt(self) -> str:
        """Return what decides who is in which fold, as text; that of runs before there was a choice of `by`."""
        return self.model_dump_json(exclude={"sd_ddof"} | ({"by"} if self.by == "subject" else set()))


class TrainingConfig(Section):
    """Which network, and how each of them is trained."""

    network: Literal["rieke2018", "korolev2017_plain", "korolev2017_residual"] = "rieke2018"
    epochs: int = Field(20, ge=1)
    batch_size: int = Field(5, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: the learning rate falls to 0")
    weight_decay: float = Field(0.0, ge=0)
    dropout: float = Field(0.8, ge=0, lt=1, description="default: as published, 0.8; 0.7 in korolev2017_*")
    normalisation: Literal["voxelwise", "scan"] = Field(
        "voxelwise", description="voxelwise: z-scores over the training scans; scan: each scan from 0 to 1 by itself"
    )
    augmentation: Literal["none", "left_right"] = Field(
        "none", description="left_right: training scans are flipped and shifted along x by chance"
    )
    shift_mm: float = Field(2.0, gt=0, description="largest shift of the augmentation, at least a voxel")
    validation_share: float = Field(
        0.0, ge=0, lt=1, description="of the training subjects of each group: watched, and not trained on"
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="epochs without a lower validation loss that end the training; the weights of the lowest are kept",
    )
    patience_from: int = Field(0, ge=0, description="epochs before patience counts")
    normalisation_scans: int | None = Field(
        None, ge=2, description="training scans drawn for mean and std; default all"
    )
    normalisation_epsilon: float = Field(0.0, ge=0, description="added to the standard deviation")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: of convolutions on CUDA")
    channels_last: bool = Field(False, description="memory layout; fused steps always have it")
    engine: Literal["auto", "plain", "fused"] = Field(
        "auto", description="auto: fused steps on the CPU, and on a GPU with kernels for them; plain: torch's modules"
    )
    processes: int | None = Field(
        None,
        ge=1,
        description="networks trained at once on the CPU; default: as many as there are cores and memory for",
    )
    resident: Literal["auto", "always", "never"] = Field("auto", description="keep the whole cohort in (GPU) memory")
    models: list[Literal["folds", "holdout"]] = Field(["folds", "holdout"], min_length=1)
    only_folds: list[int] | None = Field(None, description="train these folds alone, numbered from 1")

    @model_validator(mode="before")
    @classmethod
    def _dropout_of_the_network(cls, values: Any) -> Any:
        korolev = isinstance(values, dict) and values.get("network") in NETWORK_NAMES[1:]
        return {"dropout": 0.7} | values if korolev else values

    @model_validator(mode="after")
    def _rules(self) -> TrainingConfig:
        if self.patience is not None and not self.validation_share:
            raise ValueError("patience needs validation scans: set validation_share, for example to 0.15")
        if self.normalisation == "scan" and self.normalisation_scans is not None:
            raise ValueError("normalisation_scans has no meaning where normalisation is scan; leave one of them out")
        if self.network == "korolev2017_plain" and self.batch_size == 1:
            raise ValueError("batch_size must be at least 2 for korolev2017_plain: it has batch norm behind a layer of "
                             "single numbers")  # fmt: skip
        return self


Reference = Literal["mean", "nc_mean", "blurred", "other_subject"] | float


class OcclusionConfig(Section):
    half_width_mm: float = Field(20, gt=0)
    stride_mm: float = Field(12, gt=0)
    reference: Reference = Field(
        "mean", description="what replaces tissue: 0 (of z-scores the training mean), the negative group's mean, the "
        "scan blurred, a training scan of the negative group, or a number after normalisation"
    )  # fmt: skip


class AreaOcclusionConfig(Section):
    reference: Reference = "mean"


class SegmentOcclusionConfig(Section):
    levels: list[Annotated[int, Field(ge=2, le=5000)]] = Field(
        [8, 32, 128, 512], min_length=1, description="numbers of segments of the hierarchy, from coarse to fine"
    )
    compactness: float = Field(
        0.5, ge=0, description="what distance counts against intensity; the greater, the rounder the segments"
    )
    reference: Reference = "mean"

    @model_validator(mode="after")
    def _rules(self) -> SegmentOcclusionConfig:
        if self.levels != sorted(set(self.levels)):
            raise ValueError("levels must grow, each number of segments greater than the one before")
        return self


class IntegratedGradientsConfig(Section):
    steps: int = Field(32, ge=2, le=256, description="gradients on the way; doubled while the sum misses 1 %")
    reference: Reference = Field("mean", description="the baseline, as what replaces tissue in explain.occlusion")


class SmoothGradConfig(Section):
    copies: int = Field(25, ge=1, le=1000, description="noisy copies of a scan")
    noise: float = Field(0.5, gt=0, description="standard deviation of the noise, of the z-scored input")
    method: Literal["sensitivity", "guided_backprop", "input_x_gradient"] = "sensitivity"


class DeepLiftConfig(Section):
    reference: Reference = Field("mean", description="the baseline, as what replaces tissue in explain.occlusion")


class LrpConfig(Section):
    rule: Literal["z_plus", "alpha2_beta1"] = Field("z_plus", description="of the convolutions")


class ExplainConfig(Section):
    """Which heatmaps are computed."""

    holdout: list[Method] = Field(
        list(USUAL_METHODS), description="methods for the fixed test set, by the held-out model"
    )
    folds: list[Method] = Field(
        list(USUAL_METHODS), description="methods for every scan, by the model that never saw it"
    )
    occlusion: OcclusionConfig = OcclusionConfig()
    area_occlusion: AreaOcclusionConfig = AreaOcclusionConfig()
    segment_occlusion: SegmentOcclusionConfig = SegmentOcclusionConfig()
    integrated_gradients: IntegratedGradientsConfig = IntegratedGradientsConfig()
    smoothgrad: SmoothGradConfig = SmoothGradConfig()
    deeplift: DeepLiftConfig = DeepLiftConfig()
    lrp: LrpConfig = LrpConfig()
    engine: Literal["incremental", "dense"] = Field("incremental", description="how occlusions are computed")
    batch_size: int = Field(16, ge=1, description="volumes a forward pass; halved when memory runs out")


class AnalysisConfig(Section):
    """Averages, rankings, distances."""

    gradient_scale: Literal["relative", "margin", "probability"] = Field(
        "relative", description="how per-scan gradient maps enter averages; relative: divided by their sum of |h|"
    )
    occlusion_scale: Literal["margin", "probability"] = "margin"
    weights: Literal["subject", "scan"] = Field("subject", description="who weighs the same in averages")
    target: Literal["positive", "negative", "true", "predicted"] = "positive"
    distance_volume: Literal["mask", "whole"] = Field(
        "mask", description="whole: with relevance outside the brain, for which gradient maps are computed again"
    )
    bootstrap: int = Field(1000, ge=100, description="resamples over subjects")
    untrained_networks: int = Field(5, ge=0, description="references of the truth scores; simulated cohorts only")
    null_networks: int = Field(
        2, ge=0, description="the same, trained where nothing was imposed; each costs as much as the held-out network"
    )


class TrustConfig(Section):
    """What is computed of how far heatmaps can be trusted; of the fixed test set."""

    networks: int = Field(
        0, ge=0, le=20, description="trained again like the held-out one, from other seeds; stability needs four"
    )
    scans: int = Field(
        20, ge=0, description="test scans, half of each group, that costly measures take; at most all of them"
    )
    measures: list[TrustMeasure] = Field(list(TRUST_MEASURES), description="which of them")
    shuffled_networks: int = Field(1, ge=0, description="trained on labels that were dealt out anew; randomisation")


class StoreConfig(Section):
    scans: bool = Field(True, description="publish the preprocessed scans; they identify people")


class RunConfig(Section):
    """The effective configuration of a run; stored with it."""

    name: str = Field("demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")
    seed: int = Field(0, ge=0)
    grid_mm: Literal[1, 2, 3, 4] = 4
    task: Literal["classification", "regression"] = "classification"
    target: Target | None = Field(None, description="column of the scans that a regression predicts")
    phenotype: PhenotypeConfig | None = Field(None, description="with target=phenotype: its structure")
    cohort: CohortConfig = CohortConfig()
    atlas: AtlasConfig = AtlasConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    split: SplitConfig = SplitConfig()
    harmonisation: HarmonisationConfig = HarmonisationConfig()
    training: TrainingConfig = TrainingConfig()
    explain: ExplainConfig = ExplainConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    trust: TrustConfig = TrustConfig()
    store: StoreConfig = StoreConfig()
    cluster: ClusterConfig = Field(ClusterConfig(), description="where it is computed; not stored with the run")
    imported: Imported | None = Field(None, description="a network that was trained elsewhere; import-model")

    @model_validator(mode="before")
    @classmethod
    def _target_of_the_cohort(cls, values: Any) -> Any:
        """Tell the cohort the target, which its reader has to know: with one, scans of every label are used."""
        if not isinstance(values, dict) or values.get("target") is None:
            return values
        return {**values, "cohort": {**dict(values.get("cohort") or {}), "target": str(values["target"])}}

    @model_validator(mode="after")
    def _regression(self) -> RunConfig:
        if self.task == "regression" and self.target is None:
            raise ValueError(f"task=regression needs the target that is to be predicted: {', '.join(TARGETS)}")
        if self.task == "classification" and (self.target or self.cohort.target):
            raise ValueError("a target is for task=regression; set both, or neither")
        if (self.target == "phenotype") != (self.phenotype is not None):
            raise ValueError(
                "target=phenotype needs phenotype.name and phenotype.regions, and no other target has them; the "
                "phenotype itself is the column that cohort.columns.phenotype names"
            )
        if self.imported and self.harmonisation.intensity != "none":
            raise ValueError(
                "harmonisation.intensity is fitted when a network is trained; an imported one was trained without"
            )
        if self.cohort.target != self.target:
            raise ValueError("cohort.target follows from target; set target alone")
        if self.target and "probability" in (self.analysis.gradient_scale, self.analysis.occlusion_scale):
            raise ValueError(
                "a regression has no probability; set analysis.gradient_scale and occlusion_scale otherwise"
            )
        return self

    @model_validator(mode="after")
    def _explains(self) -> RunConfig:
        unregistered = self.cohort.reader == "bids" and self.cohort.bids.space != MNI_SPACE
        if unregistered and self.preprocessing.registration == "none":
            raise ValueError(
                f"preprocessing.registration=none takes scans that are in {MNI_SPACE}; read such derivatives with "
                f"cohort.bids.space={MNI_SPACE}, or register with syn_quick or affine"
            )
        if not any(getattr(self.explain, model_set) for model_set in self.training.models):
            raise ValueError(f"explain: no method is asked for the trained models ({', '.join(self.training.models)})")
        return self

    @property
    def normalisation(self) -> str:
        """Return how scans become what the networks see: voxelwise, scan, zscore, none or constant."""
        given = self.imported.card.normalisation if self.imported else self.training.normalisation
        return given if isinstance(given, str) else "constant"

    def stored(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values, without where the data lie and where it is computed."""
        values = self.model_dump(mode="json", exclude={"cluster"})
        values["cohort"]["data"] = None
        if self.split.by == "subject":  # runs of before there was a choice keep their identity
            del values["split"]["by"]
        if self.harmonisation == HarmonisationConfig():  # the same
            del values["harmonisation"]
        elif self.harmonisation.intensity == "none":  # runs of before there was a choice keep their identity
            del values["harmonisation"]["intensity"]
        if self.phenotype is None:  # runs of before there were phenotypes keep their identity
            del values["phenotype"]
        if self.imported:  # nothing was split and trained
            del values["training"], values["split"]
        for method in LATER_METHODS:  # runs of before they existed keep their identity
            if method not in (*self.explain.holdout, *self.explain.folds):
                del values["explain"][method]
        table = self.cohort.table
        values["cohort"]["table"] = Path(table).name if table and Path(table).is_absolute() else table
        for key in ("path", "labels"):
            given = getattr(self.atlas, key)
            values["atlas"][key] = given.name if given else None
        return values

    def fingerprint(self, *sections: str) -> str:
        """Return the SHA-256 of the named sections (default: all but the name)."""
        values = self.stored()
        values.pop("name")
        chosen = {key: values[key] for key in sections} if sections else values
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
