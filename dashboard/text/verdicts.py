"""How the verdict of a figure of trust looks."""

from __future__ import annotations

from store.reading.trust_figures import FAILS, HOLDS, NOT_MEASURED, UNCLEAR

# Colour and shape of each verdict, so that it is read without colours, too.
LOOKS = {
    HOLDS: ("green", ":material/check_circle:"), UNCLEAR: ("orange", ":material/help:"),
    FAILS: ("red", ":material/cancel:"), NOT_MEASURED: ("gray", ":material/do_not_disturb_on:"),
}  # fmt: skip
