"""The viewer alone on a page, for tests in a browser: `streamlit run tests/helpers/viewer_harness.py`.

Environment: HARNESS_STORE, and optionally HARNESS_MODEL (default: the first that explained something). The query of
the URL is given to the viewer as its options; what comes back stands on the page as JSON.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import get_script_run_ctx

import store
from dashboard import viewer
from dashboard.data.runs import Run
from dashboard.text.formatting import in_order

PERCENTILES_FROM = 10  # subjects


def scene_of(place: str, number: int = 0) -> tuple[viewer.Scene, dict[str, dict[int, viewer.RegionFigures]], str]:
    """An explained scan with all its methods, its region shares, and the group that is explained."""
    reader = store.open_run(place)
    maps = reader.table("heatmaps", ["model", "method", "scan"])
    model = os.environ.get("HARNESS_MODEL", maps.model.iloc[0])
    scan = list(dict.fromkeys(maps[maps.model == model].scan))[number]
    methods = in_order(maps[(maps.model == model) & (maps.scan == scan)].method.tolist())
    run = Run(place, reader.run_id, reader.manifest["created"])
    scene = viewer.patient_volumes(reader, run, model, scan, methods, reader.groups[0])
    return scene, {method: _figures(reader, model, scan, method) for method in methods}, reader.groups[0]


def _figures(reader: store.RunReader, model: str, scan: str, method: str) -> dict[int, viewer.RegionFigures]:
    target = reader.groups[0]
    rows = reader.table("region_relevance", ["scan", "region", "share"], model=model, method=method, target=target)
    index = reader.table("regions", ["region", "index"]).set_index("region")["index"]
    found = {}
    for region, part in rows.groupby("region"):
        own = float(part.share[part.scan == scan].iloc[0])
        others = part.share[part.scan != scan]
        known = len(others) >= PERCENTILES_FROM
        percentile = float(100 * (others < own).mean()) if known else None
        found[int(index[region])] = viewer.RegionFigures(own, percentile, len(others), float(others.mean()))
    return found


def page() -> None:
    """One pass of the page."""
    st.set_page_config("Viewer", layout="wide")
    if st.button("Next scan"):
        st.session_state.number = st.session_state.get("number", 0) + 1
    scene, figures, group = scene_of(os.environ["HARNESS_STORE"], st.session_state.get("number", 0))
    # What is sent differs in every pass, as on a real page.
    st.session_state.passes = st.session_state.get("passes", 0) + 1
    scene = replace(scene, label=f"{scene.label} · pass {st.session_state.passes}")
    options, ignored = viewer.clean_options(st.query_params.to_dict())
    if st.button("Go to the origin"):
        st.session_state.revision = st.session_state.get("revision", 0) + 1
    revision = st.session_state.get("revision", 0)
    options |= {"revision": revision} | ({"mm": [0, 0, 0]} if revision else {})
    view = viewer.show(scene, figures=figures, group_words=group, options=options, key="viewer")
    st.code(json.dumps({"view": view, "ignored": ignored}), language="json")


if get_script_run_ctx(suppress_warning=True) is None:
    app = st.App(__file__, routes=viewer.routes(st.get_option("server.baseUrlPath")))
else:
    page()
