"""What a region's name says: its side, how the paper prints it, whether it is temporal, other cortex or neither."""

from __future__ import annotations

import re

LOBES = ("temporal", "cortical", "other")
UNKNOWN = "unknown"

# AAL2 subdivides and renames some areas of AAL1; the paper prints AAL1's names without underscores.
_PAPER_NAMES = {
    "Frontal_Sup_2": "FrontalSup",
    "Frontal_Mid_2": "FrontalMid",
    "Frontal_Inf_Orb_2": "FrontalInfOrb",
    "Cingulate_Ant": "CingulumAnt",
    "Cingulate_Mid": "CingulumMid",
    "Cingulate_Post": "CingulumPost",
    "Frontal_Med_Orb": "FrontalMedOrb",
}

# Sides as atlases write them: Hippocampus_L, Left Hippocampus, Right-Amygdala, ctx-lh-insula, Hippocampus (left).
_SIDES = (
    re.compile(r"^(?:left|right)[\s_.-]+(?=.)", re.IGNORECASE),
    re.compile(r"^(?:ctx[-_.])?(?:lh|rh)[-_.](?=.)", re.IGNORECASE),
    re.compile(r"(?<=.)[\s_.,-]*\(?\b(?:left|right)\)?$", re.IGNORECASE),
    re.compile(r"(?<=.)[\s_.-]+(?:left|right|lh|rh)$", re.IGNORECASE),
    re.compile(r"(?<=.)[\s_.-]+[LR]$"),
)

# Parts of names, as letters alone, of AAL, Harvard-Oxford, Desikan-Killiany, Destrieux, MUSE and their like; the first
# kind with one decides. White matter and fluid have the names of lobes in some of them, hence before these.
_WORDS = (
    ("other", ("whitematter", "ventric", "csf", "fluid", "capsule", "callosum", "corpcall", "fornix", "chiasm",
               "choroid", "vessel", "cerebel", "verm", "brainstem", "midbrain", "medulla", "basalforebrain",
               "basalganglia", "ventraldc", "diencephal")),
    ("temporal", ("temporal", "hippocamp", "amygdal", "fusiform", "heschl", "entorhinal", "perirhinal", "bankssts",
                  "planumpolare", "uncus")),
    ("other", ("caudate", "putamen", "pallid", "thalam", "accumbens", "striatum", "nigra", "rednucleus")),
    ("cortical", ("frontal", "parietal", "occipital", "cingul", "insul", "cuneus", "lingual", "calcarine", "operc",
                  "marginal", "angular", "central", "rectus", "olfactory", "motor", "orbit", "triangul", "subcallosal",
                  "rolandic", "gyrus", "cortex", "lobule", "sulcus")),
)  # fmt: skip
_WHITE_MATTER = re.compile(r"(?:^|[\s_.-])WM(?:$|[\s_.-])")
_PREFIXES = (("other", ("thal_", "n_acc")), ("cortical", ("acc_", "ofc", "occipital fusi", "occipitalfusi")))


def merged_name(region: str) -> str:
    """Return the name without its side: Hippocampus for Hippocampus_L, Right Hippocampus or rh.Hippocampus."""
    for side in _SIDES:
        rest = side.sub("", region)
        if rest != region:
            return rest.strip()
    return region


def paper_name(merged: str) -> str:
    """Return the name as Rieke et al. 2018 print it: TemporalMid for Temporal_Mid."""
    return _PAPER_NAMES.get(merged, merged.replace("_", ""))


def lobe(merged: str) -> str:
    """Return temporal, cortical (all other cerebral cortex), other, or unknown where the name says nothing."""
    if _WHITE_MATTER.search(merged):
        return "other"
    for kind, starts in _PREFIXES:
        if merged.lower().startswith(starts):
            return kind
    letters = re.sub(r"[^a-z]", "", merged.lower())
    return next((kind for kind, words in _WORDS if any(word in letters for word in words)), UNKNOWN)
