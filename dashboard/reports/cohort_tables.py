"""Tables 1 and 2 of the paper from a run, with the published values beside where the groups are the same."""

from __future__ import annotations

import pandas as pd

from dashboard.reports import layout
from dashboard.reports.cohort_data import END, CohortReportData, begin
from dashboard.reports.layout import INNER, MARGIN, QUIET, Column, Page
from dashboard.text import paper
from dashboard.text.formatting import method_name, region_name, three
from dashboard.views.distances import tables as distances_tables

TOP, SIZE = 10, 6.8
HALF = (INNER - 6) / 2


def table_1(data: CohortReportData) -> list[Page]:
    """Draw the first ten regions of every method in both groups."""
    run = data.run
    ranking = run.table("group_regions", model_set=data.model_set, target=data.target)
    ranking = ranking[ranking.merged.astype(bool)]
    paper_names = run.table("regions", ["merged", "paper"]).drop_duplicates("merged").set_index("merged").paper
    pages: list[Page] = []
    y = END
    for method in data.methods:
        rows = ranking[ranking.method == method]
        height = 8 + (TOP + 2) * 1.75 * SIZE * layout.MM_PER_POINT
        if y + height > END:
            page, y = _page_1(data)
            pages.append(page)
        page.text(MARGIN, y + 3, method_name(method), 8.5, weight="bold")
        for side, group in enumerate(data.groups):
            first = rows[(rows.diagnosis == group) & rows["rank"].notna()].sort_values("rank")
            _half(page, data, (method, group), first, paper_names, (MARGIN + side * (HALF + 6), y + 8))
        y += height
    return pages


def _page_1(data: CohortReportData) -> tuple[Page, float]:
    words = (
        f"The ten regions with the largest share of the group average, evidence for {data.evidence}: percent of the "
        "relevance in all atlas regions, left and right added. Subjects whose heatmaps are 0 everywhere have none. "
    )
    if data.like_the_paper:
        words += f"ADNI: the four values published in {paper.SHORT}, to compare with, not a target."
    return begin("Table 1: regions that matter most", words)


def _half(
    page: Page,
    data: CohortReportData,
    of: tuple[str, str],
    ranked: pd.DataFrame,
    paper_names: pd.Series,
    place: tuple[float, float],
) -> None:
    """Draw one method in one group."""
    (method, group), (x, y) = of, place
    if ranked.empty:
        page.text(x, y, f"{group}: not ranked by this run for this evidence.", SIZE, color=QUIET)
        return
    there = dict(paper.TABLE_1[group].get(method, [])) if data.like_the_paper else {}
    without = ranked.without_relevance.fillna(0).max()  # earlier runs did not count them
    people = f"{group}, n = {ranked.subjects.max()}" + (f" of {ranked.subjects.max() + without}" if without > 0 else "")
    columns = [Column("", 6), Column(people, 48), Column("share, %", 17, "r")]
    columns += [Column("ADNI, %", HALF - 71, "r")] if there else []
    rows, bold = [], []
    for number, row in enumerate(ranked.head(TOP).itertuples()):
        value = there.get(paper_names.get(row.region))
        bold += [number] if value is not None else []
        rows.append([str(int(row.rank)), region_name(row.region), three(100 * row.share_of_average)])
        rows[-1] += [f"{value:.1f}" if value is not None else ""] if there else []
    below = page.table(x, y, columns, rows, SIZE, bold)
    rank = {paper_names.get(r.region): int(r.rank) for r in ranked.itertuples()}
    missing = [f"{name} {v:.1f} % (here rank {rank[name]})" for name, v in there.items() if rank.get(name, 0) > TOP]
    if missing:
        page.text(x, below - 1.4, layout.shortened(f"ADNI also: {', '.join(missing)}", HALF, 6), 6, color=QUIET)


def table_2(data: CohortReportData) -> tuple[list[Page], float]:
    """Draw distances and rank correlations of all pairs of methods; return the pages and where the last goes on."""
    found = distances_tables.select_groups(data.run.table("distances"), data.model_set, "group")
    page, y = begin(
        "Table 2: distances between methods",
        "Euclidean distance of the group averages, each divided by its sum in the brain, divided by (voxel mm)^1.5, "
        "x 1e-4; and Spearman's rank correlation over the voxels of the brain. "
        + ("ADNI: the published values, to compare with, not a target." if data.like_the_paper else ""),
    )  # fmt: skip
    shown = distances_tables.table_2(found, list(data.groups), data.like_the_paper) if len(found) else found
    if shown.empty:
        page.text(MARGIN, y + 4, "This model set has fewer than two methods to compare.", 8)
        return [page], y + 8
    headings = [_heading(c) for c in shown.columns]
    columns = [
        Column(h, 74 if n == 0 else (INNER - 74) / (len(headings) - 1), "lr"[n > 0]) for n, h in enumerate(headings)
    ]
    pages, per_page = [page], int((END - y) / (1.75 * SIZE * layout.MM_PER_POINT)) - 2
    rows = shown.to_numpy().tolist()
    for start in range(0, len(rows), per_page):
        if start:
            page, y = begin("Table 2, continued", "")
            pages.append(page)
        y = page.table(MARGIN, y + 4, columns, rows[start : start + per_page], SIZE)
    return pages, y


def _heading(column: str) -> str:
    """Shorten the columns of the Distances page."""
    return column.replace(paper.SHORT, paper.COHORT).replace("Rank correlation, ", "rank r, ")
