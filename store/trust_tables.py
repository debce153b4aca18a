"""Tables of how far heatmaps can be trusted, written by the stage trust; part of the specification (store/spec.py).

All are of the fixed test set, and of the evidence for the positive group (target). Intervals are of 95 %, by a
bootstrap over subjects. What each measure is: docs/definitions.md, Trust.
"""

from __future__ import annotations

from store.spec_types import FLOAT, INTEGER, STRING, TableSpec

_MODEL_SET = (STRING, "holdout")
_METHOD = (STRING, "relevance method, or a map that explains nothing, for comparison")
_TARGET = (STRING, "group that is explained: the positive one")
_DIAGNOSIS = (STRING, "clinical label; all: of all test scans together")
_SCAN = (STRING, "key of the scans table")
_OF_METHOD = {"model_set": _MODEL_SET, "method": _METHOD, "target": _TARGET}
_OF_DIAGNOSIS = {**_OF_METHOD, "diagnosis": _DIAGNOSIS}
_LOW, _HIGH = (FLOAT, "2.5 %, bootstrap over subjects"), (FLOAT, "97.5 %")
_SCANS, _SUBJECTS = (INTEGER, "behind the value"), (INTEGER, "behind the interval")
_SIMILARITY = (
    STRING,
    "rank_correlation (Spearman over brain voxels), rank_correlation_absolute (of |h|), ssim (structural similarity of "
    "the signed maps), ssim_absolute",
)
_CHANGE = (
    STRING,
    "retrained: the same network from other seeds; noise, shift, bias_field: the same network, a slightly changed scan",
)
_AGREEMENT = (
    STRING,
    "rank_correlation (Spearman over brain voxels), dice (of the 5 % of brain voxels with the largest m), top_regions "
    "(share of the first ten regions by density in common)",
)
_UNIT = (STRING, "region: whole atlas regions are replaced; voxel: quantiles of the brain's voxels")
_DIRECTION = (
    STRING,
    "deletion: from the whole scan, the most relevant first; insertion: from nothing, the most relevant first",
)
_ORDER = (
    STRING,
    "method: by the heatmap of the scan; random; group_difference: by |difference of the training groups' means|; "
    "untrained: by the method's map of a network with random weights",
)

TRUST_TABLES = (
    TableSpec(
        "randomisation",
        ("model_set", "method", "target", "kind", "step", "measure"),
        {
            **_OF_METHOD,
            "kind": (
                STRING,
                "cascade: layers drawn anew, from the output on; shuffled_labels: networks trained on labels that were "
                "dealt out anew",
            ),
            "step": (INTEGER, "layers drawn anew, from 1; 0 for shuffled_labels"),
            "layer": (STRING, "the last layer drawn anew; empty for shuffled_labels"),
            "measure": _SIMILARITY,
            "value": (FLOAT, "mean over scans of the similarity to the map of the network as it was trained"),
            "value_low": _LOW,
            "value_high": _HIGH,
            "reference": (
                FLOAT,
                "mean of the measure over 50 pairs of maps of different scans by the trained network; a method that "
                "does not fall below it does not show what the network learned (Arun et al. 2021)",
            ),
            "scans": _SCANS,
            "subjects": _SUBJECTS,
            "empty": (INTEGER, "pairs of maps of which one holds no relevance, and so has no similarity"),
        },
        "does a heatmap change when what the network learned is taken from it (Adebayo et al. 2018)",
        optional=True,
    ),
    TableSpec(
        "stability",
        ("model_set", "method", "target", "change", "level", "diagnosis", "measure"),
        {
            **_OF_METHOD,
            "change": _CHANGE,
            "level": (STRING, "scan: mean over scans; group: of the averages of the diagnosis"),
            "diagnosis": _DIAGNOSIS,
            "measure": _AGREEMENT,
            "value": (FLOAT, "mean over pairs of networks (of changed scans: over scans)"),
            "value_low": _LOW,
            "value_high": _HIGH,
            "reference": (FLOAT, "the same between maps of different scans (level scan) or untrained networks"),
            "networks": (INTEGER, "that were compared"),
            "scans": _SCANS,
            "subjects": _SUBJECTS,
        },
        "does a heatmap stay when the network is trained again, or the scan changes a little (Eitel & Ritter 2019)",
        optional=True,
    ),
    TableSpec(
        "stability_scans",
        ("method", "target", "change", "scan", "measure"),
        {
            **_OF_METHOD,
            "change": _CHANGE,
            "scan": _SCAN,
            "measure": _AGREEMENT,
            "value": (FLOAT, "mean over pairs of networks, or of the changed scan with the scan"),
        },
        "stability of each scan's heatmap",
        optional=True,
    ),
    TableSpec(
        "stability_pairs",
        ("method", "target", "diagnosis", "model_a", "model_b", "measure"),
        {
            **_OF_DIAGNOSIS,
            "model_a": (STRING, "network"),
            "model_b": (STRING, "network"),
            "measure": _AGREEMENT,
            "value": (FLOAT, "mean over scans"),
        },
        "agreement of each pair of networks that were trained alike but for the seed",
        optional=True,
    ),
    TableSpec(
        "faithfulness",
        ("model_set", "method", "target", "diagnosis", "unit", "direction", "order"),
        {
            **_OF_DIAGNOSIS,
            "unit": _UNIT,
            "direction": _DIRECTION,
            "order": _ORDER,
            "area": (
                FLOAT,
                "mean over scans of the area under the curve of the margin against the share replaced; the margin goes "
                "from 0 (all replaced) to 1 (the whole scan)",
            ),
            "area_low": _LOW,
            "area_high": _HIGH,
            "gain": (
                FLOAT,
                "how much better the method's own order is than this one: area - that of the method for deletion, for "
                "insertion the other way round; 0 for the order method",
            ),
            "gain_low": _LOW,
            "gain_high": _HIGH,
            "scans": _SCANS,
            "subjects": _SUBJECTS,
            "left_out": (INTEGER, "scans without a curve: their two ends are nearly equal, or the map is empty"),
        },
        "does deleting what a heatmap marks change the decision",
        optional=True,
        later=("left_out",),
    ),
    TableSpec(
        "faithfulness_curves",
        ("model_set", "method", "target", "diagnosis", "unit", "direction", "order", "step"),
        {
            **_OF_DIAGNOSIS,
            "unit": _UNIT,
            "direction": _DIRECTION,
            "order": _ORDER,
            "step": (INTEGER, "from 0"),
            "fraction": (FLOAT, "share of the brain's voxels that are replaced (deletion) or shown (insertion)"),
            "margin": (FLOAT, "mean over scans, as in faithfulness: 0 all replaced, 1 the whole scan"),
            "margin_low": _LOW,
            "margin_high": _HIGH,
            "scans": _SCANS,
        },
        "deletion and insertion curves",
        optional=True,
    ),
    TableSpec(
        "faithfulness_scans",
        ("method", "target", "scan", "unit", "direction", "order"),
        {
            **_OF_METHOD,
            "scan": _SCAN,
            "unit": _UNIT,
            "direction": _DIRECTION,
            "order": _ORDER,
            "area": (FLOAT, "as in faithfulness, of the scan"),
        },
        "area under the curve of each scan",
        optional=True,
    ),
    TableSpec(
        "false_positives",
        ("model_set", "method", "target", "diagnosis"),
        {
            **_OF_DIAGNOSIS,
            "marked": (
                FLOAT,
                "mean |change| of the margin when what the heatmap marks outside the visible change (of its 1 % most "
                "relevant voxels, those whose mirror image is outside, too) is replaced by the mean brain",
            ),
            "mirrored": (FLOAT, "the same of the mirror image at the midline, which has as many voxels"),
            "difference": (FLOAT, "marked - mirrored"),
            "difference_low": _LOW,
            "difference_high": _HIGH,
            "share_outside": (FLOAT, "mean share of the marked voxels that lie outside the visible change"),
            "scans": _SCANS,
            "subjects": _SUBJECTS,
            "left_out": (INTEGER, "scans without such marks"),
        },
        "does the network use what a heatmap marks beside the truth; simulated runs only",
        optional=True,
        later=("left_out",),
    ),
    TableSpec(
        "anatomy",
        ("model_set", "method", "target", "diagnosis", "region"),
        {
            **_OF_DIAGNOSIS,
            "region": (STRING, "key of the regions table"),
            "correlation": (FLOAT, "Pearson, over subjects, of the region's signed relevance and its tissue volume"),
            "correlation_low": _LOW,
            "correlation_high": _HIGH,
            "subjects": _SUBJECTS,
        },
        "does the relevance of a region follow the tissue that is there",
        optional=True,
    ),
    TableSpec(
        "anatomy_scans",
        ("method", "target", "scan"),
        {
            **_OF_METHOD,
            "scan": _SCAN,
            "correlation": (
                FLOAT,
                "Spearman, over regions, of the signed relevance a voxel and the tissue volume as a z-score of the "
                "training scans of the negative group",
            ),
        },
        "of each scan, over its regions",
        optional=True,
    ),
)
