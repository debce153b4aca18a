"""The averages of the patients by several methods under one crosshair, the truth outlined on each."""

from __future__ import annotations

from collections.abc import Sequence

from dashboard import viewer
from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.drawing import palette, planes
from dashboard.text.formatting import count, method_name, plain
from dashboard.views.shared import viewer_link
from dashboard.views.trust import maps as trust_maps
from store import NotInRunError

PREFIX = "tv_"


def show(run: Run, methods: Sequence[str], diagnoses: tuple[str, ...]) -> trust_maps.Cut:
    """Show the viewer; return where it is cut and where its colour starts, for pictures that look alike.

    Raises:
        NotInRunError: no method has such an average.
    """
    reader, group = runs.opened(run), runs.manifest(run)["groups"][0]
    pictures = []
    for method, average in trust_maps.averages(run, methods, diagnoses).items():
        try:
            data_averages.brain_map(average)
        except NotInRunError:
            continue
        people = count(data_averages.figures(average).subjects, "subject")
        unit, colour = trust_maps.unit_of(run, method), palette.method_colour(method)
        pictures.append(
            viewer.GroupPicture(method_name(method), f"n = {people}", (average,), (1.0,), unit, colour, one_sided=True)
        )
    label = f"Brainwhy {run.run_id} (simulated) · average of {plain(group)} by the held-out network"
    scene = viewer.group_scene(reader, run, pictures, label, kind=viewer.METHODS)
    headings = [picture.heading for picture in pictures]
    options = viewer_link.options(PREFIX, headings, headings[0], first={"truth": True})
    view = viewer.show(scene, figures={}, group_words="", options=options, key="t_viewer")
    viewer_link.remember(PREFIX, view)
    through = planes.PLANES[view["plane"]][2]
    mm = view["mm"] or data_averages.figures(pictures[0].averages[0]).peak_mm
    percentile = view["threshold"] if view["threshold_kind"] == "percentile" else 90.0
    return trust_maps.Cut(view["plane"], float(mm[through]), percentile)
