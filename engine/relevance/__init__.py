"""Relevance methods. Adding one: a file with one frozen dataclass, and its name here."""

from engine.relevance.area_occlusion import AreaOcclusion
from engine.relevance.base import Brain, Relevance, RelevanceMethod
from engine.relevance.batching import BatchSize
from engine.relevance.deeplift import DeepLift
from engine.relevance.grad_cam import GradCam
from engine.relevance.guided_backprop import GuidedBackprop
from engine.relevance.guided_grad_cam import GuidedGradCam
from engine.relevance.input_x_gradient import InputXGradient
from engine.relevance.integrated_gradients import IntegratedGradients
from engine.relevance.intensity import Intensity
from engine.relevance.linear_pattern import LinearPattern
from engine.relevance.linear_weights import LinearWeights
from engine.relevance.lrp import LayerwiseRelevance
from engine.relevance.occlusion import Occlusion
from engine.relevance.segment_occlusion import SegmentOcclusion
from engine.relevance.sensitivity import Sensitivity
from engine.relevance.smooth_random import SmoothRandom
from engine.relevance.smoothgrad import SmoothGrad
from engine.relevance.sobel import Sobel
from engine.relevance.t_map import TMap

METHODS: dict[str, type[RelevanceMethod]] = {
    m.name: m
    for m in (
        Sensitivity, GuidedBackprop, Occlusion, AreaOcclusion, SegmentOcclusion, InputXGradient, IntegratedGradients,
        SmoothGrad, DeepLift, LayerwiseRelevance, GradCam, GuidedGradCam, Sobel, Intensity, SmoothRandom, TMap,
        LinearWeights, LinearPattern,
    )
}  # fmt: skip

__all__ = [
    "METHODS", "AreaOcclusion", "BatchSize", "Brain", "DeepLift", "GradCam", "GuidedBackprop", "GuidedGradCam",
    "InputXGradient", "IntegratedGradients", "Intensity", "LayerwiseRelevance", "LinearPattern", "LinearWeights",
    "Occlusion", "Relevance", "RelevanceMethod", "SegmentOcclusion", "Sensitivity", "SmoothGrad", "SmoothRandom",
    "Sobel", "TMap",
]  # fmt: skip
