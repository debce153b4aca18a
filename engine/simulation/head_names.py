"""Which labels of a person's segmentation make up a region of a scenario.

Scenarios name regions as AAL2 does. A segmentation may have the same names, or those of MUSE, whose parcels (after
Neuromorphometrics) are mapped below where they cover about the same tissue; any other is mapped by the user. What has
no counterpart is said: AAL2's inferior parietal lobule without angular and supramarginal gyrus is no parcel of MUSE.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.atlas.names import merged_name
from engine.errors import UserError

MUSE = {
    "Amygdala": ("Amygdala",),
    "Angular": ("AngularGyrus",),
    "Calcarine": ("CalcarineCortex",),
    "Cingulate_Ant": ("AnteriorCingulateGyrus",),
    "Cingulate_Mid": ("MiddleCingulateGyrus",),
    "Cingulate_Post": ("PosteriorCingulateGyrus",),
    "Cuneus": ("Cuneus",),
    "Frontal_Inf_Oper": ("OpercularPartInferiorFrontalGyrus", "FrontalOperculum"),
    "Frontal_Inf_Orb_2": ("OrbitalPartInferiorFrontalGyrus",),
    "Frontal_Inf_Tri": ("TriangularPartInferiorFrontalGyrus",),
    "Frontal_Med_Orb": ("MedialFrontalCortex",),
    "Frontal_Mid_2": ("MiddleFrontalGyrus",),
    "Frontal_Sup_2": ("SuperiorFrontalGyrus", "FrontalPole"),
    "Frontal_Sup_Medial": ("SuperiorFrontalGyrusMedialSegment",),
    "Fusiform": ("FusiformGyrus", "OccipitalFusiformGyrus"),
    "Heschl": ("TransverseTemporalGyrus",),
    "Hippocampus": ("Hippocampus",),
    "Insula": ("AnteriorInsula", "PosteriorInsula"),
    "Lingual": ("LingualGyrus",),
    "OFCant": ("AnteriorOrbitalGyrus",),
    "OFClat": ("LateralOrbitalGyrus",),
    "OFCmed": ("MedialOrbitalGyrus",),
    "OFCpost": ("PosteriorOrbitalGyrus",),
    "Occipital_Inf": ("InferiorOccipitalGyrus",),
    "Occipital_Mid": ("MiddleOccipitalGyrus", "OccipitalPole"),
    "Occipital_Sup": ("SuperiorOccipitalGyrus",),
    "Olfactory": ("SubcallosalArea",),
    "Paracentral_Lobule": ("PrecentralGyrusMedialSegment", "PostcentralGyrusMedialSegment"),
    "ParaHippocampal": ("ParahippocampalGyrus", "EntorhinalArea"),
    "Parietal_Inf": ("AngularGyrus",),
    "Parietal_Sup": ("SuperiorParietalLobule",),
    "Postcentral": ("PostcentralGyrus",),
    "Precentral": ("PrecentralGyrus",),
    "Precuneus": ("Precuneus",),
    "Rectus": ("GyrusRectus",),
    "Rolandic_Oper": ("CentralOperculum",),
    "SupraMarginal": ("SupramarginalGyrus", "ParietalOperculum"),
    "Supp_Motor_Area": ("SupplementaryMotorCortex",),
    "Temporal_Inf": ("InferiorTemporalGyrus",),
    "Temporal_Mid": ("MiddleTemporalGyrus",),
    "Temporal_Pole_Mid": ("TemporalPole",),
    "Temporal_Pole_Sup": ("TemporalPole",),
    "Temporal_Sup": ("SuperiorTemporalGyrus", "PlanumPolare", "PlanumTemporale"),
    "Ventricles": ("3rdVentricle", "InfLatVentricle", "LateralVentricle"),
}


def labels_of(region: str, names: Mapping[str, int], given: Mapping[str, list[str]]) -> tuple[int, ...]:
    """Return the labels of a segmentation that make up a region, of one side where the region has one.

    Args:
        region: AAL2's name, e.g. Hippocampus (both sides) or Hippocampus_L.
        names: name -> label of the segmentation.
        given: region without its side, or with it -> names of labels, by the user; goes before names alike and MUSE's.
    Raises:
        UserError: the region is not in the segmentation, or the user names a label that it lacks.
    """
    whole = merged_name(region)
    side = region[-1] if whole != region else ""
    if region in given or whole in given:
        chosen = given.get(region, given.get(whole, []))
        unknown = next((name for name in chosen if name not in names), None)
        if unknown is not None:
            raise UserError(f"cohort.simulation.heads.regions: {region}: no label is called {unknown}")
        found = [name for name in chosen if region in given or _is_of(name, side)]
    else:
        parts = MUSE.get(whole, ())
        found = [name for name in names if merged_name(name) in parts and _is_of(name, side)]
        if not {merged_name(name) for name in found}.issuperset(parts):  # no segmentation by MUSE
            found = []
        # After it: the table of MUSE has names for sums of labels as well, such as Ventricles.
        found = found or [name for name in names if name == region or (not side and merged_name(name) == whole)]
    if not found:
        raise UserError(
            f"cohort.simulation.heads.labels: no label is called {region}; say which ones it is with "
            f"cohort.simulation.heads.regions={{{whole}: [NAME_L, NAME_R]}}"
        )
    return tuple(sorted(names[name] for name in found))


def _is_of(name: str, side: str) -> bool:
    """Tell whether a label belongs to a side: those without a side of their own belong to none."""
    return not side or (merged_name(name) != name and name.endswith(side))
