"""Tables 1 and 2 and figure 1 of Rieke et al. 2018, of a run, in the paper's own format: LaTeX, CSV, PNG and SVG."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from store.errors import NotInRunError
from store.export.csv import csv_text
from store.export.figure_1 import figure_one
from store.export.methods_text import methods_text
from store.export.nifti import METHOD_TITLES, diagnoses_of, file_name, group_families, paper_model_set
from store.files.atomic import write_bytes
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings, as_dict, average_scale, scale_words
from store.reading.verdict import verdict

REGIONS = 4  # a method and group, as in the paper
SIMULATED = "SIMULATED"


def table_one(run: RunReader, model_set: str | None = None, target: str | None = None) -> pd.DataFrame:
    """List the regions of greatest relevance: rows group and rank, columns region and percent of every method.

    Percent: sum of the group average in the region / sum over all regions of the atlas, left and right added. Names are
    the paper's. Source: Rieke et al. 2018, table 1.

    Args:
        model_set: the holdout, as in the paper, where the run has it; else the folds.
        target: whose evidence: true, predicted or a group; None: as in the run's settings, and so as in table 2.
    Returns:
        columns group, rank, and for each method <method> and <method>_percent.
    Raises:
        NotInRunError: the run has no ranking for the model set or for this target.
    """
    model_set, target = model_set or paper_model_set(run), target or AnalysisSettings.of(run).target
    names = run.table("regions", ["merged", "paper"]).drop_duplicates("merged").set_index("merged")["paper"]
    ranking = run.table("group_regions", model_set=model_set, target=target, merged=True)
    methods = methods_of(run, model_set)
    if ranking.empty:
        raise NotInRunError(f"run {run.run_id} has no ranking of regions for model set {model_set} and target {target}")
    rows = []
    for group in run.groups:
        chosen = ranking[ranking["diagnosis"].isin(diagnoses_of(run, model_set, group))]
        for place in range(1, REGIONS + 1):
            row: dict = {"group": group, "rank": place}
            for method in methods:
                found = chosen[(chosen["method"] == method) & (chosen["rank"] == place)]
                row[method] = names[found["region"].iloc[0]] if len(found) else None
                row[f"{method}_percent"] = 100 * found["share_of_average"].iloc[0] if len(found) else float("nan")
            rows.append(row)
    table = pd.DataFrame(rows)
    # Where a method has fewer regions there is no name, in every version of pandas.
    return table.assign(**{m: pd.Series([row[m] for row in rows], dtype=object) for m in methods})


def table_two(run: RunReader, model_set: str | None = None) -> pd.DataFrame:
    """Gather the distances between the group averages of the methods, x 1e4: a row a pair, a column a group.

    Target, scale, weights and volume are those of the run's settings, so that it is of the same averages as table 1.

    Source: Rieke et al. 2018, table 2.

    Raises:
        NotInRunError: the run has no distances for the model set.
    """
    model_set = model_set or paper_model_set(run)
    found = run.table("distances", model_set=model_set, level="group")
    if found.empty:
        raise NotInRunError(f"run {run.run_id} has no distances between methods for model set {model_set}")
    known = {(r.method_a, r.method_b, run.group_of(model_set, r.diagnosis)): r.distance for r in found.itertuples()}
    rows = []
    for a, b in combinations(methods_of(run, model_set), 2):
        values = {group: known.get((a, b, group), known.get((b, a, group), float("nan"))) for group in run.groups}
        rows.append({"method_a": a, "method_b": b, **values})
    return pd.DataFrame(rows)


def methods_of(run: RunReader, model_set: str) -> list[str]:
    """List the methods of a model set, in the paper's order.

    Raises:
        NotInRunError: it has none.
    """
    found = [method for name, method in group_families(run) if name == model_set]
    if not found:
        raise NotInRunError(f"run {run.run_id} has no group maps for model set {model_set}")
    return found


def export_paper(run: RunReader, folder: str | Path) -> list[Path]:
    """Write <run>_table1 and _table2 (.csv, .tex), _figure1 (.png, .svg) and _methods.md; returns the files."""
    paths = {Path(folder) / name: data for name, data in paper_files(run).items()}
    for path, data in paths.items():
        write_bytes(path, data)
    return list(paths)


def paper_files(run: RunReader) -> dict[str, bytes]:
    """Return file name -> content of all that a paper on a run needs: tables, figure and methods."""
    model_set = paper_model_set(run)
    first, second = table_one(run, model_set), table_two(run, model_set)
    contents = {
        "table1.csv": _csv(run, model_set, first),
        "table1.tex": _tex_one(run, model_set, first).encode(),
        "table2.csv": _csv(run, model_set, second),
        "table2.tex": _tex_two(run, model_set, second).encode(),
        "figure1.png": figure_one(run, model_set=model_set),
        "figure1.svg": figure_one(run, model_set=model_set, kind="svg"),
        "methods.md": methods_text(run).encode(),
    }
    return {f"{file_name(run.run_id)}_{name}": data for name, data in contents.items()}


def paper_archive(run: RunReader) -> bytes:
    """Return `paper_files` as one ZIP archive; the same run gives the same bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in paper_files(run).items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _csv(run: RunReader, model_set: str, table: pd.DataFrame) -> bytes:
    """Write percent and distances with two decimals; every row says of which run and by which settings."""
    said = {"run": run.run_id, "model_set": model_set, **as_dict(AnalysisSettings.of(run))}
    if run.simulated:
        said["cohort"] = SIMULATED
    if (chance := verdict(run)) is not None and chance.banner:
        said["networks"] = chance.banner
    return csv_text(table.assign(**said), float_format="%.2f").encode()


def _tex_one(run: RunReader, model_set: str, table: pd.DataFrame) -> str:
    methods = methods_of(run, model_set)
    lines = [" & ".join(["", *map(_title, methods)]) + r" \\", r"\midrule"]
    for group, rows in table.groupby("group", sort=False):
        for row in rows.to_dict("records"):
            cells = [_region(row[m], row[f"{m}_percent"]) for m in methods]
            lines.append(" & ".join([_tex(group) if row["rank"] == 1 else "", *cells]) + r" \\")
        lines.append(r"\midrule")
    words = f"Regions of greatest relevance in the group averages, in percent of all regions. {_note(run, model_set)}"
    return _tabular(words, "l" * (len(methods) + 1), lines[:-1])


def _tex_two(run: RunReader, model_set: str, table: pd.DataFrame) -> str:
    lines = [" & ".join(["", *map(_tex, run.groups)]) + r" \\", r"\midrule"]
    for row in table.to_dict("records"):
        pair = f"{_title(row['method_a'])} -- {_title(row['method_b'])}"
        cells = [f"{row[group]:.2f}" if row[group] == row[group] else "--" for group in run.groups]
        lines.append(" & ".join([pair, *cells]) + r" \\")
    where = _tex(AnalysisSettings.of(run).measured())
    words = rf"Euclidean distance {where} of the methods' group averages, $\times 10^{{-4}}$. {_note(run, model_set)}"
    return _tabular(words, "l" + "r" * len(run.groups), lines)


def _region(name: str | None, percent: float) -> str:
    return rf"{_tex(name)} ({percent:.1f}\,\%)" if name is not None else "--"


def _note(run: RunReader, model_set: str) -> str:
    """Say which averages these are: whose evidence, in which scale, and who weighs the same."""
    kind = rf"\textbf{{{SIMULATED}}} cohort. " if run.simulated else ""
    settings, scales = AnalysisSettings.of(run), {}
    for method in methods_of(run, model_set):
        averaged = "gradients" if run.is_gradient(method) else "occlusions"
        scales[averaged] = f"{averaged} {scale_words(average_scale(run, model_set, method))}"
    said = _tex(f"{settings.evidence()}; {', '.join(scales.values())}; {settings.weighing()}")
    chance = verdict(run)
    if chance is not None and chance.banner:
        kind += rf"\textbf{{{_tex(chance.banner)}}} "
    return f"{kind}Averages of {said}. Run {_tex(run.run_id)}, model set {_tex(model_set)}."


def _tabular(caption: str, columns: str, lines: Sequence[str]) -> str:
    """Write a LaTeX table for a document with the package booktabs."""
    head = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    return "\n".join([*head, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _title(method: str) -> str:
    return _tex(METHOD_TITLES.get(method, method.replace("_", " ").capitalize()).replace("\n", " "))


def _tex(text: str) -> str:
    escaped = {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "\\": "/"}
    return "".join(escaped.get(letter, letter) for letter in str(text))
