"""The line under every heatmap: how far its method can be trusted. Nothing where a run does not know."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import trust
from dashboard.data.runs import Run
from dashboard.shell import public, url_state
from dashboard.text import formatting
from dashboard.text.verdicts import LOOKS
from store.reading.trust import NO_EXPLANATION, TrustLine
from store.reading.trust_figures import FAILS, UNCLEAR, TrustFigure

ENDINGS = {UNCLEAR: ", unclear", FAILS: ", **fails**"}
PAGE = "trust"
LISTED = 4  # lines that are shown at once


def show(run: Run, model_set: str, method: str, place: DeltaGenerator | None = None, name: str = "") -> None:
    """Write the line of a method, with what stands behind it as help, and what a failing method does not show.

    Args:
        model_set: of the heatmaps above it.
        name: before the line, where several stand below each other.
    """
    line = trust.lines(run, public.fewest()).get(method)
    if line is None:
        return
    where = place if place is not None else st
    where.markdown(markdown(line, model_set, name), help=help_text(line))


def show_all(run: Run, model_set: str, methods: Sequence[str], opened: bool = True) -> None:
    """Write the lines of several methods below each other.

    Args:
        opened: as long as they are few; else in a part that the reader opens.
    """
    known = trust.lines(run, public.fewest())
    found = [method for method in methods if method in known]
    if not found:
        return
    box = url_state.fold("trust_lines", f"Trust: {summary([known[m] for m in found])}", opened and len(found) <= LISTED)
    if box is not None:
        for method in found:
            show(run, model_set, method, box, formatting.method_name(method))
        leave_for_page(box)


def show_beside(run: Run, model_set: str, method: str, methods: Sequence[str]) -> None:
    """Write the line of the large heatmap, and those of the small ones beside it where the reader opens them."""
    show(run, model_set, method, name=formatting.method_name(method))
    show_all(run, model_set, methods, opened=False)


def leave_for_page_of(run: Run) -> None:
    """Offer the page Trust below lines that stand alone, where there are any."""
    if trust.lines(run, public.fewest()):
        leave_for_page()


def leave_for_page(place: DeltaGenerator | None = None) -> None:
    """Offer the page Trust, where the figures are shown in full."""
    if not url_state.has_page(PAGE):
        return
    where = place if place is not None else st
    if where.button("Where this comes from", key="to-trust", type="tertiary", icon=":material/arrow_forward:"):
        url_state.go(PAGE, {})


def summary(lines: Sequence[TrustLine]) -> str:
    """Say how many methods fail something: "2 of 5 methods fail"."""
    judged = [line for line in lines if line.figures]
    failing = sum(bool(line.failing) for line in judged)
    if not failing:
        return f"none of {formatting.count(len(judged), 'method')} fails"
    verb = "fails" if failing == 1 else "fail"
    return f"{failing} of {formatting.count(len(judged), 'method')} {verb} at least one test"


def markdown(line: TrustLine, model_set: str, name: str = "") -> str:
    """Return the line as Markdown, each figure in the colour and with the shape of its verdict."""
    heading = formatting.plain(f"{name}: {line.heading(model_set).lower()}" if name else line.heading(model_set))
    if not line.figures:
        return f":small[**{heading}** :gray[:material/block: {NO_EXPLANATION}]]"
    parts = " · ".join(_figure(figure) for figure in line.figures)
    fails = f". :red[This method {formatting.plain(line.failure)}.]" if line.failing else ""
    return f":small[**{heading}** {parts}{fails}]"


def _figure(figure: TrustFigure) -> str:
    colour, icon = LOOKS[figure.verdict]
    number = formatting.plain(figure.short or figure.verdict).replace("(< ", "(<\u00a0").replace("(≥ ", "(≥\u00a0")
    return f":{colour}[{icon} {figure.name} {number}{ENDINGS.get(figure.verdict, '')}]"


def help_text(line: TrustLine) -> str:
    """Return the sentences behind the figures as Markdown, one a paragraph."""
    return "\n\n".join(formatting.plain(sentence) for sentence in line.sentences())
