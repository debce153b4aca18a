"""Settings of the cohort: which reader finds the scans, and which groups they form."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from engine.config.section import Section

Reader = Literal["simulated", "table", "bids", "oasis", "adni"]
READERS = get_args(Reader)
USUAL_LABELS = {
    "AD": ["AD", "Dementia", "DAT", "Alzheimer's disease", "Alzheimers disease", "Alzheimer"],
    "NC": ["NC", "CN", "NL", "HC", "Control", "Healthy control", "Cognitively normal"],
}
USUAL_APPLY = ["MCI", "EMCI", "LMCI", "Converted"]
ScenarioName = Literal[
    "typical_ad", "left_hippocampus", "temporal_pole_right", "diffuse_cortex", "ventricles_only", "subtypes",
    "two_regions", "blobs", "confound", "suppressor", "null",
]  # fmt: skip
SIMULATION_VERSION = 2  # raised when the same settings give other brains


class Heads(Section):
    """Real people's heads, each with its own segmentation, that take the place of the template."""

    data: Path | None = Field(None, description="their table, or a folder with one table in it")
    path: str = Field("{path}", description="pattern of a head's T1, relative to the table, with its columns in braces")
    segmentation: str = Field("{segmentation}", description="the same of its segmentation")
    labels: str = Field("labels.csv", description="table of the segmentation's labels, columns name and index")
    columns: dict[str, str] = Field(default_factory=dict, description="our column -> the table's column")
    regions: dict[str, list[str]] = Field(
        default_factory=dict, description="region of a scenario -> names of labels; default: by name, or those of MUSE"
    )
    brain: Literal["extraction", "segmentation"] = Field(
        "extraction", description="what tells brain from skull: preprocessing.brain_extraction, or any label"
    )
    registration: Literal["affine", "none"] = Field("affine", description="none: they lie in MNI space already")
    note: str = Field("", description="where they come from and under which licence; it goes into the run's notices")

    @model_serializer(mode="wrap")
    def _without_place(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out where the heads lie: what they are decides a cohort's identity, by the hash of each."""
        return {**serialise(self), "data": None}


class Simulation(Section):
    """A cohort of template brains, or of people's heads, with imposed change (engine/simulation)."""

    positive: int = Field(100, ge=1, description="subjects with imposed change")
    negative: int = Field(100, ge=1, description="subjects without imposed change")
    positive_scans: int | None = Field(None, ge=1, description="scans in all; default one a subject")
    negative_scans: int | None = Field(None, ge=1, description="scans in all; default one a subject")
    apply_mci: int = Field(0, ge=0, description="further subjects with half the change, explained but not trained on")
    scenario: ScenarioName = Field(
        "typical_ad", description="what is imposed on patients (docs/simulation.md, Scenarios)"
    )
    effect: float = Field(1.0, ge=0, description="multiplies the scenario's volume changes; 0 is a null cohort")
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
    heads: Heads | None = Field(None, description="real heads instead of the template (docs/simulation.md, Real heads)")

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what came later where it is the default: cohorts of before keep their identity."""
        values = serialise(self)
        for name in ("scenario", "heads"):
            if getattr(self, name) == type(self).model_fields[name].default:
                del values[name]
        return values


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
        """Give datasets of a known kind their usual labels, unless the user gives rules."""
        if not isinstance(values, dict) or values.get("reader", "simulated") in ("simulated", "table"):
            return values
        if values.get("diagnosis") or values.get("groups"):
            return values
        return {**values, "diagnosis": USUAL_LABELS, "apply": values.get("apply", USUAL_APPLY)}

    @property
    def group_names(self) -> tuple[str, str]:
        """Return the names of the two groups that the rules make, the positive one first."""
        positive, negative = self.diagnosis or self.groups or {}
        return positive, negative

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


class PhenotypeConfig(Section):
    """What a regression with target=phenotype predicts, and where that lies."""

    name: str = Field(min_length=1, max_length=60, description="of the structure, for people")
    regions: list[str] = Field(min_length=1, description="of the atlas: the truth of the heatmaps")
