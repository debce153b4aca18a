"""What Streamlit's own cookies say of a login. The only place that knows how Streamlit writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from streamlit.auth_util import get_cookie_with_chunks, get_redirect_uri, get_secrets_auth_section
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import TOKENS_COOKIE_NAME, USER_COOKIE_NAME

# The cookies of a login: of the person and of the tokens, each perhaps with continuations.
COOKIES = re.compile(rf"({re.escape(TOKENS_COOKIE_NAME)}|{re.escape(USER_COOKIE_NAME)})(_\d+)?")


def claims(cookies: Mapping[str, str]) -> dict[str, Any]:
    """Return the claims of the login that Streamlit's cookies hold; empty where they hold none that it signed."""

    def signed(name: str) -> bytes | None:
        value = cookies.get(name)
        return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

    try:
        found = json.loads(get_cookie_with_chunks(signed, USER_COOKIE_NAME) or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("is_logged_in") is True else {}


def address() -> str:
    """Return the configured address that the provider sends readers back to; "" where no login is configured."""
    return get_redirect_uri(get_secrets_auth_section()) or ""
