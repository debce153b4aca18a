"""The small page that stands before a signed link: what it opens, until when, and the password where it has one."""

from __future__ import annotations

import base64
import hashlib
import html

from starlette.responses import HTMLResponse

from dashboard.links import records, words
from dashboard.links.signed import SignedLink

STYLE = """
body {margin: 0; font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif; color: #10171A;
  background: #F4F6F6}
main {max-width: 34rem; margin: 12vh auto 2rem; padding: 1.5rem 1.75rem; background: #FFF; border: 1px solid #DDE3E4;
  border-radius: 6px; box-sizing: border-box}
h1 {margin: 0 0 .5rem; font-size: 1.4rem; font-weight: 600; overflow-wrap: anywhere}
p {margin: .6rem 0; overflow-wrap: anywhere}
label {display: block; margin: 1rem 0 .25rem}
label.tick {display: flex; gap: .6rem; align-items: flex-start}
input[type=password] {width: 100%; box-sizing: border-box; font: inherit; padding: .4rem .6rem; color: inherit;
  background: inherit; border: 1px solid #6B7A7E; border-radius: 4px}
input[type=checkbox] {flex: none; width: 1.1rem; height: 1.1rem; margin: .25rem 0 0}
button {margin-top: 1.1rem; padding: .5rem 1.4rem; font: inherit; color: #FFF; background: #2B6A6E; border: 0;
  border-radius: 4px; cursor: pointer}
:focus-visible {outline: 2px solid currentColor; outline-offset: 2px}
button:focus-visible {outline-color: #2B6A6E}
.said {padding: .5rem .75rem; border-left: 4px solid #B3261E; background: #B3261E14}
.small {font-size: .875rem; color: #47555A}
@media (prefers-color-scheme: dark) {
  body {color: #E3E8E9; background: #12171A} main {background: #1B2226; border-color: #313A3F}
  button {color: #12171A; background: #6FB3B5} button:focus-visible {outline-color: #6FB3B5}
  .small {color: #AEBABD} .said {border-color: #F2B8B5; background: #F2B8B51F}
}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow", "X-Frame-Options": "DENY",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}  # fmt: skip
RESEARCH_ONLY = "Research use only, not a medical device."


def entrance(link: SignedLink, title: str, now: float, problem: str = "", status: int = 200) -> HTMLResponse:
    """Return the page with the button that opens a link.

    Programs that look into links of mails open nothing by that, and count as nobody.

    Args:
        title: of the page of the dashboard.
        problem: why the last try opened nothing.
    """
    patient = link.role == "patient"
    fields = []
    if link.password:
        fields.append(
            '<label for="password">Password</label><input type="password" id="password" name="password" '
            'autocomplete="off" required maxlength="200" autofocus>'
        )
    if patient:
        fields.append(
            f'<label class="tick"><input type="checkbox" name="agreed" value="yes" required><span>'
            f"{html.escape(records.AGREEMENT)}</span></label>"
        )
    whom = "It shows results of single participants." if patient else "It shows results of groups."
    return _page(
        "A view that was shared with you",
        f"<p><strong>{html.escape(title)}</strong> of run <strong>{html.escape(link.run)}</strong>. {whom} "
        f"You can open it {html.escape(words.until(link.ends_at, now))}.</p>"
        + (f'<p class="said" role="alert">{html.escape(problem)}</p>' if problem else "")
        + f'<form method="post">{"".join(fields)}<button type="submit">Open</button></form>'
        '<p class="small">The link shows this view alone. Opening it sets one cookie, which ends after 12 hours, and '
        f"is counted. {RESEARCH_ONLY}</p>",
        status,
    )


def refused(problem: str, status: int) -> HTMLResponse:
    """Return the page of a link that does not open, with one line that says why."""
    return _page("This link does not open", f"<p>{html.escape(problem)}</p>", status)


def _page(title: str, body: str, status: int) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Brainwhy</title><style>{STYLE}</style></head>'
        f"<body><main><h1>{html.escape(title)}</h1>{body}</main></body></html>",
        status,
        HEADERS,
    )
