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
        admin: it needs the role admin, and is there on a server for others only.
    """

    name: str
    title: str
    icon: str
    whole: bool = False
    patients: bool = False
    admin: bool = False

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
    View("admin", "Admin", ":material/admin_panel_settings:", whole=True, admin=True),
)
ADMIN = VIEWS[-1]
TITLES = {view.name: view.title for view in VIEWS}
CURRENT = "_view"


def title(name: str) -> str:
    """Return the title of a page by its name in addresses."""
    return TITLES.get(name, name)


def set_current(view: View) -> None:
    """Remember which page is shown; home.py calls this before the page runs."""
    st.session_state[CURRENT] = view


def current() -> View:
    """Return which page is shown."""
    return st.session_state.get(CURRENT, VIEWS[0])
