"""How methods, regions and numbers are written everywhere."""

from __future__ import annotations

import math
import re

from dashboard.text.region_names import known_name
from store import words

METHODS = {
    "sensitivity": "Sensitivity analysis",
    "guided_backprop": "Guided backpropagation",
    "occlusion": "Occlusion",
    "area_occlusion": "Brain area occlusion",
    "segment_occlusion": "Segment occlusion",
    "input_x_gradient": "Input × gradient",
    "integrated_gradients": "Integrated gradients",
    "smoothgrad": "SmoothGrad",
    "deeplift": "DeepLIFT",
    "lrp": "LRP",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "sobel": "Edges (no explanation)",
    "intensity": "Intensity |z| (no explanation)",
    "smooth_random": "Random map (no explanation)",
    "t_map": "Welch t map (no explanation)",
    "linear_weights": "Linear weights (no explanation)",
    "linear_pattern": "Linear pattern (no explanation)",
}
COARSE = {"grad_cam": "units of the last convolution, interpolated"}  # maps with fewer numbers than their voxels
HOW_TO_READ = {
    "sensitivity": "How strongly the decision reacts to a small change of a voxel: |gradient of the margin|.",
    "guided_backprop": "The same gradient, keeping only what adds evidence at every ReLU.",
    "occlusion": "How far the decision drops when a cube of tissue is replaced.",
    "area_occlusion": "How far the decision drops when a whole atlas region, left or right, is replaced.",
    "segment_occlusion": "How far the decision drops when a segment of the scan is replaced: the mean over coarse and "
    "fine segments, found by intensity.",
    "input_x_gradient": "What a voxel's difference from the training mean adds to the decision, to first order.",
    "integrated_gradients": "What each voxel adds to the decision on the way from the training mean to the scan.",
    "smoothgrad": "The gradient, averaged over noisy copies of the scan.",
    "deeplift": "What each voxel adds to the decision, by how far activations differ from those of the training mean.",
    "lrp": "Layer-wise relevance propagation: the decision, handed back from layer to layer to the voxels.",
    "grad_cam": "Where the last convolution finds evidence: coarse, and interpolated between its units.",
    "guided_grad_cam": "Guided backpropagation where Grad-CAM finds evidence.",
    "sobel": "No explanation: where the scan has edges, whatever the network does.",
    "intensity": "No explanation: how far each voxel is from the training mean, whatever the network does.",
    "smooth_random": "No explanation: smooth noise, to show what a map without information looks like.",
    "t_map": "No explanation: where the training groups differ (Welch's t), whatever the network does.",
    "linear_weights": "No explanation: weights of a linear classifier of the training scans; the network is not asked.",
    "linear_pattern": "No explanation: where that linear classifier finds its signal (Haufe et al. 2014).",
}
CLASSIFIERS = {"cnn": "3D CNN", "region_means": "Linear: region means", "covariates": "Linear: covariates"}
ERRORS = {"mae": "Mean absolute error", "rmse": "Root mean square error", "r": "Pearson r", "r2": "R²"}
MODEL_SETS = {"holdout": "Held-out test set", "folds": "Cross-validation"}
SET_SENTENCES = {
    "holdout": "One model, trained without the fixed test set, explains the scans.",
    "folds": "Each fold's model explains only the scans it was not trained on.",
}
NONE = "–"
MARKUP = re.compile(r"[\\`*\[\]<>#~$|&^{}]|(?<![^\W_])_|_(?![^\W_])")
# What becomes an emoji, a colour, a link or an arrow even where its marks are escaped: ':smile:', 'www.', '@', '->'.
JOINED = re.compile(r"(:(?=\S)|@(?=\S)|\bwww(?=\.)|-(?=\\?>)|!(?=\\?\[))", re.IGNORECASE)
WORD_JOINER = "\u2060"  # has no width and breaks no line


def plain(text: object) -> str:
    """Write a text that is not ours for Markdown: it makes no link, picture, formula, emoji or list."""
    line = " ".join(str(text).split())
    line = JOINED.sub(rf"\1{WORD_JOINER}", MARKUP.sub(r"\\\g<0>", line))
    return re.sub(r"^(\d+)([.)])(?= |$)", r"\1\\\2", re.sub(r"^[-+=](?= |$|-|=)", r"\\\g<0>", line))


def code(text: object) -> str:
    """Write a text that is not ours as code in Markdown."""
    line = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{room}{line}{room}{fence}"


def method_name(method: str) -> str:
    """Return the name of a method as a reader writes it."""
    return METHODS.get(method, _without_marks(method).capitalize())


def in_order(methods: list[str]) -> list[str]:
    """Sort methods: the paper's four first, then the others by name."""
    return sorted(set(methods), key=lambda m: (list(METHODS).index(m) if m in METHODS else len(METHODS), m))


def network_name(model: str) -> str:
    """Write fold-3 as fold 3, holdout as held-out, holdout-seed-2 as held-out, retrained 2."""
    first, _, number = model.partition("-seed-")
    first = "held-out" if first == "holdout" else plain(first.replace("fold-", "fold "))
    return f"{first}, retrained {plain(number)}" if number else first


def seed_words(name: str) -> str:
    """Write what a seed of the manifest is of: the whole run, or a network as it is called on every page."""
    words = "whole run" if name == "run" else network_name(name)
    return words[:1].upper() + words[1:]


def region_name(region: str) -> str:
    """Write Temporal_Mid_L as Middle temporal gyrus, left; a name of another atlas than AAL as it is, without marks."""
    return known_name(region) or _without_marks(region)


def region_with_code(region: str) -> str:
    """Write the name of a region with its code in the atlas, for what appears under the pointer."""
    name = region_name(region)
    return name if known_name(region) in (None, region) else f"{name} ({region})"


def _without_marks(name: str) -> str:
    """Reduce a name that a run gives to letters, digits and what joins them, for Markdown, charts and paper."""
    return re.sub(r"[^\w ,.()+/'’&-]|_", " ", name).strip()


def three(value: float | None) -> str:
    """Write three significant digits, without exponents: 0.770, 12.3, 1,360,000, −0.0250."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    # Rounding may add a digit: 9.996 is 10.0.
    digits = 2 - math.floor(math.log10(abs(round(value, digits))))
    return f"{round(value, digits):,.{max(digits, 0)}f}".replace("-", "−")


def probability(value: float | None) -> str:
    """Write a probability with three digits; never as a certainty, however sure a network is."""
    if value is None or not math.isfinite(value):
        return NONE
    return "< 0.001" if value < 0.001 else "> 0.999" if value > 0.999 else three(value)


def correlation(value: float | None) -> str:
    """Write a correlation with two decimals and a true minus sign."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:.2f}".replace("-", "−")


AGREES, AGREES_IN_PART = 0.7, 0.4  # median rank correlation from which methods are said to agree


def agreement_verdict(median: float) -> str:
    """Say whether methods agree, by the median of their rank correlations: agree, agree in part, do not agree."""
    return "agree" if median >= AGREES else "agree in part" if median >= AGREES_IN_PART else "do not agree"


def mean_sd(mean: float | None, sd: float | None) -> str:
    """Write 0.770 ± 0.061: the spread with the decimals of the mean; the mean alone where there is no spread."""
    text = "0.000" if mean == 0 else three(mean)
    if text == NONE or sd is None or not math.isfinite(sd):
        return text
    decimals = len(text.partition(".")[2])
    return f"{text} ± {sd:,.{decimals}f}"


def interval(low: float | None, high: float | None) -> str:
    """Write 95 % CI 0.890 to 0.960; empty where it is not known."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"95 % CI {_decimals(low)} to {_decimals(high)}"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write 0.930 (0.890 to 0.960); the number alone where its interval is not known."""
    text = three(value)
    if low is None or high is None or not interval(low, high) or text == NONE:
        return text
    return f"{text} ({_decimals(low)} to {_decimals(high)})"


def _decimals(value: float) -> str:
    """Write the ends of intervals from -1 to 1 with three decimals, as what they belong to."""
    return f"{value:.3f}".replace("-", "−") if abs(value) <= 1 else three(value)


def signed(value: float) -> str:
    """Write a difference: +0.012, −0.300."""
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else NONE


def percent(share: float | None) -> str:
    """Write a share as a percentage with three significant digits."""
    text = three(None if share is None else 100 * share)
    return text if text == NONE else f"{text} %"


def count(number: int, noun: str) -> str:
    """Write 1 scan, 2 scans."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def heatmaps(maps: int, scans: int) -> str:
    """Write '3 scans'; where several models explain a scan, '6 heatmaps of 3 scans'."""
    return count(scans, "scan") if maps <= scans else f"{count(maps, 'heatmap')} of {count(scans, 'scan')}"


def duration(seconds: float | None) -> str:
    """Write seconds as 28 s, 4 min 10 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    return f"{three(seconds)} s" if seconds < 10 else words.duration(seconds)


def size(count_of_bytes: float) -> str:
    """Write bytes as 812 kB, 1.70 GB."""
    for unit, edge in (("GB", 1e9), ("MB", 1e6)):
        if count_of_bytes >= edge:
            return f"{three(count_of_bytes / edge)} {unit}"
    return f"{three(count_of_bytes / 1e3)} kB"
