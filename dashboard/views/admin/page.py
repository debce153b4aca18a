"""Links for outsiders, logins to end, and the audit. For the role admin."""

from __future__ import annotations

import time

import streamlit as st

from dashboard.links import records, signed, words
from dashboard.links.signed import SignedLink
from dashboard.links.tables import LinkError
from dashboard.serving import roles, sessions, state
from dashboard.serving.roles import ADMIN
from dashboard.shell import access, menu, page
from dashboard.text.formatting import count, plain
from dashboard.views.admin import tables
from store.export.csv import neutralised

MOST_EVENTS = 500
SAID, SAID_OF_LOGINS = "_admin_said", "_admin_said_of_logins"  # what the last click did, in the session
NAME = "admin-name"  # whose logins are to be ended


def own_links() -> list[SignedLink]:
    """Return the links to runs on which this reader is an admin."""
    return [link for link in signed.listed(state.of_server()) if _is_admin_of(link.run)]


def _is_admin_of(run: str) -> bool:
    if not run:  # of what concerns all readers
        return access.may_administer_server()
    return roles.at_least(access.role(run), ADMIN)


def show_links(found: list[SignedLink], now: float) -> None:
    """List the links, and let those that open be revoked."""
    st.subheader("Links for outsiders", anchor=False)
    if not found:
        st.info("There is no link yet. Open the view that you want to share, and choose *Outsiders* below Share.")
        return
    st.dataframe(neutralised(tables.links(found, menu.TITLES, now)), hide_index=True)
    if said := st.session_state.pop(SAID, ""):
        st.success(said)
    working = {link.id: link for link in found if link.standing(now) == "open"}
    if not working:
        st.caption("None of them opens now.")
        return
    pick, press = st.columns([1, 0.25], vertical_alignment="bottom")
    chosen = pick.selectbox("Link", list(working), format_func=lambda key: _label(working[key]), key="admin-link")
    press.button(
        "Revoke", on_click=_revoke, args=(chosen,), key="admin-revoke", icon=":material/block:", width="stretch"
    )
    st.caption(
        "A revoked link opens nothing from the next second on, also for those who have it open. It cannot be opened "
        "again: make a new one."
    )


def _label(link: SignedLink) -> str:
    return f"{link.note} · {menu.title(link.page)} of {link.run} · {link.label}"


def _revoke(identifier: str) -> None:
    person = access.person()
    known = {link.id: link for link in own_links()}
    if person is None or identifier not in known:
        return
    try:
        signed.revoke(state.of_server(), identifier, person.name, time.time())
        st.session_state[SAID] = f"The link for {plain(known[identifier].note)} is revoked."
    except LinkError as error:
        st.session_state[SAID] = str(error)


def show_logins() -> None:
    """Say how many logins are open, and let an admin of the whole server end those of a person."""
    if not access.may_administer_server():
        return
    st.subheader("Logins", anchor=False)
    logins, persons = sessions.open_logins()
    st.caption(f"{count(logins, 'login')} of {count(persons, 'person')} open now. The server keeps no list of names.")
    if said := st.session_state.pop(SAID_OF_LOGINS, None):
        ended, words_of_it = said
        (st.success if ended else st.warning)(words_of_it)
    with st.form("admin-end", border=False):
        name, press = st.columns([1, 0.25], vertical_alignment="bottom")
        name.text_input("E-mail address or user name, as the provider has it", key=NAME, autocomplete="off")
        press.form_submit_button("End logins", on_click=_end_logins, icon=":material/logout:", width="stretch")
    st.caption(
        "Every browser of this person is signed out at once: pages that are open, copied cookies and addresses of "
        "volumes answer no more. Who still has an account can sign in again: take that away at the provider, or the "
        "role in the file of roles, first."
    )


def _end_logins() -> None:
    person, name = access.person(), str(st.session_state.get(NAME, ""))
    if person is None or not access.may_administer_server() or not name.strip():
        return
    ended = sessions.end_named(name)
    if ended:
        records.note(state.of_server(), person.name, records.ENDED)
        st.session_state[SAID_OF_LOGINS] = True, f"{count(ended, 'login')} ended."
        st.session_state[NAME] = ""
    else:
        st.session_state[SAID_OF_LOGINS] = False, "Nobody of this name has an open login."


def show_audit() -> None:
    """List who made, opened and revoked what."""
    st.subheader("Audit", anchor=False)
    found = [event for event in records.events(state.of_server(), MOST_EVENTS) if _is_admin_of(event.run)]
    if not found:
        st.caption("Nothing has happened yet.")
        return
    st.caption(
        f"The last {count(len(found), 'line')} of your runs, the newest first. It names members and links, "
        "never a subject; of logins that were ended not whose."
    )
    st.dataframe(neutralised(tables.audit(found, menu.TITLES)), hide_index=True)


def main() -> None:
    """Show the Admin page."""
    if not (access.is_hosted() and access.may_administer()):
        st.info("This page is for the role admin.")
        return
    now = time.time()
    found = own_links()
    opened = sum(link.standing(now) == "open" for link in found)
    page.Header("Admin", f"{count(opened, 'link')} for outsiders open now, {words.minute(now)} UTC.", maps=False)
    show_links(found, now)
    show_logins()
    show_audit()


page.body(main)
