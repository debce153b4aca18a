"""How far the heatmaps of a run can be believed: truth, randomisation, stability, faithfulness, anatomy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dashboard.data.runs import Run
from dashboard.shell import page, run_picker, url_state
from dashboard.shell.page import Download
from dashboard.views.trust import anatomy, curves, leaderboard, randomisation, stability, truth, words

TITLE = "Trust"


@dataclass(frozen=True)
class Part:
    """A part of the page: what shows it and returns its downloads, and its formula and source."""

    title: str
    show: Callable[[Run], list[Download]]
    formula: str
    source: str


PARTS = {
    "board": Part(
        "Leaderboard", leaderboard.section, r"\Delta = s_{\mathrm{trained}} - s_{\mathrm{knows\ nothing}}",
        "What each measure is, its interval and its reference: docs/definitions.md, Trust, and docs/truth.md.",
    ),
    "truth": Part("Truth", truth.section, truth.FORMULA, truth.SOURCE),
    "deletion": Part("Deletion", curves.section, curves.FORMULA, curves.SOURCE),
    "randomisation": Part("Randomisation", randomisation.section, randomisation.FORMULA, randomisation.SOURCE),
    "stability": Part("Stability", stability.section, stability.FORMULA, stability.SOURCE),
    "anatomy": Part("Anatomy", anatomy.section, anatomy.FORMULA, anatomy.SOURCE),
}  # fmt: skip
HOW = (
    "A heatmap deserves belief where several independent questions speak for it: does it find what is known to be "
    "there, does it follow what the network learned, does it stay when the network is trained again, and does the "
    "decision change when what it marks is deleted. Each has a reference that a map without any knowledge reaches, "
    "and only what exceeds it counts."
)


def main() -> None:
    """Show the Trust page."""
    run = run_picker.current_run()
    head = page.Header(TITLE, words.set_words(run))
    if words.instead_of_all(run):
        page.provenance(run)
        head.finish()
        return
    chosen = url_state.choose(
        "t_part", "Part", list(PARTS), widget="segmented", words=lambda key: PARTS[key].title,
        label_visibility="collapsed",
    )  # fmt: skip
    part = PARTS[chosen]
    files = part.show(run)
    page.how_to_read(HOW, part.formula, part.source)
    page.provenance(run, "Held-out test set")
    head.finish(files)


page.body(main)
