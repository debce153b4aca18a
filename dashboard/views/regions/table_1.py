"""The paper's table 1: the first regions of every method, beside what was published, and as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dashboard.text.formatting import NONE, method_name, region_name
from dashboard.text.paper import SHORT

ORDINALS = ["1st", "2nd", "3rd", "4th"]
RANKS = len(ORDINALS)
COLUMNS = ["method", "rank", "region", "value"]


def first_regions(rankings: Mapping[str, pd.DataFrame], diagnosis: str, count: int = RANKS) -> pd.DataFrame:
    """Return the first regions of each method: method, rank, region, value (a share of 1)."""
    rows = []
    for method, frame in rankings.items():
        first = frame[(frame["diagnosis"] == diagnosis) & (frame["rank"] <= count).fillna(False)].sort_values("rank")
        rows.append(first.assign(method=method)[COLUMNS])
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def ranks_of_paper_regions(frame: pd.DataFrame, diagnosis: str, regions: pd.DataFrame) -> dict[str, int]:
    """Return the paper's name of a region -> its rank here, left and right added.

    The best rank where we have several parts of it.
    """
    ranks = frame[frame["diagnosis"] == diagnosis].set_index("region")["rank"].dropna()
    names = regions.drop_duplicates("merged")
    found: dict[str, int] = {}
    for merged, paper in zip(names["merged"], names["paper"], strict=True):
        if merged in ranks.index:
            found[paper] = min(int(ranks[merged]), found.get(paper, len(ranks)))
    return found


def beside_paper(
    rankings: Mapping[str, pd.DataFrame], diagnosis: str, regions: pd.DataFrame,
    paper: Mapping[str, Sequence[tuple[str, float]]],
) -> pd.DataFrame:  # fmt: skip
    """Return table 1 as text: one row a method, below it what was published; empty `paper` leaves that out.

    Args:
        paper: method -> (region with the paper's name, percent), the first region first.
    """
    table, rows = first_regions(rankings, diagnosis), []
    names = dict(zip(regions["paper"], regions["merged"], strict=True))
    for method, frame in rankings.items():
        ours = table[table["method"] == method]
        cells = [f"{region_name(row.region)} {_percent(100 * row.value)}" for row in ours.itertuples()]
        rows.append([method_name(method), *cells])
        if method in paper:
            ranks = ranks_of_paper_regions(frame, diagnosis, regions)
            theirs = [_published(name, value, ranks, names) for name, value in paper[method]]
            rows.append([SHORT, *theirs])
    filled = [(row + [NONE] * (RANKS + 1))[: RANKS + 1] for row in rows]
    return pd.DataFrame(filled, columns=["Method", *ORDINALS])


def _published(paper: str, value: float, ranks: Mapping[str, int], names: Mapping[str, str]) -> str:
    here = f"({ranks[paper]})" if paper in ranks else "(not in this atlas)"
    return f"{region_name(names.get(paper, paper))} {_percent(value)} {here}"


def _percent(value: float) -> str:
    return f"{value:.1f} %"


LATEX_ESCAPES = str.maketrans({"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#"})


def latex(
    tables: Mapping[str, pd.DataFrame], method_names: Mapping[str, str], names: Mapping[str, str], note: str
) -> str:
    """Write table 1 as LaTeX (booktabs): diagnoses above each other, a column a method.

    Args:
        tables: diagnosis -> from `first_regions`.
        method_names, names: how methods and regions are written.
        note: the caption.
    """
    methods = list(dict.fromkeys(m for table in tables.values() for m in table["method"]))
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{note.translate(LATEX_ESCAPES)}}}",
        rf"\begin{{tabular}}{{ll{'l' * len(methods)}}}", r"\toprule",
        " & ".join(["Group", "Rank", *(method_names[m].translate(LATEX_ESCAPES) for m in methods)]) + r" \\",
    ]  # fmt: skip
    for diagnosis, table in tables.items():
        cells = {
            (row.method, row.rank): rf"{names[row.region]} ({100 * row.value:.1f} %)" for row in table.itertuples()
        }
        lines.append(r"\midrule")
        for rank in sorted(table["rank"].unique()):
            row = [diagnosis if rank == 1 else "", str(rank), *(cells.get((m, rank), "") for m in methods)]
            lines.append(" & ".join(text.translate(LATEX_ESCAPES) for text in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
