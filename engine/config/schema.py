"""Every number a run depends on, with its unit; presets, overrides and their checks."""

from __future__ import annotations

import difflib
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.config.model_card import Imported
from engine.config.yaml_text import load_yaml, read_yaml
from engine.errors import UserError

DEFAULT_PRESET = "demo"
NETWORK_NAMES = ("rieke2018", "korolev2017_plain", "korolev2017_residual")
Method = Literal["sensitivity", "guided_backprop", "occlusion", "area_occlusion", "segment_occlusion"]
METHOD_NAMES = get_args(Method)
USUAL_METHODS = METHOD_NAMES[:4]  # the paper's
Reader = Literal["simulated", "table", "bids", "oasis", "adni"]
READERS = get_args(Reader)
Target = Literal["age", "mmse", "cdr", "cdr_sb", "icv"]
TARGETS = get_args(Target)
SHOWN = 200  # characters of a value that is not allowed
MNI_SPACE = "MNI152NLin2009cAsym"
USUAL_LABELS = {
    "AD": ["AD", "Dementia", "DAT", "Alzheimer's disease", "Alzheimers disease", "Alzheimer"],
    "NC": ["NC", "CN", "NL", "HC", "Control", "Healthy control", "Cognitively normal"],
}
USUAL_APPLY = ["MCI", "EMCI", "LMCI", "Converted"]
GRID_MM, BRAIN_END_MM = (193, 229, 193), (169, 206, 161)  # length of the grid and end of the brain along each axis
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


SIMULATION_VERSION = 2  # raised when the same settings give other brains


class Simulation(Section):
    """A cohort of template brains with imposed change (engine/simulation)."""

    positive: int = Field(100, ge=1, description="subjects with imposed change")
    negative: int = Field(100, ge=1, description="subjects without imposed change")
    positive_scans: int | None = Field(None, ge=1, description="scans in all; default one a subject")
    negative_scans: int | None = Field(None, ge=1, description="scans in all; default one a subject")
    apply_mci: int = Field(0, ge=0, description="further subjects with half the change, explained but not trained on")
    effect: float = Field(1.0, ge=0, description="multiplies the published volume changes; 0 is a null cohort")
    severity_sd: float = Field(0.5, ge=0, description="spread of the severity between positive subjects, mean 1")
    age_mean: float = Field(75.0, description="years, both groups alike")
    age_sd: float = Field(6.0, ge=0, description="years")
    ageing: float = Field(1.0, ge=0, description="multiplies the age-related change that both groups share")
    anatomy_mm: float = Field(1.0, ge=0, description="of the smooth individual deformation, root mean square of all")
    scaling_sd: float = Field(0.02, ge=0, description="of the global size")
    contrast_sd: float = Field(0.04, ge=0, description="of the intensity scale and gamma")
    bias_sd: float = Field(0.04, ge=0, description="of the smooth multiplicative bias field, all scans together")
    noise_sd: float = Field(0.03, ge=0, description="per voxel, relative to white matter, all scans together")
    solve_mm: Literal[2, 4] = Field(2, description="grid on which the deformations are solved")


class Join(Section):
    """A second table whose columns are added."""

    table: str
    key: str = Field(description="its column that equals the `matches` column of the first table")
    matches: str = "id"
    columns: dict[str, str] = Field(description="our name -> its column")


class BidsOptions(Section):
    """Which images of a BIDS dataset are the scans."""

    space: str | None = Field(
        None, description="derivatives in this space, e.g. MNI152NLin2009cAsym; default: raw images of the scanner"
    )
    derivatives: str | None = Field(
        None, description="folder with the derivatives, relative to data; default: data and all of data/derivatives"
    )


class OasisOptions(Section):
    """Which images and labels of OASIS are used."""

    image: Literal["auto", "atlas", "subject", "raw", "masked", "other"] = Field(
        "auto", description="T88_111 (atlas), SUBJ_111 (subject), first of RAW, masked T88_111, NIfTI named by session "
        "(other); auto: the first of these that most sessions have"
    )  # fmt: skip
    label: Literal["auto", "cdr", "group"] = Field(
        "auto", description="AD is CDR > 0 of the session, or the column Group (auto, where there is one)"
    )


class AdniOptions(Section):
    """Which scans of ADNI are used."""

    descriptions: list[str] = Field(
        [
            "MPR; GradWarp; B1 Correction; N3; Scaled", "MPR-R; GradWarp; B1 Correction; N3; Scaled",
            "MPR; GradWarp; B1 Correction; N3; Scaled_2", "MPR-R; GradWarp; B1 Correction; N3; Scaled_2",
            "MPR; *N3; Scaled", "MPR-R; *N3; Scaled", "MPR; *N3; Scaled_2", "MPR-R; *N3; Scaled_2",
            "MPR; *N3", "MPR-R; *N3", "MT1; *N3m", "*MPRAGE*", "*MP-RAGE*", "*SPGR*",
        ],
        min_length=1,
        description="of the scans of a visit, the first that matches is used (* for any text); others never are",
    )  # fmt: skip
    adnimerge: str | None = Field(
        None, description="CSV with the diagnosis of each visit, relative to data; default: found by its columns"
    )
    days: int = Field(92, ge=0, description="a scan belongs to the nearest visit of ADNIMERGE that is not further away")
    failed: list[str] | str = Field(
        default_factory=list, description="scans whose preprocessing failed, as PTID/Visit or image, or a file of such"
    )


class CohortConfig(Section):
    """Where scans come from and which groups they form."""

    reader: Reader = "simulated"
    name: str | None = Field(None, description="what to call the data; default: the folder's name")
    data: Path | None = Field(None, description="folder of the scans; --data")
    table: str | None = Field(None, description="CSV or TSV, relative to data")
    path: str | None = Field(
        None, description="pattern of a scan's file, relative to data, with table columns in braces; default: {path}"
    )
    columns: dict[str, str] = Field(default_factory=dict, description="our column -> the table's column")
    join: Join | None = None
    diagnosis: dict[str, list[str]] | None = Field(
        None, description="group -> labels; the first group is the positive one"
    )
    groups: dict[str, str] | None = Field(
        None, description="group -> expression such as age >= 60; the first is positive"
    )
    apply: list[str] = Field(default_factory=list, description="labels that are explained and never trained on")
    where: str | None = Field(None, description="expression that every scan must fulfil, e.g. age >= 60")
    target: str | None = Field(None, description="set by the target of the run; the rules above then name, not choose")
    bids: BidsOptions = BidsOptions()
    oasis: OasisOptions = OasisOptions()
    adni: AdniOptions = AdniOptions()
    simulation: Simulation = Simulation()

    @model_validator(mode="before")
    @classmethod
    def _known_labels(cls, values: Any) -> Any:
        """Datasets of a known kind have their usual labels, unless the user gives rules."""
        if not isinstance(values, dict) or values.get("reader", "simulated") in ("simulated", "table"):
            return values
        if values.get("diagnosis") or values.get("groups"):
            return values
        return {**values, "diagnosis": USUAL_LABELS, "apply": values.get("apply", USUAL_APPLY)}

    @model_validator(mode="after")
    def _rules(self) -> CohortConfig:
        if self.reader not in ("simulated", "table"):
            for key in ("path", "join"):
                if getattr(self, key) is not None and (self.reader, key) != ("adni", "path"):
                    raise ValueError(f"{key} is for reader=table; reader={self.reader} finds the files by their names")
        rules = [given for given in (self.diagnosis, self.groups) if given is not None]
        if self.reader != "simulated" and (rules or self.target is None):
            if len(rules) != 1:
                raise ValueError("give either diagnosis (by label) or groups (by expression)")
            if len(rules[0]) != 2:
                raise ValueError("exactly two groups are needed, the positive one first")
        return self


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
        """Good scans match the template less where nothing deforms them; limits that are given stay."""
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


class SplitConfig(Section):
    """Folds and the fixed test set, by subject."""

    folds: int = Field(5, ge=2)
    rule: Literal["stratified", "rieke2018"] = "stratified"
    holdout_per_group: int | None = Field(
        None, ge=1, description="default: 30 if that is at most 20 % of the smaller group"
    )
    sd_ddof: Literal[0, 1] = Field(1, description="of the spread over folds")


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
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: autocast on CUDA")
    channels_last: bool = Field(False, description="memory layout; fused steps always have it")
    engine: Literal["auto", "plain"] = Field("auto", description="auto: fused steps on the CPU")
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


class StoreConfig(Section):
    scans: bool = Field(True, description="publish the preprocessed scans; they identify people")


class RunConfig(Section):
    """The effective configuration of a run; stored with it."""

    name: str = Field("demo", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$")
    seed: int = Field(0, ge=0)
    grid_mm: Literal[1, 2, 3, 4] = 4
    task: Literal["classification", "regression"] = "classification"
    target: Target | None = Field(None, description="column of the scans that a regression predicts")
    cohort: CohortConfig = CohortConfig()
    atlas: AtlasConfig = AtlasConfig()
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    split: SplitConfig = SplitConfig()
    training: TrainingConfig = TrainingConfig()
    explain: ExplainConfig = ExplainConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    store: StoreConfig = StoreConfig()
    imported: Imported | None = Field(None, description="a network that was trained elsewhere; import-model")

    @model_validator(mode="before")
    @classmethod
    def _target_of_the_cohort(cls, values: Any) -> Any:
        """Readers have to know the target: with one, scans of every label are used."""
        if not isinstance(values, dict) or values.get("target") is None:
            return values
        return {**values, "cohort": {**dict(values.get("cohort") or {}), "target": str(values["target"])}}

    @model_validator(mode="after")
    def _regression(self) -> RunConfig:
        if self.task == "regression" and self.target is None:
            raise ValueError(f"task=regression needs the target that is to be predicted: {', '.join(TARGETS)}")
        if self.task == "classification" and (self.target or self.cohort.target):
            raise ValueError("a target is for task=regression; set both, or neither")
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
        """How scans become what the networks see: voxelwise, scan, zscore, none or constant."""
        given = self.imported.card.normalisation if self.imported else self.training.normalisation
        return given if isinstance(given, str) else "constant"

    def stored(self) -> dict[str, Any]:
        """The configuration as plain JSON values, without where the data lie."""
        values = self.model_dump(mode="json")
        values["cohort"]["data"] = None
        if self.imported:  # nothing was split and trained
            del values["training"], values["split"]
        table = self.cohort.table
        values["cohort"]["table"] = Path(table).name if table and Path(table).is_absolute() else table
        for key in ("path", "labels"):
            given = getattr(self.atlas, key)
            values["atlas"][key] = given.name if given else None
        return values

    def fingerprint(self, *sections: str) -> str:
        """SHA-256 of the named sections (default: all but the name)."""
        values = self.stored()
        values.pop("name")
        chosen = {key: values[key] for key in sections} if sections else values
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def preset_names() -> list[str]:
    """Names of the presets that ship with the project."""
    folder = resources.files("engine.config") / "presets"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(
    file: Path | None = None, preset: str | None = None, overrides: dict[str, Any] | None = None
) -> RunConfig:
    """The effective configuration: preset, then the file's keys, then `overrides` (dotted key -> value).

    A file may name the preset it starts from with a top-level key `preset`.

    Raises:
        UserError: an unreadable file, an unknown preset or key, a wrong type or an impossible value.
    """
    given = _read_yaml(file) if file else {}
    named = given.pop("preset", None)
    values = _merge(_preset(preset or (DEFAULT_PRESET if named is None else str(named))), given)
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(error)) from None
    _check_cubes(config)
    return config


def _check_cubes(config: RunConfig) -> None:
    """Raise UserError where the cubes of occlusion leave voxels of the brain out, which would seem irrelevant."""
    asked = {method for model_set in config.training.models for method in getattr(config.explain, model_set)}
    if "occlusion" not in asked:
        return
    occlusion, mm = config.explain.occlusion, config.grid_mm
    half, stride = (max(1, int(length / mm + 0.5)) for length in (occlusion.half_width_mm, occlusion.stride_mm))
    said = f"explain.occlusion.stride_mm={occlusion.stride_mm:g} with half_width_mm={occlusion.half_width_mm:g}"
    if stride > 2 * half:
        raise UserError(
            f"{said}: the cubes do not touch, voxels between them would never be occluded; stride_mm is at most twice "
            f"half_width_mm, here {2 * half * mm}"
        )
    for length, end in zip(GRID_MM, BRAIN_END_MM, strict=True):
        last = -(-length // mm) - 1
        if last // stride * stride + half < -(-end // mm):
            raise UserError(f"{said}: the last cubes do not reach the end of the brain; choose a smaller stride_mm")


def restored_config(stored: dict[str, Any], overrides: dict[str, Any], run: str) -> RunConfig:
    """The configuration that a run keeps, with `overrides` (dotted key -> value) over it.

    Raises:
        UserError: an override with an unknown key or an impossible value, or a run of a later version.
    """
    values = json.loads(json.dumps(stored))
    try:
        RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"run {run}: its settings are not those of this version ({_one_line(error)})") from None
    for key, value in overrides.items():
        _set(values, key, value)
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(_one_line(error)) from None
    if any(key.startswith("explain") for key in overrides):  # a run keeps what it was made with
        _check_cubes(config)
    return config


def parse_override(text: str) -> tuple[str, Any]:
    """("training.epochs", 5) from "training.epochs=5"; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: write it as key=value, e.g. --set training.epochs=5")
    try:
        return key.strip(), load_yaml(value)
    except yaml.YAMLError:
        mend = f"text with braces or colons needs quotes: {key}='...'"
        raise UserError(f"--set {text}: the value is not valid YAML; {mend}") from None


def _preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise UserError(f"--preset {name}: unknown; known are {', '.join(preset_names())}")
    return yaml.safe_load((resources.files("engine.config") / "presets" / f"{name}.yaml").read_text(encoding="utf-8"))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        values = read_yaml(file)
    except FileNotFoundError:
        raise UserError(f"{file}: no such configuration file; presets are chosen with --preset NAME") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else f": {' '.join(str(error).split())}"
        raise UserError(f"{file}: not valid YAML{where}") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{file}: a configuration is a mapping of keys to values")
    return values or {}


# Mappings whose keys are the user's own: a later one replaces an earlier one instead of being mixed with it.
_WHOLE = {"diagnosis", "groups", "columns", "join"}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key not in _WHOLE
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"] if not _is_union_branch(part)) or "configuration"
    more = "" if error.error_count() == 1 else f" (and {error.error_count() - 1} more)"
    if first["type"] == "extra_forbidden":
        known = _keys_beside(first["loc"])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(known)}"
        return f"{key}: unknown key; {hint}{more}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{key}: {message}{more}"
    return f"{key}: {_shown(first['input'])} is not allowed; {message[0].lower()}{message[1:]}{more}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _is_union_branch(part: Any) -> bool:
    return isinstance(part, str) and (part.startswith(("literal[", "function-")) or part in {"float", "int", "str"})


def _keys_beside(location: tuple) -> list[str]:
    section: Any = RunConfig
    for part in location[:-1]:
        field = section.model_fields.get(part) if isinstance(section, type) and issubclass(section, BaseModel) else None
        annotation = field.annotation if field else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        section = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(section.model_fields) if section else []
