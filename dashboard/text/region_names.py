"""The regions of the atlas AAL2 in plain words: `Middle temporal gyrus, left` for Temporal_Mid_L.

After the descriptions of areas in Rolls, Joliot & Tzourio-Mazoyer 2015 (NeuroImage 122, 1-5), which names the areas of
AAL2. The code is what stands in stores and in the column `region` of CSV files. Names that are not in the table, of
other atlases, stay as they are.
"""

from __future__ import annotations

AREAS = {
    "Precentral": "Precentral gyrus",
    "Frontal_Sup_2": "Superior frontal gyrus",
    "Frontal_Mid_2": "Middle frontal gyrus",
    "Frontal_Inf_Oper": "Inferior frontal gyrus, opercular",
    "Frontal_Inf_Tri": "Inferior frontal gyrus, triangular",
    "Frontal_Inf_Orb_2": "Inferior frontal gyrus, orbital",
    "Rolandic_Oper": "Rolandic operculum",
    "Supp_Motor_Area": "Supplementary motor area",
    "Olfactory": "Olfactory cortex",
    "Frontal_Sup_Medial": "Superior frontal gyrus, medial",
    "Frontal_Med_Orb": "Medial orbital frontal gyrus",
    "Rectus": "Gyrus rectus",
    "OFCmed": "Medial orbital gyrus",
    "OFCant": "Anterior orbital gyrus",
    "OFCpost": "Posterior orbital gyrus",
    "OFClat": "Lateral orbital gyrus",
    "Insula": "Insula",
    "Cingulate_Ant": "Anterior cingulate gyrus",
    "Cingulate_Mid": "Middle cingulate gyrus",
    "Cingulate_Post": "Posterior cingulate gyrus",
    "Hippocampus": "Hippocampus",
    "ParaHippocampal": "Parahippocampal gyrus",
    "Amygdala": "Amygdala",
    "Calcarine": "Calcarine cortex",
    "Cuneus": "Cuneus",
    "Lingual": "Lingual gyrus",
    "Occipital_Sup": "Superior occipital gyrus",
    "Occipital_Mid": "Middle occipital gyrus",
    "Occipital_Inf": "Inferior occipital gyrus",
    "Fusiform": "Fusiform gyrus",
    "Postcentral": "Postcentral gyrus",
    "Parietal_Sup": "Superior parietal lobule",
    "Parietal_Inf": "Inferior parietal lobule",
    "SupraMarginal": "Supramarginal gyrus",
    "Angular": "Angular gyrus",
    "Precuneus": "Precuneus",
    "Paracentral_Lobule": "Paracentral lobule",
    "Caudate": "Caudate nucleus",
    "Putamen": "Putamen",
    "Pallidum": "Pallidum",
    "Thalamus": "Thalamus",
    "Heschl": "Heschl’s gyrus",
    "Temporal_Sup": "Superior temporal gyrus",
    "Temporal_Pole_Sup": "Temporal pole, superior",
    "Temporal_Mid": "Middle temporal gyrus",
    "Temporal_Pole_Mid": "Temporal pole, middle",
    "Temporal_Inf": "Inferior temporal gyrus",
    "Cerebelum_Crus1": "Cerebellum, crus I",
    "Cerebelum_Crus2": "Cerebellum, crus II",
    "Cerebelum_3": "Cerebellum, lobule III",
    "Cerebelum_4_5": "Cerebellum, lobules IV and V",
    "Cerebelum_6": "Cerebellum, lobule VI",
    "Cerebelum_7b": "Cerebellum, lobule VIIb",
    "Cerebelum_8": "Cerebellum, lobule VIII",
    "Cerebelum_9": "Cerebellum, lobule IX",
    "Cerebelum_10": "Cerebellum, lobule X",
    "Vermis_1_2": "Vermis, lobules I and II",
    "Vermis_3": "Vermis, lobule III",
    "Vermis_4_5": "Vermis, lobules IV and V",
    "Vermis_6": "Vermis, lobule VI",
    "Vermis_7": "Vermis, lobule VII",
    "Vermis_8": "Vermis, lobule VIII",
    "Vermis_9": "Vermis, lobule IX",
    "Vermis_10": "Vermis, lobule X",
    # AAL1's names of areas that AAL2 renames, in the original study and in runs with that atlas.
    "Frontal_Sup": "Superior frontal gyrus",
    "Frontal_Mid": "Middle frontal gyrus",
    "Frontal_Sup_Orb": "Superior frontal gyrus, orbital",
    "Frontal_Mid_Orb": "Middle frontal gyrus, orbital",
    "Frontal_Inf_Orb": "Inferior frontal gyrus, orbital",
    "Cingulum_Ant": "Anterior cingulate gyrus",
    "Cingulum_Mid": "Middle cingulate gyrus",
    "Cingulum_Post": "Posterior cingulate gyrus",
}  # fmt: skip
ALWAYS_CAPITAL = ("Heschl",)
SIDES = {"_L": "left", "_R": "right"}


SHORTER = {"Superior ": "Sup. ", "Inferior ": "Inf. ", "Middle ": "Mid. ", " gyrus,": ","}


def known_name(region: str) -> str | None:
    """Return the plain name of an area of AAL, of one side or both; None for a name of another atlas."""
    side = SIDES.get(region[-2:])
    area = AREAS.get(region[:-2] if side else region)
    return f"{area}, {side}" if area and side else area


def within_sentence(region: str) -> str | None:
    """Return the plain name as it stands within a sentence: left middle temporal gyrus; None as for `known_name`."""
    side = SIDES.get(region[-2:])
    area = AREAS.get(region[:-2] if side else region)
    if not area:
        return None
    area = area if area.startswith(ALWAYS_CAPITAL) else area[0].lower() + area[1:]
    return f"{side} {area}" if side else area


def within(words: str, letters: int) -> str:
    """Return a name in at most so many letters: Inf. frontal, triangular; with an ellipsis where that is not enough."""
    if len(words) <= letters:
        return words
    for whole, part in SHORTER.items():
        words = words.replace(whole, part)
    return words if len(words) <= letters else f"{words[: letters - 1].rstrip(' ,')}…"
