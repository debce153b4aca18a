"""What Share offers: the short link of a server for others, the words of a local one, and links for outsiders."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit

import streamlit as st

from dashboard.data import reference_run, runs
from dashboard.data.runs import Run
from dashboard.links import keys, records, short, signed, words
from dashboard.links.signed import NewLink
from dashboard.links.tables import LinkError
from dashboard.serving import hosting, state
from dashboard.serving.roles import GROUP, PATIENT
from dashboard.shell import access, menu, run_picker, url_state
from dashboard.shell.components.share import ShortLink, share_button
from dashboard.shell.sidebar import FILTER_KEYS

DAYS = 30  # of a new link, until the admin says otherwise
DERIVE = "python -m store derive STORE --group-level OUT"
ROLE_WORDS = {GROUP: "Results of groups", PATIENT: "Results of single patients too"}
# What names or picks out single persons, and so does not go into a link of groups.
OF_PERSONS = frozenset(FILTER_KEYS.values()) | {"g_a", "g_by", "p_subject", "p_scan"}
OWN_GROUP = ("predicted", "true")  # evidence for the group of each scan
ALONE = ("compare_runs", "admin")  # pages that no signed link shows


def buttons(has_web_page: bool) -> None:
    """Show Share, and for admins the button that makes a link for somebody without a login.

    Args:
        has_web_page: the page offers a map as a web page of one file.
    """
    settings = hosting.current()
    view = short.View(menu.current().name, url_state.query())
    if settings is None:
        instead = "download it as a web page of one file (Download), or share " if has_web_page else "share "
        share_button(view.query, local=f"To send it, {instead}a store without single persons: {DERIVE}")
        return
    link = None
    if short.is_view(view):
        link = ShortLink(f"{settings.base}/{short.PATH}", short.token(keys.signing_key(), view), view.page)
    share_button(view.query, link)
    if access.may_administer() and st.button(
        "Outsiders", key="share-outside", width="stretch", help="Make a link for somebody without a login"
    ):
        ask_for_link(view, run_picker.current_run())


@st.dialog("A link for somebody without a login")
def ask_for_link(view: short.View, run: Run) -> None:
    """Ask for whom and until when, make the link and show it once."""
    if why := not_for_outsiders(view, run):
        st.info(why)
        return
    page = next(one for one in menu.VIEWS if one.name == view.page)
    st.markdown(f"It shows **{page.title}** of **{run.run_id}** as you see it now, and nothing else.")
    with st.form("outside", border=False):
        offered = [PATIENT] if page.patients else [GROUP, PATIENT]
        role = st.radio("It shows", offered, format_func=ROLE_WORDS.__getitem__)
        note = st.text_input("For whom", max_chars=signed.LONGEST_NOTE, placeholder="Reviewer 2 of our paper")
        today = datetime.now(UTC).date()
        last = st.date_input(
            "It opens until the end of (UTC)", today + timedelta(DAYS), min_value=today,
            max_value=today + timedelta(signed.LONGEST_DAYS - 1), format="YYYY-MM-DD",
        )  # fmt: skip
        password = st.text_input("Password, at least 8 characters (may stay empty)", type="password", max_chars=200)
        if not runs.manifest(run)["simulated"]:
            st.caption(
                "Agreements such as ADNI's let summaries of groups be shared, but no result of a single participant, "
                "also no derived one, with people whom they do not cover."
            )
        made = st.form_submit_button("Make the link", type="primary")
    if made:
        end = words.end_of_day(last.year, last.month, last.day)
        _make(NewLink(view, run.run_id, role, end, note, _name(), password))


def not_for_outsiders(view: short.View, run: Run) -> str:
    """Say why no signed link can show a view; "" where one can."""
    if view.page in ALONE:
        return f"{menu.title(view.page)} shows more than one run: a link for outsiders shows one view of one run."
    if reference_run.runs_of(run):
        return "This run is shown beside the run whose networks explained it: a link for outsiders shows one run alone."
    return ""


def of_groups(view: short.View) -> short.View:
    """Return a view without what picks out single persons: filters, and sets of scans beside each other.

    Raises:
        LinkError: what remains is not a result of groups.
    """
    chosen = parse_qsl(view.query, keep_blank_values=True)
    if dict(chosen).get("target") in OWN_GROUP:
        raise LinkError("A link of groups shows the evidence for one group: choose it at the left.")
    return view._replace(query=urlencode([(key, text) for key, text in chosen if key not in OF_PERSONS]))


def filtered(view: short.View) -> bool:
    """Return whether the filters of a view leave out scans."""
    kept = ("all", "none", "groups")
    return any(text not in kept for key, text in parse_qsl(view.query) if key in OF_PERSONS)


def _make(wanted: NewLink) -> None:
    """Make a link and show it; or say why not."""
    now = time.time()
    try:
        narrowed = wanted.view if wanted.role == PATIENT else of_groups(wanted.view)
        token = signed.make(state.of_server(), keys.signing_key(), replace(wanted, view=narrowed), now)
    except LinkError as error:
        st.error(str(error))
        return
    st.success(f"It opens {words.until(wanted.ends_at, now)}.")
    st.code(f"{_server()}/{signed.PATH}/{token}", language=None, wrap_lines=True)
    if narrowed != wanted.view and filtered(wanted.view):
        st.warning("Without the filters of this view: a link of groups shows all scans of each group.")
    st.caption(
        "It is shown this once: copy it now. Try it in a private window, where you are not signed in. The page Admin "
        "lists it, says how often it was opened, and revokes it."
        + (" Send the password by another way than the link." if wanted.password else "")
        + (f" Who opens it confirms: “{records.AGREEMENT}”" if wanted.role == PATIENT else "")
    )


def _server() -> str:
    """Return the address of this server as the browser of this reader names it."""
    settings = hosting.current()
    parts = urlsplit(st.context.url or "")
    return f"{parts.scheme}://{parts.netloc}{settings.base if settings else ''}"


def _name() -> str:
    person = access.person()
    return person.name if person else "admin"
