"""Relevance methods. Adding one: a file with one frozen dataclass, and its name here."""

from engine.relevance.area_occlusion import AreaOcclusion
from engine.relevance.base import Brain, Relevance, RelevanceMethod
from engine.relevance.batching import BatchSize
from engine.relevance.guided_backprop import GuidedBackprop
from engine.relevance.occlusion import Occlusion
from engine.relevance.segment_occlusion import SegmentOcclusion
from engine.relevance.sensitivity import Sensitivity

METHODS: dict[str, type[RelevanceMethod]] = {
    m.name: m for m in (Sensitivity, GuidedBackprop, Occlusion, AreaOcclusion, SegmentOcclusion)
}

__all__ = [
    "METHODS", "AreaOcclusion", "BatchSize", "Brain", "GuidedBackprop", "Occlusion", "Relevance", "RelevanceMethod",
    "SegmentOcclusion", "Sensitivity",
]  # fmt: skip
