"""The pages of the dashboard, in the order of the menu."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True)
class View:
    """A page of the menu.

    Attributes:
        whole: it shows the whole run, so that the filters rest.
        patients: it needs the role patient.
    """

    name: str
    title: str
    icon: str
    whole: bool = False
    patients: bool = False

    def page(self) -> st.Page:
        """Return the page for Streamlit's navigation."""
        return st.Page(f"views/{self.name}/page.py", title=self.title, icon=self.icon, url_path=self.name)


# Every page, in the order of the menu; a new page is a new line and a new file.
VIEWS = (
    View("overview", "Overview", ":material/dashboard:", whole=True),
    View("group_maps", "Group maps", ":material/grid_view:"),
    View("patient", "Patient", ":material/person_search:", patients=True),
    View("variability", "Variability", ":material/scatter_plot:", patients=True),
    View("regions", "Regions", ":material/format_list_numbered:"),
    View("clinical", "Clinical", ":material/clinical_notes:"),
    View("distances", "Distances", ":material/straighten:"),
    View("trust", "Trust", ":material/verified_user:", whole=True),
    View("compare_runs", "Compare runs", ":material/compare:", whole=True),
    View("provenance", "Provenance", ":material/fingerprint:", whole=True),
)
