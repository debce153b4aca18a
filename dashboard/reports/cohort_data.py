"""What a cohort report is about, and the look of its pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.reports.layout import INNER, MARGIN, QUIET, Page
from store import RunReader

FOOT = 284.0
END = FOOT - 6
PAPER_GROUPS = ("AD", "NC")


@dataclass(frozen=True)
class CohortReportData:
    """The content of a cohort report: a run by one model set, with the evidence for one target; no number below
    `fewest`.
    """

    run: RunReader
    model_set: str
    target: str
    methods: list[str]
    fewest: int = 0

    @property
    def groups(self) -> Sequence[str]:
        return self.run.groups

    @property
    def like_the_paper(self) -> bool:
        """Whether the groups are those of the paper, so that its values may stand beside."""
        return tuple(self.groups) == PAPER_GROUPS

    @property
    def evidence(self) -> str:
        """The target in words."""
        return self.target if self.target in self.groups else f"the {self.target} group"


def begin(title: str, sentence: str) -> tuple[Page, float]:
    """Begin a page with its heading, and return where its content begins."""
    page = Page()
    page.text(MARGIN, 21, title, 15, weight="bold")
    return page, page.paragraph(MARGIN, 28, sentence, INNER, 7.8, color=QUIET) + 2
