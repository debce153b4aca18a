"""The dashboard where a platform runs `streamlit run` itself, as Streamlit Community Cloud does: results of groups.

The store is the one that BRAINWHY_STORE names (a path from the root of the repository, or a URL), else the folder
`public_store` of the repository. Make one by `python -m store derive STORE --group-level public_store`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import streamlit as st
from streamlit import logger

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dashboard.serving import hosting  # noqa: E402 - found by the line before

named = os.environ.get("BRAINWHY_STORE", "public_store")
# The platform shows the page in a frame of its own site.
hosting.start(
    hosting.Hosting(named if "://" in named else str(ROOT / named), frames=("'self'", "https://*.streamlit.app"))
)

# It warns of every cache that is made before its runtime, and then keeps it in memory, as it would anyway.
logger.get_logger("streamlit.runtime.caching.cache_data_api").setLevel("ERROR")

from dashboard.app import OPTIONS, SCRIPT  # noqa: E402 - now that it knows how it serves

app = st.App(SCRIPT, **OPTIONS)
