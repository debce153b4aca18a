"""What every page has: title and sentence, Share and Download, how to read it, the provenance line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import reference_run, runs
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.shell import access, bound_link, notices, run_picker, sharing, sidebar, url_state, visitor
from dashboard.shell.bound_link import BoundLinkError
from dashboard.text.formatting import plain, region_name
from store import StoreError
from store.export.csv import csv_text


def body(main: Callable[[], None]) -> None:
    """Run a page as a fragment: its own controls run it again alone, without the sidebar, which is half the work."""

    @st.fragment
    def alone() -> None:
        run_picker.follow_store()
        if access.ended_link():
            st.rerun()  # the whole app says why
        url_state.begin_page()
        notices.slow(run_picker.current_run().store)
        try:
            main()
        except StoreError as error:
            run = run_picker.current_run()
            notices.unreadable(run.run_id, error, run.store)
        except BoundLinkError:
            visitor.not_there()
        except Exception as error:
            run = run_picker.current_run()
            notices.failed(error, [run, *reference_run.runs_of(run)])
        url_state.finish()

    alone()


def body_of_selection(title: str, show: Callable[[Selection], None]) -> None:
    """Run a page that shows the heatmaps chosen at the left, as `body` does; say so where the run has none."""

    def main() -> None:
        selection = sidebar.current()
        if selection is not None:
            return show(selection)
        st.title(title, anchor=False)
        st.info("This run has no heatmaps. They are made by the stages explain and aggregate of run_pipeline.py.")

    body(main)


def with_region_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with a column `region_words`, the plain name of its column `region`, where that is there alone."""
    if "region" not in table or "region_words" in table:
        return table
    words = [region_name(region) if isinstance(region, str) else region for region in table["region"]]
    found = table.copy()
    found.insert(found.columns.get_loc("region") + 1, "region_words", words)
    return found


@dataclass(frozen=True)
class Download:
    """A file that a page offers; `data` may be a function, which is called on the click."""

    label: str
    file_name: str
    data: bytes | str | Callable[[], bytes | str]
    mime: str

    @classmethod
    def csv(cls, label: str, name: str, make: Callable[[], Any]) -> Download:
        """Offer a data frame as CSV, texts neutralised for spreadsheets; `make` returns the frame.

        Beside a column `region`, which holds the codes of the atlas, goes one with their plain names.
        """
        return cls(label, f"{name}.csv", lambda: csv_text(with_region_words(make())), "text/csv")

    @classmethod
    def nifti(cls, label: str, name: str, make: Callable[[], bytes]) -> Download:
        """Offer a volume as compressed NIfTI."""
        return cls(label, f"{name}.nii.gz", make, "application/gzip")

    @classmethod
    def png(cls, label: str, name: str, make: bytes | Callable[[], bytes]) -> Download:
        """Offer a picture as PNG."""
        return cls(label, f"{name}.png", make, "image/png")

    @classmethod
    def svg(cls, label: str, name: str, make: Callable[[], str | bytes]) -> Download:
        """Offer a drawing as SVG."""
        return cls(label, f"{name}.svg", make, "image/svg+xml")

    @classmethod
    def html(cls, label: str, name: str, make: Callable[[], str]) -> Download:
        """Offer a page of one file."""
        return cls(label, f"{name}.html", make, "text/html")

    @classmethod
    def zip(cls, label: str, name: str, make: Callable[[], bytes]) -> Download:
        """Offer several files in one."""
        return cls(f"{label}, ZIP", f"{name}.zip", make, "application/zip")

    @classmethod
    def pdf(cls, label: str, name: str, make: Callable[[], bytes]) -> Download:
        """Offer a report as PDF."""
        return cls(label, f"{name}.pdf", make, "application/pdf")


class Header:
    """The top of a page; its buttons are filled once the page knows its whole state."""

    def __init__(self, title: str, sentence: str, maps: bool = True) -> None:
        """Write title, sentence and the room for the buttons.

        Args:
            maps: the page shows heatmaps of the run, and so says where its networks do not separate the groups.
        """
        head = st.container(key="page-head")
        left, share, files = head.columns([1, 0.12, 0.17], vertical_alignment="bottom", gap="small")
        with left:
            if run_picker.simulated():  # on a phone the badge of the sidebar is out of sight
                st.container(key="narrow-badge").badge("SIMULATED", color="orange", icon=":material/science:")
            st.title(title, anchor=False)
            st.markdown(sentence)
        self._share, self._files = share.empty(), files.empty()
        sidebar.in_head()
        if maps:
            reference_run.warn(run_picker.current_run())

    def finish(self, downloads: Sequence[Download] = ()) -> None:
        """Fill Share and Download at the end of a page, when every value and what is shown are known.

        Those who have opened a signed link are offered neither.
        """
        if bound_link.is_bound():
            return
        with self._share.container():
            sharing.buttons(any(item.mime == "text/html" for item in downloads))
        if downloads:
            with self._files.popover("Download", width="stretch"):
                for number, item in enumerate(downloads):
                    st.download_button(
                        plain(item.label), item.data, item.file_name, item.mime, on_click="ignore", type="tertiary",
                        key=f"download-{number}-{item.file_name}", icon=":material/download:",
                    )  # fmt: skip
                st.caption(notices.RESEARCH_ONLY)


def how_to_read(sentences: str, formula: str = "", source: str = "") -> None:
    """Offer two sentences that a clinician understands, and formula and source for the methods person."""
    box = url_state.fold("how", "How to read this")
    if box is None:
        return
    box.markdown(sentences)
    if formula:
        box.latex(formula)
    if source:
        box.caption(source)


def provenance(run: Run, *parts: str) -> None:
    """Write the last line of a page: what its results were made from."""
    manifest = runs.manifest(run)
    kind = "Simulated" if manifest["simulated"] else manifest["cohort"]
    known = reference_run.of(run)
    networks = [f"networks of {known.run_id}{' (simulated change)' if known.simulated else ''}"] if known else []
    words = [f"Run {run.run_id}", kind, *networks, *parts, f"made {manifest['created'][:10]}"]
    st.caption(f"{' · '.join(map(plain, words))}. {notices.RESEARCH_ONLY}")
