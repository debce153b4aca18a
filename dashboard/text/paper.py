"""What Rieke et al. 2018 (arXiv:1808.02874) published on ADNI: to compare with, never a target.

`COHORT` must stand beside every number from here.
"""

from __future__ import annotations

COHORT = "ADNI"
SHORT = "Rieke 2018 (ADNI)"
CITATION = (
    "Rieke J, Eitel F, Weygandt M, Haynes JD, Ritter K (2018). Visualizing Convolutional Networks for MRI-Based "
    "Diagnosis of Alzheimer's Disease. MLCN 2018, LNCS 11038. arXiv:1808.02874"
)

PAPER_METRICS = {"accuracy": (0.77, 0.06), "auc": (0.78, 0.04)}  # mean and SD over 5 folds

# Diagnosis -> method -> the four regions with the largest share of the group average, in percent of all atlas regions,
# left and right added. Regions have the paper's names, the column `paper` of the table regions.
TABLE_1: dict[str, dict[str, list[tuple[str, float]]]] = {
    "AD": {
        "sensitivity": [("TemporalMid", 6.1), ("TemporalInf", 5.9), ("Fusiform", 4.6), ("CerebelumCrus1", 3.8)],
        "guided_backprop": [("TemporalMid", 7.0), ("TemporalInf", 5.7), ("FrontalMid", 4.2), ("Fusiform", 3.9)],
        "occlusion": [("TemporalMid", 12.1), ("TemporalInf", 9.2), ("Fusiform", 6.2), ("ParaHippocampal", 5.4)],
        "area_occlusion": [("TemporalMid", 29.7), ("TemporalInf", 14.8), ("TemporalSup", 4.4), ("Hippocampus", 4.1)],
    },
    "NC": {
        "sensitivity": [("TemporalMid", 6.1), ("TemporalInf", 5.8), ("Fusiform", 4.5), ("CerebelumCrus1", 3.8)],
        "guided_backprop": [("CerebelumCrus1", 4.6), ("TemporalMid", 4.5), ("TemporalInf", 4.5), ("FrontalMid", 4.1)],
        "occlusion": [("TemporalMid", 6.2), ("TemporalSup", 4.9), ("CerebelumCrus1", 4.9), ("Insula", 4.7)],
        "area_occlusion": [("TemporalMid", 20.4), ("TemporalInf", 12.8), ("Fusiform", 7.2), ("TemporalSup", 6.2)],
    },
}

# Pair of methods -> diagnosis -> Euclidean distance of the group averages, each divided by its sum, x 1e4.
TABLE_2: dict[tuple[str, str], dict[str, float]] = {
    ("sensitivity", "guided_backprop"): {"AD": 4.09, "NC": 4.36},
    ("sensitivity", "occlusion"): {"AD": 5.15, "NC": 4.09},
    ("sensitivity", "area_occlusion"): {"AD": 11.48, "NC": 9.04},
    ("guided_backprop", "occlusion"): {"AD": 6.47, "NC": 5.83},
    ("guided_backprop", "area_occlusion"): {"AD": 11.36, "NC": 9.80},
    ("occlusion", "area_occlusion"): {"AD": 11.16, "NC": 9.66},
}


def distance(method_a: str, method_b: str, diagnosis: str) -> float | None:
    """Return the published distance of two methods in either order; None where the paper has none."""
    pair = (method_a, method_b) if (method_a, method_b) in TABLE_2 else (method_b, method_a)
    return TABLE_2.get(pair, {}).get(diagnosis)
