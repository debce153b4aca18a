"""One page on one patient: the decision, where each method sees its reasons, and how that compares with the group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.data import map_images
from dashboard.data.anatomy import template
from dashboard.drawing import palette, planes
from dashboard.drawing.colours import BAR_WIDTH
from dashboard.reports import comparison, inside, layout
from dashboard.reports.layout import ACCENT, INNER, MARGIN, QUIET, Page
from dashboard.reports.subject import Subject
from dashboard.text.formatting import in_order, mean_sd, method_name, three
from dashboard.text.outputs import OutputDescription, answer_of
from dashboard.views.patient import tables as patient_tables
from dashboard.views.shared.patient_evidence import Explained, facts_of
from dashboard.views.shared.patient_words import sentences
from dashboard.views.shared.region_values import region_at
from store import NotInRunError, RunReader
from store.export import nifti
from store.reading.trust import trust_line
from store.reading.verdict import verdict

NO_EVIDENCE = "what they say of a real scan is no evidence."
COMPARED, MOST_METHODS = 4, 10  # methods whose regions are compared with the group; methods that fit
READING, FOOT = 252.0, 280.0  # where the last words begin, in mm
LEAST_HEIGHT = 31.0  # mm of a method that is compared: below it the names of ten regions run into each other
COMPARISON, GAP, NAME = 126.0, 5.0, 4.0
SHAPE = 2.62  # width / height of three planes and their colour bar
PIXELS_PER_MM = 2


def patient_report(  # noqa: PLR0913 - what is on the page
    run: RunReader, model: str, scan: str, *, target: str, scale: str = "margin", methods: Sequence[str],
    subject_words: str, mm: tuple[float, float, float], percentile: float = 90.0, created: str | None = None,
    reference: RunReader | None = None, simulated_networks: bool = False,
) -> bytes:  # fmt: skip
    """Write one A4 page as PDF. No identifier of the subject or the scan is in it but `subject_words`.

    Args:
        target: a group, true or predicted.
        scale: margin or probability.
        methods: in the usual order the first, four at most, are compared with the group, and the first ten are drawn.
        mm: (x, y, z) of the crosshair.
        percentile: of the relevance in the brain, from which colour starts.
        created: ISO 8601, when the report was made; not printed if None.
        reference: of a new scan the run whose networks explained it; its groups are what the scan is compared with.
        simulated_networks: these were trained on simulated change.
    Raises:
        NotInRunError: the run does not hold the scan, the model's prediction of it, or a heatmap.
        BrokenRunError: it should, and does not.
    """
    if run.table("scans", ["scan"], scan=scan).empty:
        raise NotInRunError(f"run {run.run_id} has no such scan: choose one of its scans table")
    if not methods:
        raise NotInRunError(f"run {run.run_id} has no heatmaps of this scan by model {model}: choose a model that has")
    subject = Subject(run, model, scan, target, subject_words, mm, reference, simulated_networks)
    chosen = in_order(list(methods))[:MOST_METHODS]
    drawn = {method: map_images.patient_map(run, model, method, scan, target, scale) for method in chosen}
    page = patient_page(subject, drawn, percentile, created)
    return layout.pdf([page], f"Patient report, run {run.run_id}", created or str(run.manifest.get("created", "")))


def patient_page(
    subject: Subject, drawn: dict[str, map_images.MapImage], percentile: float, created: str | None
) -> Page:
    """Draw the page; arguments as for `patient_report`."""
    page = Page()
    y = _heading(page, subject)
    y = _decision(page, subject, y)
    y = _in_words(page, subject, next(iter(drawn)), y)
    y = _methods(page, subject, drawn, percentile, y)
    _reading(page, subject, y + 1)
    _provenance(page, subject, created)
    return page


def _heading(page: Page, subject: Subject) -> float:
    page.text(MARGIN, 21, "Patient report", 18, weight="bold")
    page.text(
        MARGIN + INNER, 15.5, f"{nifti.DISCLAIMER}.", 7.5, color=layout.ALARM, weight="bold", ha="right"
    )  # fmt: skip
    if subject.run.simulated or subject.simulated_networks:
        page.badge(MARGIN + INNER, 20.6, "SIMULATED" if subject.run.simulated else "SIMULATED NETWORKS")
    name = layout.shortened(subject.words, 80, 11)
    page.text(MARGIN, 28.5, name, 11, weight="bold")
    known = patient_tables.covariates(subject.row).replace("**", "")
    start = MARGIN + layout.text_mm(name, 11, "bold") + 4
    page.text(start, 28.5, layout.shortened(known, MARGIN + INNER - start, 9), 9)
    page.rule(31.5)
    y = 31.5
    if flags := subject.flags:  # what leaves the building carries the warnings that the page shows
        y = page.paragraph(MARGIN, y + 1.5, " ".join(flags), INNER, 7.2, "bold", layout.ALARM)
    return y


def _decision(page: Page, subject: Subject, y: float) -> float:
    """Show the answer of the explaining model, and of every other that may explain this scan."""
    run, answer = subject.run, answer_of(subject.run.manifest)
    said = run.table("predictions", ["model", answer.column, "observed", "predicted", "correct"], scan=subject.scan)
    own = said[said.model == subject.model]
    if own.empty:
        raise NotInRunError(f"run {run.run_id} has no prediction of this scan by model {subject.model}: choose another")
    own = own.iloc[0]
    verdict = {True: ", as labelled", False: ", not as labelled"}.get(own.correct, "")
    page.text(MARGIN, y + 6, f"The network's decision: {own.predicted}{verdict}", 9, weight="bold")
    page.text(MARGIN, y + 14, f"{answer.name} {answer.number(own[answer.column])}", 14, weight="bold")
    page.text(MARGIN, y + 19, f"by model {subject.model}, which never saw this subject", 7.5, color=QUIET)
    axes = page.axes(MARGIN + 82, y + 5, INNER - 84, 8)
    layout.plain_axes(axes, 7)
    axes.set(ylim=(-1, 1), yticks=[])
    if answer.is_value:
        axes.scatter([own.observed], [0], s=30, color=QUIET, marker="|", label="true value")
    else:
        axes.set(xlim=(-0.01, 1.01), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.axvline(answer.middle, color=QUIET, linewidth=0.7, linestyle=":")
    others = said[said.model != subject.model]
    axes.scatter(
        others[answer.column], np.zeros(len(others)), s=20, facecolors="none", edgecolors=QUIET, linewidths=0.9
    )
    axes.scatter([own[answer.column]], [0], s=42, color=palette.POSITIVE, zorder=3, clip_on=False)
    page.paragraph(MARGIN + 82, y + 19.5, _spread(said, subject.model, answer), INNER - 82, 6.8, color=QUIET)
    return y + 24


def _in_words(page: Page, subject: Subject, method: str, y: float) -> float:
    """Write the three sentences of the Patient page, of the first method; nothing where regions were not measured."""
    people = subject.reference if subject.run.reference_run else subject.run
    one = Explained(
        subject.run, subject.model, method, subject.scan, subject.target, people, subject.simulated_networks,
        verdict(people) if people else None, trust_line(people, method) if people else None,
    )  # fmt: skip
    try:
        said = sentences(facts_of(one))
    except NotInRunError:
        return y
    return page.paragraph(MARGIN, y + 2.4, " ".join(said), INNER, 6.8) + 1.5


def _spread(said: pd.DataFrame, model: str, answer: OutputDescription) -> str:
    """Say in a line what the models answer."""
    n, values = len(said), said[answer.column]
    true = f"True value {answer.number(said.observed.iloc[0])} (upright line). " if answer.is_value else ""
    if n == 1:
        return f"{true}{answer.name}. No other model of this run may explain this scan."
    others = [f"{r.model} {answer.number(getattr(r, answer.column))}" for r in said[said.model != model].itertuples()]
    low, high = (answer.number(end) for end in (values.min(), values.max()))
    named = ", ".join(others) if n <= 3 else f"{n - 1} others, from {low} to {high}"
    return f"{true}{answer.name}, mean ± SD of {n} models {mean_sd(values.mean(), values.std(ddof=1))}; also {named}"


def _methods(page: Page, subject: Subject, drawn: dict[str, map_images.MapImage], percentile: float, y: float) -> float:
    """Draw a row for each of the first methods: three planes, and the strongest regions against the group."""
    group = "groups" if len(subject.groups) > 1 else "group"
    run, place = subject.run, ", ".join(f"{v:.0f}" for v in subject.mm)
    region = region_at(run.array("atlas"), run.affine("atlas"), run.table("regions"), subject.mm)
    words = f"Crosshair at ({place}) mm, {region}; colour from percentile {percentile:.0f} of the brain"
    left = COMPARISON - MARGIN - GAP
    page.text(MARGIN, y + 4, f"Where the network looked: evidence for {subject.evidence}", 9, weight="bold")
    page.text(MARGIN, y + 8.2, layout.shortened(words, left, 6.8), 6.8, color=QUIET)
    page.text(COMPARISON, y + 4, f"Strongest regions against the {group}", 9, weight="bold")
    page.text(COMPARISON, y + 8.2, "Share of the relevance in the brain, %", 6.8, color=QUIET)
    y += 10.5
    small = (INNER - 2 * GAP) / 3
    compared, height, below = _heights(len(drawn), small, READING - y)
    main, more = list(drawn)[:compared], list(drawn)[compared:MOST_METHODS]
    cuts = planes.sections_at(template(run), subject.mm)
    for method in main:
        width = min((height - NAME - 3) * SHAPE, left)
        _picture(page, subject, cuts, (method, drawn[method]), percentile, (MARGIN, y, width, left))
        comparison.draw(page, subject, method, (COMPARISON, y, MARGIN + INNER - COMPARISON, height - 2))
        y += height
    for number, method in enumerate(more):
        place = (MARGIN + number % 3 * (small + GAP), y + number // 3 * (NAME + small / SHAPE + 2), small, small)
        _picture(page, subject, cuts, (method, drawn[method]), percentile, place)
    return y + below


def _heights(methods: int, small: float, room: float) -> tuple[int, float, float]:
    """Return how many methods are compared with the group, the height of each, and that of all others together, in mm.

    Args:
        small: width of the pictures of the others, three in a row.
        room: height for all.
    """
    for compared in range(min(COMPARED, methods), 0, -1):
        below = -(-max(min(methods, MOST_METHODS) - compared, 0) // 3) * (NAME + small / SHAPE + 2)
        height = min((room - below) / compared, 60.0)
        if height >= LEAST_HEIGHT:
            break
    return compared, height, below


def _picture(
    page: Page, subject: Subject, cuts: dict[str, planes.Sections], item: tuple[str, map_images.MapImage],
    percentile: float, place: tuple[float, float, float, float],
) -> None:  # fmt: skip
    """Draw one method: its name, the share in the imposed change of a simulated brain, the planes.

    Args:
        place: x, y, width of the planes, and width of the words above them, which may be wider; in mm.
    """
    (method, found), (x, y, width, room) = item, place
    page.text(x, y + 2.6, method_name(method), 7.5, weight="bold")
    free = room - layout.text_mm(method_name(method), 7.5, "bold") - 3
    truth = next((text for text in inside.words(subject, method, found.grid) if layout.text_mm(text, 6.2) < free), "")
    page.text(x + room, y + 2.6, truth, 6.2, color=QUIET, ha="right")
    scale = map_images.colour_range([found], subject.run.mask, percentile)
    text = _text_pixels(cuts, width, (6.2 if width > 70 else 5) * layout.MM_PER_POINT)
    picture = planes.orthogonal(
        cuts, found.volume, found.affine, planes.Style(smooth=found.smooth), scale,
        planes.Layout(pixels_per_mm=PIXELS_PER_MM, text=text, resolution=found.resolution),
    )  # fmt: skip
    height = page.picture(picture, x, y + NAME, width)
    line = trust_line(subject.compared_run, method) if subject.networks_known else None
    if line is not None:
        size = 5.6 if width > 70 else 4.4
        known = (line.text(subject.model_set), f"Trust: {line.marks()}", line.marks())
        said = next((words for words in known if layout.text_mm(words, size) <= width), known[-1])
        page.text(x, y + NAME + height + 0.42 * size, layout.shortened(said, room, size), size, color=QUIET)


def _text_pixels(cuts: dict[str, planes.Sections], width: float, size: float) -> float:
    """Return the pixels of words that are `size` mm high once planes and colour bar are `width` mm wide."""
    sections = sum(PIXELS_PER_MM * abs(c.across_mm[-1] - c.across_mm[0]) for c in cuts.values())
    return size * sections / (width - BAR_WIDTH * size)


def _reading(page: Page, subject: Subject, y: float) -> None:
    """Write two sentences, and what is true of a simulated brain."""
    known = comparison.in_words(subject)
    below = page.paragraph(COMPARISON, y, known, MARGIN + INNER - COMPARISON, 6, color=QUIET)
    y += 3
    page.text(MARGIN, y, "How to read this", 7.5, weight="bold", color=ACCENT)
    text = (
        f"Colour marks tissue on which this network's decision about {subject.evidence} rests: the stronger the "
        "colour, the more the decision hangs on it by this method. It is not a picture of disease, and where methods "
        "disagree or the region is far from what the group shows, it should not be relied on."
    )
    said, y = verdict(subject.compared_run), max(y + 4, below + 0.9)
    if said is not None and said.banner:
        y = page.paragraph(MARGIN, y, said.caption, INNER, 7.2, "bold", layout.ALARM)
    else:
        y = page.paragraph(MARGIN, y, text, INNER, 7.2)
    if subject.simulated_networks:
        text = f"The networks of {subject.run.reference_run} were trained on simulated change: {NO_EVIDENCE}"
        page.paragraph(MARGIN, y + 0.5, text, INNER, 7.2, "bold", layout.ALARM)
    if subject.run.simulated:
        page.paragraph(MARGIN, y + 0.5, _truth_words(subject), INNER, 7.2, "bold", layout.ALARM)


def _truth_words(subject: Subject) -> str:
    severity = subject.row.severity
    if np.isfinite(severity) and severity > 0:
        return (
            f"Simulated: this is no patient. The change in this brain was imposed by a computer (severity "
            f"{three(severity)}), so where it lies is known.{inside.explanation(subject)}"
        )
    return "Simulated: this is no patient. No disease was imposed on this brain."


def _networks(subject: Subject) -> list[str]:
    """Say whose the networks are, where they are not of this run."""
    run = subject.run.reference_run
    return [f"networks of {run}"] if run else []


def _provenance(page: Page, subject: Subject, created: str | None) -> None:
    manifest = subject.run.manifest
    parts = [
        f"Run {subject.run.run_id}", f"cohort {manifest.get('cohort', '')}", *_networks(subject),
        f"model {subject.model}",
        f"Brainwhy {manifest.get('versions', {}).get('brainwhy', '')}".strip(),
        f"fingerprint {str(manifest.get('fingerprint', ''))[:16]}", f"made {str(manifest.get('created', ''))[:10]}",
    ]  # fmt: skip
    if created:
        parts.append(f"report of {created[:10]}")
    page.rule(FOOT)
    page.paragraph(MARGIN, FOOT + 4, " · ".join(parts), INNER, 6.5, color=QUIET)
    page.text(MARGIN, FOOT + 11, f"{nifti.DISCLAIMER}.", 8, weight="bold", color=layout.ALARM)
