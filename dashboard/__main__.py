"""Serve the dashboard to others: `python -m dashboard serve`, and end their logins. docs/hosting.md says how."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from dashboard.links import records
from dashboard.serving import hosting, sessions, state
from dashboard.serving.hosting import SESSION_HOURS, Hosting
from dashboard.serving.roles import GROUP, NONE, PUBLIC, Roles, RolesFileError, read_roles
from dashboard.serving.secret_files import SecretFileError
from store.small_groups import FEWEST

STORE = "BRAINWHY_STORE"
STOP_S = 10  # seconds for what is under way once the server is told to stop
LONGEST_HEADER = 64 * 1024
SHORTEST_SECRET = 32  # characters of cookie_secret
EPILOG = """Roles and sign-in: docs/access.md; nginx, systemd, several processes, containers: docs/hosting.md.
On your own computer: streamlit run dashboard/app.py."""


class ServeError(Exception):
    """The error of a server that cannot be started as asked; one line that says the mend."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of `python -m dashboard`."""
    top = argparse.ArgumentParser(prog="python -m dashboard", description=__doc__, epilog=EPILOG, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="serve|end-logins")
    serve = commands.add_parser("serve", help="serve a store to others", epilog=EPILOG, allow_abbrev=False)
    add = serve.add_argument
    add("--store", default=os.environ.get(STORE), metavar="PATH|URL", help=f"the store (else {STORE})")
    add("--host", default="127.0.0.1", help="address to listen on; 127.0.0.1 where a proxy on this machine stands "
        "before it, 0.0.0.0 in a container (default: %(default)s)")  # fmt: skip
    add("--port", type=int, default=8501, help="default: %(default)s")
    add(
        "--base-path",
        default="",
        metavar="/heat",
        help="what stands before every address, behind a proxy at a sub-path",
    )
    add("--public", choices=PUBLIC, help="what readers without a role see: results of groups, or a page to sign in "
        "(else what the file of roles says; else none where a login is configured, group where none is)")  # fmt: skip
    add("--roles", type=Path, metavar="FILE", help="TOML: which claims give which role on which runs (docs/access.md)")
    add("--state", type=Path, metavar="FILE", help="SQLite file of logins and links, the same for all processes of a "
        "server (default: ~/.config/brainwhy/state.sqlite)")  # fmt: skip
    add("--session-hours", type=float, default=SESSION_HOURS, metavar="H", help="how long a login lasts (default: "
        "%(default)g)")  # fmt: skip
    add("--fewest", type=int, default=FEWEST, metavar="N", help="subjects of a group that readers are shown who may "
        "not see single persons, at least %(default)s (default: %(default)s)")  # fmt: skip
    add("--proxy", default="127.0.0.1", metavar="ADDRESS", help="whose word is taken for https and the address of a "
        "reader; several by commas (default: %(default)s)")  # fmt: skip
    add("--frames", nargs="+", default=[], metavar="SITE", help="sites that may show the dashboard in a frame, as in "
        "https://huggingface.co (default: none)")  # fmt: skip
    end = commands.add_parser(
        "end-logins", help="end the logins of a person, or of everyone, while the server runs", allow_abbrev=False
    )
    end.add_argument("--person", metavar="NAME", help="e-mail address or user name, as the provider has it (default: "
        "everyone)")  # fmt: skip
    end.add_argument("--state", type=Path, metavar="FILE", help="the state file of the server")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    given = parser().parse_args(arguments)
    try:
        (serve if given.command == "serve" else end_logins)(given)
    except (ServeError, RolesFileError, SecretFileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(given: argparse.Namespace) -> None:
    """Serve until the process is told to stop.

    Raises:
        ServeError, RolesFileError, SecretFileError: it cannot be started as asked.
    """
    base = checked_base(given.base_path)
    if not given.store:
        raise ServeError(f"which store? Write --store PATH or --store URL, or set {STORE}")
    if not 0 < given.session_hours <= 24 * 366:
        raise ServeError(f"--session-hours {given.session_hours:g}: write hours above 0, at most a year")
    if given.fewest < FEWEST:
        raise ServeError(f"--fewest {given.fewest}: write {FEWEST} or more")
    roles = read_roles(given.roles) if given.roles else Roles()
    for site in given.frames:
        if not re.fullmatch(r"https://[\w.*:\-]+", site, re.ASCII):
            raise ServeError(f"--frames {site}: write the site as https://NAME")
    settings = Hosting(
        given.store, base, NONE, roles, given.state, given.session_hours, frames=tuple(given.frames),
        fewest=given.fewest,
    )  # fmt: skip
    hosting.start(settings)
    state.of_server()  # says now what is wrong with it

    # What takes long to load, once the command line is known to be sound.
    import uvicorn  # noqa: PLC0415
    from streamlit import config, logger  # noqa: PLC0415

    # It warns of every cache that is made before its runtime, and then keeps it in memory, as it would anyway.
    logger.get_logger("streamlit.runtime.caching.cache_data_api").setLevel("ERROR")
    from dashboard import app  # noqa: PLC0415
    from dashboard.shell import locality  # noqa: PLC0415

    # Now that Streamlit knows the folder with config.toml. What a server for others depends on is not left to chance.
    config.get_config_options(
        force_reparse=True,
        options_from_flags={
            "server.address": given.host, "server.port": given.port, "server.baseUrlPath": base.strip("/"),
            "server.headless": True, "server.enableXsrfProtection": True, "server.enableCORS": True,
            "server.enableStaticServing": False, "client.showErrorDetails": "none",
        },
    )  # fmt: skip
    with_login = locality.has_login()
    if with_login:
        check_login(base)
    public = given.public or roles.public or (NONE if with_login else GROUP)
    if public == NONE and not with_login:
        raise ServeError(
            "without a login nobody could see anything: configure one ([auth] in .streamlit/secrets.toml, "
            "docs/hosting.md), or say --public group"
        )
    hosting.start(replace(settings, public=public))
    server = uvicorn.Server(
        uvicorn.Config(
            app.app, host=given.host, port=given.port, log_level="warning", access_log=False, server_header=False,
            proxy_headers=True, forwarded_allow_ips=given.proxy, timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=LONGEST_HEADER, ws="websockets-sansio",
            ws_max_size=2**20 * int(config.get_option("server.maxWidgetStateSize")), ws_ping_interval=30,
            ws_ping_timeout=30,
        )
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops, and then raises the signal once more
    server.run()
    if not server.started:
        raise ServeError(f"port {given.port} on {given.host} cannot be used: another server may have it; try --port")


def end_logins(given: argparse.Namespace) -> None:
    """End the logins of a person, or all that a state file holds: their cookies count for nothing from now on."""
    hosting.start(Hosting("", state=given.state))
    if not state.place().exists():
        raise ServeError(f"there is no state file {state.place()}: name that of the server with --state")
    if given.person is None:
        ended = sessions.end_all()
    elif not (ended := sessions.end_named(given.person)):
        raise ServeError(
            "nobody of this name has an open login: write the e-mail address or user name as the provider has it; "
            "logins that began before this version end with those of everyone, without --person"
        )
    records.note(state.of_server(), records.COMMAND, records.ENDED if given.person else records.ENDED_ALL)
    print(f"logins ended: {ended}")


def checked_base(text: str) -> str:
    """Return "" or "/heat" for a base path; ServeError where it is none."""
    base = text.strip("/")
    if base and not re.fullmatch(r"[\w\-]+(/[\w\-]+)*", base, re.ASCII):
        raise ServeError(f"--base-path {text}: write letters, digits and hyphens between slashes, as in /heat")
    return f"/{base}" if base else ""


def check_login(base: str) -> None:
    """Raise ServeError where the login that is configured cannot work or is not safe."""
    from dashboard.serving import streamlit_login  # noqa: PLC0415 - loads Streamlit

    if importlib.util.find_spec("authlib") is None or not any(map(importlib.util.find_spec, ("httpx", "httpx2"))):
        raise ServeError('the login needs two more packages: pip install -e ".[login]"')
    place = streamlit_login.address()
    if urlsplit(place).path != f"{base}/oauth2callback":
        raise ServeError(
            f"redirect_uri in secrets.toml is {place!r}: with this --base-path it must end in {base}/oauth2callback"
        )
    if len(streamlit_login.get_cookie_secret()) < SHORTEST_SECRET:
        raise ServeError(
            f"cookie_secret in secrets.toml has fewer than {SHORTEST_SECRET} characters: make one by "
            "python -c 'import secrets; print(secrets.token_hex(32))'"
        )


if __name__ == "__main__":
    sys.exit(main())
