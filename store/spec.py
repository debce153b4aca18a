"""What a result store contains. This module is the specification.

A store is a folder (or an object-store prefix). Each run is one folder in it:

    <store>/<name>-<8 of fingerprint>/
      manifest.json       written last; a run without one does not exist for a reader
      arrays.zarr         Zarr v3, described by ARRAYS
      tables/*.parquet    described by TABLES
      models/             <model>.safetensors (weights, normalisation) + <model>.json
      figures/            quality pictures of the preprocessing (PNG)

Version 1.0  first layout.
Version 1.1  adds native/{scan}: where the points of a scan's own file lie in MNI space.
Version 1.2  adds columns: to models and training the network's name and what was set apart for validation, to scans
             screening_diagnosis, cdr_sb and clinical_label, to predictions value and observed. Adds the table flags;
             to the manifest reference_run, task and target.
Version 1.3  adds to metrics intervals and the number of folds, and the table baseline_predictions.
             The truth of simulated runs in two forms that are never mixed: truth/visible_change, truth/visible_binary
             and truth/scan_changes for voxelwise scores, the table truth_regions for scores by region. truth/binary and
             truth/difference are of earlier versions and no longer written. Adds columns to truth_scores: intervals,
             the reference of networks that were trained where nothing was imposed, ceilings.
             Adds without_relevance to cells and group_regions: maps that are 0 everywhere have no share.
Version 1.4  adds what the stage trust writes of the fixed test set: the tables of store/trust_tables.py, agreement/* of
             the networks that were trained again; completeness_error to heatmaps, and scores and rows of maps that
             explain nothing to truth_scores. Adds phenotypes: the column phenotype of scans, phenotype/*, and
             truth_scores of runs that predict one; truth_heads of simulated runs on real heads.
Version 1.5  adds runs that were derived for sharing (`python -m store derive`): to the manifest derived and
             group_level. A run with group_level holds nothing of single persons: its tables with a row a scan are
             empty, its cells are of all scans of a diagnosis (predicted: all), and group_counts and exclusion_counts
             say how many there are. Where group_level says shown, brains are simulated as a whole, and so many of their
             scans are shown one by one: these alone have rows and arrays. Adds columns to group_regions: intervals of
             share_of_average and gain, in such runs alone. Adds the level signed_group to truth_scores.
Version 1.6  adds the levels ensemble and signed_ensemble to truth_scores.

A minor version adds things a reader MAY ignore; a major version means: build the store again.
"""

from __future__ import annotations

from store.group_tables import GROUP_TABLES
from store.spec_types import BOOLEAN, FLOAT, INTEGER, STRING, ArraySpec, TableSpec
from store.trust_tables import TRUST_TABLES

SPEC_VERSION = "1.6"
MANIFEST = "manifest.json"
ARRAYS_FOLDER = "arrays.zarr"
TABLES_FOLDER = "tables"
MODELS_FOLDER = "models"
FIGURES_FOLDER = "figures"
WORK_FOLDER = ".work"
CACHE_FOLDER = ".cache"

SPACE = ("x", "y", "z")  # RAS+; the affine (voxel -> mm, MNI152NLin2009cAsym) is an attribute of the array
POSITIONS = ("px", "py", "pz")  # cube centres of an occlusion, at voxel stride * index
FIELD_POINTS = ("nx", "ny", "nz")  # of a field in the space of a scan's own file
NATIVE_GRIDS = ("voxels", "positions", "regions")
SCALES = ("margin", "probability")
CELL_SCALES = ("margin", "probability", "relative")
CELL_QUANTITIES = ("sum", "sum_abs", "sum_sq")
MODEL_SETS = ("folds", "holdout")


VOLUME_ATTRIBUTES = ("affine", "unit")

TEMPLATE = ArraySpec("template", SPACE, "uint8", "template brain at 1 mm, for display", VOLUME_ATTRIBUTES)
MASK = ArraySpec("mask", SPACE, "uint8", "template brain mask at 1 mm", VOLUME_ATTRIBUTES)
ATLAS = ArraySpec("atlas", SPACE, "int16", "region index at 1 mm, 0 outside the brain mask", VOLUME_ATTRIBUTES)
GRID_TEMPLATE = ArraySpec("grid/template", SPACE, "uint8", "template brain on the working grid", VOLUME_ATTRIBUTES)
GRID_MASK = ArraySpec("grid/mask", SPACE, "uint8", "brain mask on the working grid", VOLUME_ATTRIBUTES)
GRID_ATLAS = ArraySpec("grid/atlas", SPACE, "int16", "region index on the working grid", VOLUME_ATTRIBUTES)
SCANS = ArraySpec(
    "scans",
    ("scan", *SPACE),
    "int16",
    "preprocessed volumes, in the order of the rows of the scans table; value = integer * scans.volume_scale",
    VOLUME_ATTRIBUTES,
    optional=True,
)
TRUTH_VISIBLE = ArraySpec(
    "truth/visible_change",
    SPACE,
    "float32",
    "voxel truth: mean over the patients of the cohort of |x(patient) - x(the same person's twin without the change)|",
    VOLUME_ATTRIBUTES,
    True,
)
TRUTH_VISIBLE_BINARY = ArraySpec(
    "truth/visible_binary",
    SPACE,
    "uint8",
    "1 where truth/visible_change >= 25 % of its 99.9th percentile in the brain mask",
    VOLUME_ATTRIBUTES,
    True,
)
TRUTH_SCANS = ArraySpec(
    "truth/scan_changes",
    ("scan", *SPACE),
    "int16",
    "visible change of every scan, in the order of the rows of the scans table, 1/10000 of white matter intensity; 0 "
    "in scans without imposed change",
    VOLUME_ATTRIBUTES,
    True,
)
TRUTH_LOG_JACOBIAN = ArraySpec(
    "truth/log_jacobian",
    SPACE,
    "float32",
    "imposed log-Jacobian at severity 1, in the frame of the template: where tissue was changed, which shows at "
    "borders alone; no voxel truth, see the table truth_regions",
    VOLUME_ATTRIBUTES,
    True,
)
TRUTH_BINARY = ArraySpec(
    "truth/binary",
    SPACE,
    "uint8",
    "before version 1.3: 1 where |imposed log-Jacobian| >= 25 % of its maximum",
    VOLUME_ATTRIBUTES,
    True,
)
TRUTH_DIFFERENCE = ArraySpec(
    "truth/difference",
    SPACE,
    "float32",
    "before version 1.3: mean |after - sham| over the AD scans, nuisance excluded",
    VOLUME_ATTRIBUTES,
    True,
)
PHENOTYPE_REGIONS = ArraySpec(
    "phenotype/regions",
    SPACE,
    "uint8",
    "1 in the regions of the atlas whose volume is the phenotype that a regression predicts: the truth of truth_scores",
    VOLUME_ATTRIBUTES,
    True,
)
PHENOTYPE_ASSOCIATION = ArraySpec(
    "phenotype/association",
    SPACE,
    "float32",
    "Pearson's r of intensity and phenotype over the training scans of the held-out network (without one: all scans)",
    VOLUME_ATTRIBUTES,
    True,
)
HEATMAPS = ArraySpec(
    "heatmaps/{model}/{method}/{target}/{scale}",
    ("scan", "..."),
    "int16 | float32",
    "signed relevance in the method's native grid: voxels (scan, x, y, z) as int16 with one shard a volume and a "
    "scale in the heatmaps table; positions (scan, px, py, pz) and regions (scan, region) as float32. Methods with the "
    "scale probability are drops of evidence (occlusions), the others gradients. A missing "
    "shard is an error, never 'no relevance'",
    ("affine", "unit", "native_grid", "parameters", "antisymmetric"),
)
CELLS = ArraySpec(
    "cells/{model_set}/{method}/{target}/{scale}/{diagnosis}/{predicted}",
    ("quantity", "..."),
    "float32",
    "additive group cells in the native grid: sum wh, sum w|h|, sum wh^2; w in the cells table",
    ("affine", "unit", "native_grid"),
)
NATIVE = ArraySpec(
    "native/{scan}",
    ("component", *FIELD_POINTS),
    "int16",
    "a scan's own space: a point p of it, in mm of its file's affine, lies in MNI space at linear @ p + 0.01 mm * the "
    "stored vector, interpolated linearly between points. `affine` leads from a place in this array to p, along the "
    "axes of the file; native_affine (voxel -> p) and native_shape are those of the file. No relevance outside",
    (*VOLUME_ATTRIBUTES, "linear", "native_affine", "native_shape"),
    optional=True,
)
AGREEMENT = ArraySpec(
    "agreement/{method}/{target}/{diagnosis}",
    ("quantity", *SPACE),
    "float32",
    "of the held-out network and those trained again: mean over networks of the group average of h (each map divided "
    "by its sum of |h| in the mask), then the share of the networks that agree in its sign and have the voxel among "
    "the 5 % of the brain with the largest |group average|",
    VOLUME_ATTRIBUTES,
    True,
)
ARRAYS = (
    TEMPLATE, MASK, ATLAS, GRID_TEMPLATE, GRID_MASK, GRID_ATLAS, SCANS, NATIVE,
    TRUTH_VISIBLE, TRUTH_VISIBLE_BINARY, TRUTH_SCANS, TRUTH_LOG_JACOBIAN, TRUTH_BINARY, TRUTH_DIFFERENCE,
    PHENOTYPE_REGIONS, PHENOTYPE_ASSOCIATION, HEATMAPS, CELLS, AGREEMENT,
)  # fmt: skip

_MODEL = (STRING, "fold-1..fold-k, holdout, holdout-seed-k")
_MODEL_SET = (STRING, "folds or holdout")
_METHOD = (STRING, "relevance method")
_TARGET = (STRING, "group that is explained, as stored")
_SCAN = (STRING, "key of the scans table")
_SUBJECT = (STRING, "person")
_DIAGNOSIS = (STRING, "clinical label, or the group where rules are expressions and in a regression")
_REGION = (STRING, "key of the regions table; in merged rows the name without its side")
_MEASURED = ("requested", "achieved")
_TRUTH_REGION = {
    "imposed": (
        BOOLEAN,
        "at least half of the region lies where a change of volume was imposed; of a change that follows no regions "
        "(blobs), the region holds at least a tenth of one of its places",
    ),
    "log_jacobian": (
        FLOAT,
        "mean of truth/log_jacobian in the region; of a change that follows no regions, of its part in those places, "
        "the rest of the region counting 0",
    ),
    "requested": (
        FLOAT,
        "relative change of volume that was asked for at severity 1, of the region's tissue or fluid that was to "
        "change; missing where nothing was imposed",
    ),
    "achieved": (FLOAT, "the same as measured: the volume of that tissue or fluid after the deformation, relative"),
}

TABLES = (
    TableSpec(
        "scans",
        ("scan",),
        {
            "scan": (STRING, "identifier, unique in the run"),
            "subject": _SUBJECT,
            "session": (STRING, "visit"),
            "group": (STRING, "one of the two groups; empty for apply scans"),
            "diagnosis": _DIAGNOSIS,
            "screening_diagnosis": (STRING, "of the subject when entering the study, where known; as in diagnosis"),
            "clinical_label": (STRING, "where diagnosis is a group of a regression: the clinical label, if known"),
            "role": (STRING, "cohort, or apply: explained, never trained on"),
            "age": (FLOAT, "years"),
            "sex": (STRING, "F or M"),
            "site": (STRING, "scanner or centre"),
            "mmse": (FLOAT, "Mini-Mental State Examination, 0 to 30"),
            "cdr": (FLOAT, "Clinical Dementia Rating"),
            "cdr_sb": (FLOAT, "Clinical Dementia Rating, sum of boxes, 0 to 18"),
            "icv": (FLOAT, "intracranial volume, mm3"),
            "phenotype": (FLOAT, "what a regression of a phenotype predicts, z score; other runs have none"),
            "severity": (FLOAT, "imposed severity; simulated scans only"),
            "subtype": (STRING, "imposed pattern; simulated scans of a scenario with several only, else empty"),
            "simulated": (BOOLEAN, "true if the change in this scan was imposed"),
            "holdout": (BOOLEAN, "in the fixed test set"),
            "fold": (INTEGER, "fold whose model explains this scan, from 1"),
            "volume_scale": (FLOAT, "multiply the stored integers by this"),
            "source_hash": (STRING, "fingerprint of the input, not its path"),
        },
        "one row a scan that was used",
        later=("screening_diagnosis", "cdr_sb", "clinical_label", "subtype", "phenotype"),
    ),
    TableSpec(
        "exclusions",
        ("scan", "reason"),
        {
            "scan": _SCAN,
            "subject": _SUBJECT,
            "stage": (STRING, "where it was left out: ingest, preprocess"),
            "reason": (STRING, "why, in words"),
        },
        "scans that were found and not used",
    ),
    TableSpec(
        "quality",
        ("scan",),
        {
            "scan": _SCAN,
            "template_correlation": (FLOAT, "Pearson r with the template inside the mask"),
            "mask_dice": (FLOAT, "overlap of the scan's own brain with the template mask"),
            "brain_ml": (FLOAT, "brain volume in the scan's own space, ml"),
            "intensity_low": (FLOAT, "2nd percentile inside the mask"),
            "intensity_high": (FLOAT, "98th percentile inside the mask"),
            "seconds": (FLOAT, "preprocessing time"),
        },
        "quality figures of the preprocessing",
    ),
    TableSpec(
        "flags",
        ("scan", "figure", "source"),
        {
            "scan": _SCAN,
            "figure": (STRING, "the column of the table quality that is out of bounds; same_image: see source cohort"),
            "source": (
                STRING,
                "limits: of the configuration; reference: the cohort whose networks explain a new scan; cohort: the "
                "volume correlates with that of another subject as only the same image does",
            ),
            "value": (FLOAT, "missing where the figure could not be computed"),
            "low": (FLOAT, "lower bound; missing where there is none"),
            "high": (FLOAT, "upper bound; missing where there is none"),
            "decision": (STRING, "what a person said of the scan: accept; empty without a word"),
            "text": (STRING, "in words, with both numbers"),
        },
        "scans whose quality figures are out of bounds; only flagged scans have rows",
        optional=True,
    ),
    TableSpec(
        "models",
        ("model",),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "seed": (INTEGER, "of initialisation and batches"),
            "training_scans": (INTEGER, ""),
            "training_subjects": (INTEGER, ""),
            "test_scans": (INTEGER, ""),
            "parameters": (INTEGER, "trainable"),
            "epochs": (INTEGER, "trained"),
            "seconds": (FLOAT, "training time"),
            "weights_sha256": (STRING, "of the safetensors file"),
            "network": (STRING, "its architecture, as in the configuration"),
            "validation_scans": (INTEGER, "set apart from the training scans"),
            "chosen_epoch": (INTEGER, "whose weights these are, from 1"),
        },
        "one row a trained network",
        later=("network", "validation_scans", "chosen_epoch"),
    ),
    TableSpec(
        "training",
        ("model", "epoch"),
        {
            "model": _MODEL,
            "epoch": (INTEGER, "from 1"),
            "loss": (
                FLOAT,
                "mean cross-entropy of the training batches, dropout on; in a regression, here and below, mean squared "
                "error in squared standard deviations of the training scans",
            ),
            "accuracy": (FLOAT, "of the training batches, dropout on; this and the next are missing in a regression"),
            "test_loss": (FLOAT, "cross-entropy on the model's test scans; watched, never used to choose"),
            "test_accuracy": (FLOAT, ""),
            "test_auc": (FLOAT, ""),
            "seconds": (FLOAT, ""),
            "validation_loss": (FLOAT, "cross-entropy on the model's validation scans; missing where there are none"),
            "validation_accuracy": (FLOAT, ""),
            "validation_auc": (FLOAT, ""),
        },
        "learning curves",
        later=("validation_loss", "validation_accuracy", "validation_auc"),
    ),
    TableSpec(
        "predictions",
        ("model", "scan"),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "scan": _SCAN,
            "subject": _SUBJECT,
            "diagnosis": _DIAGNOSIS,
            "group": (STRING, "empty for apply scans"),
            "probability": (FLOAT, "of the positive group; missing in a regression"),
            "margin": (
                FLOAT,
                "log p - log(1 - p) of the positive group; in a regression the predicted value in standard deviations "
                "of the training scans, about their mean",
            ),
            "predicted": (STRING, "group"),
            "correct": (BOOLEAN, "missing for apply scans"),
            "value": (FLOAT, "of the target, predicted, in its unit; regression only"),
            "observed": (FLOAT, "of the target, true, in its unit; regression only"),
        },
        "every model on every scan that it may explain",
        later=("value", "observed"),
    ),
    TableSpec(
        "metrics",
        ("classifier", "level", "model", "metric"),
        {
            "classifier": (STRING, "cnn, or linear, logistic or ridge: region_means, covariates"),
            "level": (STRING, "scan or subject"),
            "model": (STRING, "a model, mean or sd over the folds, or folds: their test scans together"),
            "metric": (
                STRING,
                "accuracy, balanced_accuracy, sensitivity, specificity, auc, auc_hard, brier, "
                "true_positive, false_negative, false_positive, true_negative; in a regression mae, rmse (unit of the "
                "target), r (Pearson), r2",
            ),
            "value": (FLOAT, ""),
            "note": (STRING, "for example the covariates used"),
            "low": (FLOAT, "lower end of the 95 % interval over subjects (store/accuracy.py); of folds and holdout"),
            "high": (FLOAT, "upper end"),
            "subjects": (INTEGER, "behind the interval; of two groups, those of the smaller"),
            "folds": (INTEGER, "of a mean or sd: the folds that have a value"),
        },
        "accuracy of the networks and of the linear baselines in the same folds",
        later=("low", "high", "subjects", "folds"),
    ),
    TableSpec(
        "baseline_predictions",
        ("classifier", "model", "scan"),
        {
            "classifier": (STRING, "region_means, covariates"),
            "model": _MODEL,
            "scan": _SCAN,
            "subject": _SUBJECT,
            "group": (STRING, ""),
            "probability": (FLOAT, "of the positive group; missing in a regression"),
            "value": (FLOAT, "of the target, predicted, in its unit; regression only"),
            "observed": (FLOAT, "of the target, true, in its unit; regression only"),
        },
        "what the linear baselines say of the test scans of each network",
        optional=True,
    ),
    TableSpec(
        "curves",
        ("model", "curve", "point"),
        {
            "model": (STRING, "a model, or folds: all out-of-fold predictions together"),
            "curve": (STRING, "roc (x false, y true positive rate) or calibration (x predicted, y observed)"),
            "point": (INTEGER, "from 0"),
            "x": (FLOAT, ""),
            "y": (FLOAT, ""),
            "scans": (INTEGER, "behind the point; calibration only"),
        },
        "ROC and reliability curves; empty in a regression",
    ),
    TableSpec(
        "balance",
        ("covariate",),
        {
            "covariate": (STRING, "age, sex, icv, site"),
            "positive": (FLOAT, "mean, or share of F"),
            "negative": (FLOAT, "mean, or share of F"),
            "difference": (FLOAT, "standardised mean difference"),
            "test": (STRING, "name of the test"),
            "p": (FLOAT, "p value over subjects"),
            "note": (STRING, "for example: defines the groups"),
        },
        "are the groups alike in what should not tell them apart",
    ),
    TableSpec(
        "regions",
        ("region",),
        {
            "region": _REGION,
            "index": (INTEGER, "value in the atlas arrays"),
            "code": (INTEGER, "the atlas's own code; missing for Ventricles and Unlabelled"),
            "merged": (STRING, "name without its side"),
            "paper": (STRING, "name as in Rieke et al. 2018"),
            "lobe": (STRING, "temporal, cortical or other (docs/definitions.md); unknown where the name does not say"),
            "in_atlas": (BOOLEAN, "false for Ventricles and Unlabelled"),
            "voxels": (INTEGER, "on the working grid"),
            "volume_cm3": (FLOAT, "on the working grid"),
        },
        "atlas regions",
    ),
    TableSpec(
        "heatmaps",
        ("model", "method", "target", "scan", "scale"),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "target": _TARGET,
            "scan": _SCAN,
            "scale": (STRING, "margin or probability"),
            "native_grid": (STRING, "voxels, positions or regions"),
            "row": (INTEGER, "place along the scan axis of the array"),
            "value_scale": (FLOAT, "multiply the stored numbers by this; 1 for float32"),
            "absolute_sum": (FLOAT, "sum of |h| in the brain mask, full grid"),
            "checksum": (STRING, "CRC-32 of the stored numbers, hexadecimal"),
            "completeness_error": (
                FLOAT,
                "share of the change of the margin from the baseline that the sum of the map misses; of methods whose "
                "map should add up",
            ),
        },
        "every heatmap that exists; a row is written after the array it vouches for",
        later=("completeness_error",),
    ),
    TableSpec(
        "cells",
        ("model_set", "method", "target", "scale", "diagnosis", "predicted"),
        {
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "target": _TARGET,
            "scale": (STRING, "margin, probability, or relative: divided by its sum of |h| in the mask"),
            "diagnosis": _DIAGNOSIS,
            "predicted": (STRING, "group; all: whatever was predicted, in runs with group_level alone"),
            "native_grid": (STRING, "voxels, positions or regions"),
            "weight": (
                FLOAT,
                "sum of w: 1 / (averaged scans of the subject in the diagnosis), or 1 where analysis.weights is scan",
            ),
            "scans": (INTEGER, ""),
            "subjects": (INTEGER, ""),
            "without_relevance": (INTEGER, "scans whose map is 0 everywhere; not averaged in the scale relative"),
        },
        "group cells (docs/definitions.md, Group cells and averages)",
        later=("without_relevance",),
    ),
    TableSpec(
        "region_relevance",
        ("model", "method", "target", "scan", "region"),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "target": _TARGET,
            "scan": _SCAN,
            "region": _REGION,
            "signed_sum": (
                FLOAT,
                "sum of the heatmap in the region, unit of the heatmap; this and what follows are missing for a region "
                "without voxels on the grid",
            ),
            "sum": (FLOAT, "sum of m in the region; m is |h|, for occlusions max(h, 0)"),
            "share": (
                FLOAT,
                "sum of m in the region / sum of m in the brain mask; missing, as the next two, without any relevance",
            ),
            "share_atlas": (FLOAT, "sum of m in the region / sum of m in all atlas regions"),
            "density": (FLOAT, "share in percent per cm3"),
        },
        "relevance of each region in each scan",
    ),
    TableSpec(
        "group_regions",
        ("model_set", "method", "target", "diagnosis", "merged", "region"),
        {
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "target": _TARGET,
            "diagnosis": _DIAGNOSIS,
            "merged": (BOOLEAN, "left and right added"),
            "region": _REGION,
            "share": (FLOAT, "mean over subjects of the region's share of the brain mask"),
            "share_low": (FLOAT, "2.5 %, bootstrap over subjects, this model"),
            "share_high": (FLOAT, "97.5 %"),
            "share_atlas": (FLOAT, "mean over subjects, of the atlas regions"),
            "share_of_average": (FLOAT, "share of the atlas regions in the group average map (the paper's)"),
            "density": (FLOAT, "mean share in percent per cm3"),
            "gain": (FLOAT, "mean share in the positive group / in the negative group; same in both groups' rows"),
            "rank": (INTEGER, "by share_of_average among atlas regions, from 1"),
            "subjects": (INTEGER, "that have relevance, and so a share"),
            "without_relevance": (INTEGER, "subjects whose maps are 0 everywhere; they are in no mean of shares"),
            "share_of_average_low": (FLOAT, "2.5 %, bootstrap over subjects; this and the next three in runs with "
                                     "group_level alone: others have the relevance of each scan"),
            "share_of_average_high": (FLOAT, "97.5 %"),
            "gain_low": (FLOAT, "2.5 %, subjects of both groups drawn"),
            "gain_high": (FLOAT, "97.5 %"),
        },
        "ranking of regions (the paper's table 1)",
        later=(
            "without_relevance", "share_of_average_low", "share_of_average_high", "gain_low", "gain_high",
        ),
    ),
    TableSpec(
        "distances",
        ("model_set", "diagnosis", "level", "method_a", "method_b"),
        {
            "model_set": _MODEL_SET,
            "diagnosis": _DIAGNOSIS,
            "level": (STRING, "group: of group averages; scan: mean over scans"),
            "method_a": _METHOD,
            "method_b": _METHOD,
            "distance": (
                FLOAT,
                "Euclidean, of maps with sum 1, divided by (voxel mm)^1.5, x 1e4; missing where a map is 0 everywhere",
            ),
            "distance_sd": (FLOAT, "over scans"),
            "rank_correlation": (FLOAT, "Spearman; group: over brain voxels; scan: over region shares"),
            "rank_correlation_sd": (FLOAT, "over scans"),
            "scans": (INTEGER, "of the diagnosis; of level scan: that have a distance"),
        },
        "distances between methods (the paper's table 2)",
    ),
    TableSpec(
        "scan_distances",
        ("model", "scan", "method_a", "method_b"),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "scan": _SCAN,
            "method_a": _METHOD,
            "method_b": _METHOD,
            "distance": (FLOAT, "as in distances"),
            "rank_correlation": (FLOAT, "Spearman over region shares"),
        },
        "distances between methods on each scan",
    ),
    TableSpec(
        "variability",
        ("model", "method", "target", "scan"),
        {
            "model": _MODEL,
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "target": _TARGET,
            "scan": _SCAN,
            "distance_to_group": (
                FLOAT,
                "to the mean of the other subjects of the diagnosis, missing where there are none and for new scans; "
                "unit as in distances",
            ),
            "temporal_share": (FLOAT, "share of the temporal regions; this and the next missing without relevance"),
            "cortical_share": (FLOAT, "share of all other cerebral cortex"),
        },
        "how patients differ",
    ),
    TableSpec(
        "truth_regions",
        ("region",),
        {
            "region": _REGION,
            **_TRUTH_REGION,
        },
        "region truth: where the change was imposed, the mean over patients; simulated runs only",
        optional=True,
        later=_MEASURED,
    ),
    TableSpec(
        "truth_subtypes",
        ("subtype", "region"),
        {"subtype": (STRING, "as in the scans table"), "region": _REGION, **_TRUTH_REGION},
        "region truth of the patients of one subtype; simulated runs of a scenario with several subtypes only",
        optional=True,
    ),
    TableSpec(
        "truth_heads",
        ("subject", "region"),
        {
            "subject": (STRING, "as in the scans table"),
            "region": _REGION,
            "requested": (FLOAT, "relative change of volume asked of this patient's own region at severity 1"),
            "achieved": (FLOAT, "the same, measured by carrying the region of the person's own segmentation along"),
            "volume": (FLOAT, "cm3 in the person's own head, after the affine registration, before the change"),
            "changed_volume": (FLOAT, "cm3 after the change at the patient's severity; of controls as before"),
        },
        "what was imposed on each person's own head, by region; simulated runs on real heads only",
        optional=True,
    ),
    TableSpec(
        "truth_scores",
        ("model_set", "method", "diagnosis", "level", "score"),
        {
            "model_set": _MODEL_SET,
            "method": _METHOD,
            "diagnosis": (
                STRING,
                "positive group: against what was imposed; negative group: against what was imposed on the others; of "
                "phenotypes each group against the phenotype's regions",
            ),
            "level": (
                STRING,
                "group: the mean of m against the mean visible change; signed_group: m of the mean of the signed maps; "
                "ensemble, signed_ensemble: the same of the average over the networks that explain the same scans, "
                "each weighing the same (all other levels are means over the scores of networks); scan: mean over "
                "subjects of each scan's score against its own visible change (negative group: against the mean one)",
            ),
            "score": (
                STRING,
                "against visible change: voxel_auc, average_precision, mass_accuracy, rank_accuracy, pointing_game, "
                "localisation_error_mm, relevance_mass_accuracy, relevance_mass_gain, mirrored_mass_accuracy, fpr; "
                "against the imposed log-Jacobian by region: region_rank_correlation, region_share, "
                "tpr_strong, tpr_weak",
            ),
            "value": (FLOAT, ""),
            "reference": (
                FLOAT,
                "mean of untrained networks on the same scans, missing where not computed; see note",
            ),
            "reference_sd": (FLOAT, "over networks"),
            "difference": (FLOAT, "value - reference"),
            "scans": (INTEGER, "that are explained"),
            "value_low": (FLOAT, "2.5 %, bootstrap over subjects, these networks"),
            "value_high": (FLOAT, "97.5 %"),
            "difference_low": (FLOAT, "2.5 %, bootstrap over subjects and single untrained networks"),
            "difference_high": (FLOAT, "97.5 %"),
            "null_reference": (
                FLOAT,
                "as reference, of networks trained in the same way on the same people without imposed change",
            ),
            "null_reference_sd": (FLOAT, "over networks"),
            "null_difference": (FLOAT, "value - null_reference"),
            "null_difference_low": (FLOAT, "2.5 %, bootstrap over subjects and single null networks"),
            "null_difference_high": (FLOAT, "97.5 %"),
            "ceiling": (FLOAT, "score of the truth's own map"),
            "group_difference": (
                FLOAT,
                "score of |mean of the positive - mean of the negative group| of the training volumes",
            ),
            "subjects": (INTEGER, "behind the interval"),
            "empty": (INTEGER, "scans whose map holds no relevance, and so has no score"),
            "note": (STRING, "why a reference is missing; empty where none is"),
            "networks": (
                INTEGER,
                "the value is the mean over so many networks trained alike, and its interval is over them, too",
            ),
        },
        "how well heatmaps find the imposed change of a simulated run, or (visible change and log-Jacobian replaced by "
        "phenotype/regions) the structure whose phenotype is predicted; no other runs",
        optional=True,
        later=(
            "value_low", "value_high", "difference_low", "difference_high", "null_reference", "null_reference_sd",
            "null_difference", "null_difference_low", "null_difference_high", "ceiling", "group_difference",
            "subjects", "empty", "note", "networks",
        ),
    ),
    *TRUST_TABLES,
    *GROUP_TABLES,
)  # fmt: skip

MANIFEST_KEYS = {
    "spec_version": "of this module when the run was written",
    "run": "identifier, the name of the folder",
    "name": "given by the user",
    "created": "ISO 8601",
    "simulated": "true if the change in the brains was imposed",
    "cohort": "where the scans come from, in words",
    "groups": "[positive, negative]",
    "fingerprint": "of everything the results depend on",
    "data_fingerprint": "of the scans and their labels",
    "config": "every setting",
    "versions": "of the packages that computed",
    "commit": "of the code; empty if unknown",
    "device": "that computed",
    "seeds": "name -> seed",
    "seconds": "stage -> time",
    "peak_mib": "largest memory",
    "grid_mm": "edge of a voxel of the working grid",
    "notices": "credits of the atlases, templates and data",
    "contents": "arrays, tables, models (with checksums), number of heatmaps, bytes",
}
OPTIONAL_MANIFEST_KEYS = {
    "reference_run": "run in the same store whose networks explained these scans; nothing was trained",
    "task": "classification (where missing) or regression",
    "target": "of a regression: column (of the scans table), label, unit, threshold (from which on a scan is of the "
    "positive group: the groups are those above and below the median over subjects)",
    "derived": "from (the run it was made of), fingerprint (of that run), when (ISO 8601), how: group level or "
    "pseudonymous",
    "group_level": "the run holds nothing of single persons: fewest (subjects of a cell), subjects (model set, or "
    "cohort -> number, where it can be said), methods (name -> antisymmetric, gradient), verdict (what the accuracy "
    "means, in words), auc_differences (linear baseline -> network minus baseline, with its 95 % interval); "
    "shown, where simulated scans are shown one by one all the same: how many",
}


def array_spec(path: str) -> ArraySpec:
    """Return the spec that an array path falls under, e.g. "heatmaps/fold-1/sensitivity/AD/margin"."""
    parts = path.split("/")
    for spec in ARRAYS:
        pattern = spec.path.split("/")
        if len(pattern) == len(parts) and all(p.startswith("{") or p == q for p, q in zip(pattern, parts, strict=True)):
            return spec
    raise KeyError(path)


def table_spec(name: str) -> TableSpec:
    """Return the spec of a table by its name."""
    for spec in TABLES:
        if spec.name == name:
            return spec
    raise KeyError(name)
