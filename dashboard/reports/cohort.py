"""The results of a run on paper: accuracy, the figure and the two tables of the paper, provenance."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dashboard.data.accuracy import confusion_counts, folds_behind, mean_and_sd, value_with_interval
from dashboard.data.cohort import balance_sentence, cohort_table
from dashboard.reports import layout
from dashboard.reports.cohort_data import END, FOOT, CohortReportData, begin
from dashboard.reports.cohort_figure import figure
from dashboard.reports.cohort_tables import table_1, table_2
from dashboard.reports.layout import ALARM, INNER, MARGIN, QUIET, Column, Page
from dashboard.text import formatting, paper
from dashboard.text.formatting import count, mean_sd, percent, three
from dashboard.text.outputs import answer_of
from dashboard.text.paper import PAPER_METRICS
from store import NotInRunError, RunReader
from store.accuracy import metrics_of
from store.export import nifti
from store.keys import ModelName, are_of_folds
from store.reading.truth import has_truth
from store.reading.verdict import verdict

METRICS = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "auc": "AUC"}
ERRORS = {name: formatting.ERRORS[name] for name in ("mae", "r", "r2")}


def cohort_report(run: RunReader, *, model_set: str, target: str, created: str | None = None, fewest: int = 0) -> bytes:
    """Write several A4 pages as PDF; nobody is named in them.

    Args:
        model_set: folds or holdout.
        target: a group, true or predicted.
        created: ISO 8601, when the report was made; not printed if None.
        fewest: subjects; for readers who may see no single patients, no number below it is given.
    Raises:
        NotInRunError: the model set has no group averages.
        BrokenRunError: a table or an average is missing or damaged.
    """
    pages = cohort_pages(run, model_set, target, created, fewest)
    return layout.pdf(pages, f"Cohort report, run {run.run_id}", created or str(run.manifest.get("created", "")))


def cohort_pages(run: RunReader, model_set: str, target: str, created: str | None, fewest: int = 0) -> list[Page]:
    """Draw the pages; arguments and errors as for `cohort_report`."""
    methods = [method for name, method in nifti.group_families(run) if name == model_set]
    if not methods:
        raise NotInRunError(f"run {run.run_id} has no group averages of model set {model_set}: choose another")
    data = CohortReportData(run, model_set, target, methods, fewest)
    distances, y = table_2(data)
    pages = [_first_page(data), *figure(data), *table_1(data), *distances, *_provenance(data, distances[-1], y)]
    said = verdict(run)
    for number, page in enumerate(pages, 1):
        _frame(page, data, (number, len(pages)), created)
        if said is not None and said.banner:
            page.text(MARGIN, 8, said.banner, 8, color=ALARM, weight="bold")
            page.text(MARGIN, 11.5, f"{said.figures}.", 6.5, color=ALARM)
    return pages


def _frame(page: Page, data: CohortReportData, numbers: tuple[int, int], created: str | None) -> None:
    """Draw the badge, and what stands at the foot of every page."""
    if data.run.simulated:
        page.badge(MARGIN + INNER, 18, "SIMULATED")
    page.rule(FOOT)
    report = f" · report of {created[:10]}" if created else ""
    page.text(MARGIN, FOOT + 4, f"Run {data.run.run_id}{report}", 6.5, color=QUIET)
    page.text(MARGIN + INNER / 2, FOOT + 4, f"{nifti.DISCLAIMER}.", 7, color=ALARM, weight="bold", ha="center")
    page.text(MARGIN + INNER, FOOT + 4, f"{numbers[0]} / {numbers[1]}", 6.5, color=QUIET, ha="right")


# -- page 1: what, of whom, how well ----------------------------------------------------------------------------------


def _first_page(data: CohortReportData) -> Page:
    run, manifest = data.run, data.run.manifest
    scans, predictions = run.table("scans"), run.table("predictions")
    kind = f"simulated brains{_truth_words(run)}" if run.simulated else manifest["cohort"]
    page = Page()
    page.text(MARGIN, 21, "Cohort report", 18, weight="bold")
    page.text(MARGIN, 28.5, layout.shortened(str(manifest.get("name", run.run_id)), INNER, 11), 11, weight="bold")
    y = page.paragraph(
        MARGIN, 35,
        f"A 3D convolutional network {_task(data)} on structural MRI. Cohort: {kind}"
        f"{_size(scans, data.fewest)}, {manifest['grid_mm']:g} mm grid. "
        f"This report shows the {formatting.MODEL_SETS[data.model_set].lower()}: "
        f"{_lower(formatting.SET_SENTENCES[data.model_set])} Evidence for {data.evidence} is explained, by "
        f"{count(len(data.methods), 'method')}.",
        INNER, 8.5,
    )  # fmt: skip
    y = _cohort(page, scans, data, y + 6)
    if (said := verdict(run)) is not None and said.baseline:
        y = page.paragraph(MARGIN, y + 1, said.baseline, INNER, 7.5, "bold", ALARM)
    y = _accuracy(page, data, y + 5)
    if not answer_of(manifest).is_value:
        _confusion(page, data, predictions, y + 5)
    return page


def _truth_words(run: RunReader) -> str:
    """Say of a simulated cohort whether a disease was imposed on it, after a comma."""
    if answer_of(run.manifest).is_value:
        return ""
    return ", the change imposed and so known" if has_truth(run) else ", with no disease imposed"


def _size(scans: pd.DataFrame, fewest: int) -> str:
    """Write "; 40 scans of 40 subjects", or nothing where the number of a small group would follow from it."""
    if scans.groupby("diagnosis").subject.nunique().min() < fewest:
        return ""
    return f"; {count(len(scans), 'scan')} of {count(scans.subject.nunique(), 'subject')}"


def _task(data: CohortReportData) -> str:
    answer = answer_of(data.run.manifest)
    if answer.is_value:
        return f"predicts {answer.label} (shown as two groups, divided at {answer.number(answer.middle)})"
    return f"tells {data.groups[0]} from {data.groups[1]}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _cohort(page: Page, scans: pd.DataFrame, data: CohortReportData, y: float) -> float:
    """Say who is in the run, in the table of the Overview page."""
    run, fewest = data.run, data.fewest
    page.text(MARGIN, y, "Who", 10, weight="bold")
    table = cohort_table(scans, run.groups, fewest)
    columns = [
        Column("Group", 36), Column("Subjects", 15, "r"), Column("Scans", 14, "r"), Column("Women", 24, "r"),
        Column("Age, mean ± SD (range)", 42, "r"), Column("MMSE, mean ± SD", 34, "r"), Column("Test set", 17, "r"),
    ]  # fmt: skip
    rows = [[layout.shortened(row[0], 35, 7.5), *row[1:]] for row in table.itertuples(index=False, name=None)]
    y = page.table(MARGIN, y + 6, columns, rows, 7.5)
    left_out = run.table("exclusions", ["scan"]).scan.nunique() if run.has_table("exclusions") else 0
    balance = balance_sentence(run.table("balance"), run.groups) if run.has_table("balance") else ""
    number = f"Fewer than {fewest} scans" if left_out < fewest else count(left_out, "scan")
    excluded = f"{number} left out, with reasons in the run." if left_out else "No scan was left out."
    return page.paragraph(MARGIN, y, f"{excluded} {balance}", INNER, 7.2, color=QUIET)


def _accuracy(page: Page, data: CohortReportData, y: float) -> float:
    """Tell how well networks, linear baselines and the paper do: every fold, mean and SD, the held-out test set."""
    metrics = metrics_of(data.run)
    folds = sorted(metrics.model[are_of_folds(metrics.model)].unique(), key=lambda m: (len(m), m))
    found = set(metrics.classifier)
    classifiers = [c for c in formatting.CLASSIFIERS if c in found]
    page.text(MARGIN, y, "How well", 10, weight="bold")
    each = min(10.0, 52 / max(len(folds), 1))
    columns = [
        Column("", 34), *(Column(str(ModelName(f).fold), each, "r") for f in folds), Column("Mean ± SD", 28, "r"),
        Column("All folds (95 % CI)", 34, "r"), Column("Held out (95 % CI)", 34, "r"),
    ]  # fmt: skip
    size = 6.8 if len(folds) <= 6 else 5.6
    y += 1
    answer = answer_of(data.run.manifest)
    for metric, name in (ERRORS if answer.is_value else METRICS).items():
        name = f"{name}, {answer.unit}" if metric == "mae" and answer.unit else name
        values = {(r.classifier, r.model): r.value for r in _of(metrics, metric).itertuples()}
        rows = [
            [formatting.CLASSIFIERS[c], *(three(values.get((c, f))) for f in folds),
             _mean(metrics, metric, c),
             *(formatting.with_interval(*value_with_interval(metrics, m, metric, c)) for m in ("folds", "holdout"))]
            for c in classifiers
        ]  # fmt: skip
        if metric in PAPER_METRICS and data.like_the_paper:
            mean, sd = PAPER_METRICS[metric]
            rows.append([paper.SHORT, *([""] * len(folds)), f"{mean:.2f} ± {sd:.2f}", "", ""])
        y = page.table(MARGIN, y + 5, [replace(columns[0], heading=name), *columns[1:]], rows, size)
    held = int((data.run.table("predictions", ["correct"], model="holdout").correct.notna()).sum())
    note = f"By scan. Columns 1 to {len(folds)}: folds; SD over folds. " if folds else "Not cross-validated. "
    note += f"Held out: the fixed test set, n = {count(held, 'scan')}. " if held else ""
    note += "CI: bootstrap over subjects or score interval, the wider; none of fewer than 5 subjects a group. "
    note += "The linear models were fitted in the same folds. "
    note += "The paper's cohort is ADNI: a comparison, not a target." if data.like_the_paper else ""
    return page.paragraph(MARGIN, y, note, INNER, 7.2, color=QUIET)


def _mean(metrics: pd.DataFrame, metric: str, classifier: str) -> str:
    """Write mean ± SD over the folds, and of how many where some have no value."""
    known, folds = folds_behind(metrics, metric, classifier)
    text = mean_sd(*mean_and_sd(metrics, metric, classifier))
    return f"{text} ({known} of {folds})" if 0 < known < folds else text


def _of(metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    return metrics[(metrics.metric == metric) & (metrics.level == "scan")]


def _confusion(page: Page, data: CohortReportData, predictions: pd.DataFrame, y: float) -> None:
    counts = confusion_counts(predictions, data.model_set, data.groups)
    totals = counts.sum(axis=1)
    if ((counts > 0) & (counts < data.fewest)).any():
        return
    page.text(MARGIN, y, f"Confusion, {formatting.MODEL_SETS[data.model_set].lower()}", 10, weight="bold")
    rows = [
        [f"{group}, n = {total}", *(f"{n} ({percent(n / total)})" if total else formatting.NONE for n in row)]
        for group, total, row in zip(data.groups, totals, counts, strict=True)
    ]
    columns = [Column("True group", 50), *(Column(f"predicted {g}", 36, "r") for g in data.groups)]
    page.table(MARGIN, y + 6, columns, rows, 7.5)


# -- the last page ------------------------------------------------------------------------------------------------


def _provenance(data: CohortReportData, page: Page, y: float) -> list[Page]:
    """Write what the results were made from, whose work they rest on, how to cite; return the pages that were added."""
    manifest = data.run.manifest
    versions, created = manifest.get("versions", {}), str(manifest.get("created", ""))
    facts = {
        "Run": data.run.run_id, "Made": created, "Cohort": manifest.get("cohort", ""),
        "Working grid": f"{manifest.get('grid_mm', 0):g} mm", "Fingerprint of the results": manifest["fingerprint"],
        "Fingerprint of the data": manifest["data_fingerprint"], "Code": manifest.get("commit") or "not recorded",
        "Computed on": manifest.get("device", ""),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }  # fmt: skip
    notices = [n for n in manifest.get("notices", []) if nifti.DISCLAIMER not in n]
    fingerprint = manifest["fingerprint"][:16]
    this = (
        f"Brainwhy {versions.get('brainwhy', '')}, run {data.run.run_id} (fingerprint {fingerprint}), {created[:10]}."
    )
    added = []
    if y + 75 + 8 * len(notices) > END:
        page, y = begin("Provenance", "Which data, settings and code made these results.")
        added.append(page)
    else:
        page.text(MARGIN, y + 6, "Provenance", 10, weight="bold")
        y += 12
    for name, value in facts.items():
        page.text(MARGIN, y, name, 7.2, color=QUIET)
        y = page.paragraph(MARGIN + 44, y, str(value), INNER - 44, 7.2) + 0.8
    for title, lines in (("Notices", [f"{nifti.DISCLAIMER}.", *notices]), ("How to cite", [this, paper.CITATION])):
        page.text(MARGIN, y + 4, title, 10, weight="bold")
        y += 9.5
        for line in lines:
            y = page.paragraph(MARGIN, y, line, INNER, 7.2) + 0.8
    return added
