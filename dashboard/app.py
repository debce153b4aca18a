"""Entry of the dashboard: `streamlit run dashboard/app.py`. The pages start in home.py; the routes serve volumes."""

from __future__ import annotations

import streamlit as st

from dashboard import viewer

app = st.App("home.py", routes=viewer.routes(st.get_option("server.baseUrlPath")))
