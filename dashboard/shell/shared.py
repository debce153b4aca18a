"""The signed link that a browser has opened, asked for again and again: it may have ended or been revoked."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from cachetools import TTLCache, cached

from dashboard.links import keys, signed
from dashboard.links.routes import COOKIE, FAILED
from dashboard.links.signed import SignedLink
from dashboard.links.tables import LinkRefusedError
from dashboard.serving import hosting, state

SECONDS_BETWEEN_LOOKS = 1.0  # so long a revoked link may still be shown


def of_cookies(cookies: Mapping[str, str]) -> SignedLink | None:
    """Return the link that the cookies of a browser are of and that opens now; None for none."""
    found = _asked(cookies)
    return found if isinstance(found, SignedLink) else None


def refusal(cookies: Mapping[str, str]) -> str:
    """Say why the link of a browser does not open any more; "" where it does, or where there is none."""
    found = _asked(cookies)
    return found if isinstance(found, str) else ""


def _asked(cookies: Mapping[str, str]) -> SignedLink | str:
    session = cookies.get(COOKIE, "")
    if not (session and isinstance(session, str)) or hosting.current() is None:
        return ""
    return _kept(session)


@cached(TTLCache(1024, SECONDS_BETWEEN_LOOKS, timer=time.monotonic), lock=threading.Lock())
def _kept(session: str) -> SignedLink | str:
    try:
        return signed.of_session(state.of_server(), keys.signing_key(), session, time.time())
    except LinkRefusedError as error:
        return str(error)
    except Exception:  # without the state file nobody may be taken for anyone
        return FAILED
