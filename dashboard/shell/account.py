"""Who is signed in: the buttons to sign in and out, the page before a login, and the sentence where there is none."""

from __future__ import annotations

import streamlit as st

from dashboard.serving.roles import ADMIN, GROUP, NONE, PATIENT
from dashboard.shell import access, locality
from dashboard.text.formatting import plain

WORDS = {
    NONE: "no role",
    GROUP: "results of groups",
    PATIENT: "results of groups and single patients",
    ADMIN: "everything, and links for others",
}
ASK = "ask who runs this server"
NO_LOGIN = (
    "This server has no login, so it shows results of groups only. Who runs it can configure one "
    "(docs/hosting.md, Sign-in)."
)


def in_sidebar() -> None:
    """Show who is signed in and with which role, or the way in; nothing on the local way without a login."""
    if not locality.has_login():
        if access.is_hosted():
            st.caption(NO_LOGIN)
        return
    person = access.person()
    if person is None:
        st.button("Sign in", on_click=st.login, key="sign-in", icon=":material/login:", width="stretch")
        return
    st.caption(f"**{plain(person.name)}** · sees {WORDS[access.role()]}")
    st.button("Sign out", on_click=st.logout, key="sign-out", icon=":material/logout:", width="stretch")


def way_in() -> None:
    """Say, on a page that this reader may not see, how they can come to see it."""
    if not locality.has_login():
        st.markdown(NO_LOGIN)
    elif access.person() is None:
        st.button("Sign in", on_click=st.login, key="sign-in-here", type="primary", icon=":material/login:")
    else:
        st.markdown(f"You are signed in without that role for this run: {ASK} for it.")


def sign_in_page() -> None:
    """Stand in for every page, for a reader who holds no role on any run."""
    st.title("Brainwhy", anchor=False)
    person = access.person()
    if person is None:
        st.markdown("The results on this server are for people who sign in.")
        st.button("Sign in", on_click=st.login, key="sign-in", type="primary", icon=":material/login:")
        return
    st.info(f"You are signed in as **{plain(person.name)}**, and hold no role here: {ASK} for one.")
    st.button("Sign out", on_click=st.logout, key="sign-out", icon=":material/logout:")


def only_for_admins() -> None:
    """Stand in for the page of admins, for everybody else."""
    st.title("Admin", anchor=False)
    st.info(f"This page is for those who hold the role admin on a server for others: {ASK} for it.")


def no_run_for_you() -> None:
    """Say that the store has no run that this reader may see."""
    st.title("No run to show", anchor=False)
    known = access.person() is not None
    st.info(f"This store has no run that you may see: {ASK}." if known else "Sign in to see the runs of this store.")


def hidden_reference(run: str) -> None:
    """Say that a run of new scans cannot be shown, as its reader may not see the run whose networks explained them."""
    st.title("This run cannot be shown to you", anchor=False)
    st.info(f"Its heatmaps are shown beside those of another run, {plain(run)}, on which you hold no role: {ASK}.")
