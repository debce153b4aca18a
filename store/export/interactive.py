"""A map as a web page of one file that opens anywhere, and its clusters and peaks as a table. Both by nilearn."""

from __future__ import annotations

import html
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from store.export.nifti import DISCLAIMER
from store.files.geometry import region_at
from store.reading.reader import RunReader

ICON = re.compile(r'<link rel="icon".*?>', re.DOTALL)  # lies on a server, which a page from a mail must not ask
BODY, TITLE = re.compile(r"<body[^>]*>"), re.compile(r"<title>.*?</title>", re.DOTALL)
BACKGROUND_STEP = 2  # every second voxel of the 1 mm template: a page of about 1 MB instead of 8
COLUMNS = {"X": "x_mm", "Y": "y_mm", "Z": "z_mm", "Peak Stat": "value", "Cluster Size (mm3)": "cluster_mm3"}


@dataclass(frozen=True)
class ShownMap:
    """A map on the working grid of a run, and how it is shown.

    Attributes:
        values: (x, y, z).
        threshold: smaller sizes are not shown.
        title: what it is, in words; texts of others are taken as they are, never as HTML.
        two_sided: negative values are shown and searched, too.
        top: the size from which the last colour is used; None: that of the largest value.
        trust: how far its method can be trusted, in words; empty where nothing is known.
        colours: (steps, 3) red, green, blue, 0 to 1, from -top (0, if not two-sided) to top; None: those of nilearn.
        picture: an SVG element that a page shows below the planes; empty for none.
        picture_words: what the picture shows.
    """

    values: np.ndarray
    threshold: float
    title: str
    two_sided: bool
    trust: str = ""
    top: float | None = None
    colours: np.ndarray | None = None
    picture: str = ""
    picture_words: str = ""


def map_page(run: RunReader, shown: ShownMap) -> str:
    """Return a map over the template as one HTML page with three planes, which opens offline, for example from a mail.

    The page says what is shown, that it is for research only, and SIMULATED where it is.
    """
    import nibabel as nib  # noqa: PLC0415
    from nilearn import plotting  # noqa: PLC0415

    step = BACKGROUND_STEP
    background, affine = run.array("template")[::step, ::step, ::step].astype(np.float32), run.affine("template").copy()
    affine[:3, :3] *= step
    words = [shown.title, shown.trust, f"run {run.run_id}", "SIMULATED" if run.simulated else "", DISCLAIMER]
    view = plotting.view_img(
        nib.Nifti1Image(np.asarray(shown.values, dtype=np.float32), run.affine()),
        bg_img=nib.Nifti1Image(background, affine),
        threshold=shown.threshold or 1e-6,
        vmax=shown.top,
        vmin=None if shown.two_sided or shown.top is None else 0,
        cmap=_colours(shown),
        symmetric_cmap=shown.two_sided,
        resampling_interpolation="nearest",
        black_bg=True,
    )
    # As a paragraph: nilearn cuts a title off where the first of the planes ends.
    said = html.escape(" ".join(f"{word.rstrip('.')}." for word in words if word))
    page = ICON.sub("", str(view.get_standalone())).replace("</body>", f"{_below(shown)}</body>")
    page = TITLE.sub(lambda _: f"<title>{said}</title>", page, count=1)
    return BODY.sub(lambda found: f'{found[0]}<p style="font-family:sans-serif">{said}</p>', page, count=1)


def _colours(shown: ShownMap) -> Any:
    """Return the colour map of a page, as nilearn takes it."""
    if shown.colours is None:
        return "cold_hot" if shown.two_sided else "hot"
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    return ListedColormap(np.clip(shown.colours, 0, 1), "as shown")


def _below(shown: ShownMap) -> str:
    """Return HTML of the picture of a map with its words; empty where it has none."""
    if not shown.picture:
        return ""
    words = html.escape(shown.picture_words, quote=True)
    fitting = shown.picture.replace("<svg ", f'<svg role="img" aria-label="{words}" style="width:100%;height:auto" ', 1)
    style = "max-width:900px;margin:1em auto;font-family:sans-serif"
    return f'<figure style="{style}">{fitting}<figcaption>{words}</figcaption></figure>'


def clusters(run: RunReader, shown: ShownMap, smallest_mm3: float = 0.0) -> pd.DataFrame:
    """Return the clusters of a map above its threshold, largest first, with their peaks.

    Columns: cluster (a number; letters are further peaks of the same cluster, at least 8 mm apart), x_mm, y_mm, z_mm
    (MNI), value, cluster_mm3 (missing for further peaks), region (of the atlas, at the peak; empty outside).

    Args:
        smallest_mm3: smaller clusters are left out.
    """
    import nibabel as nib  # noqa: PLC0415
    from nilearn import reporting  # noqa: PLC0415

    affine = run.affine()
    voxel_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No clusters found")  # an empty table says it
        found = reporting.get_clusters_table(
            nib.Nifti1Image(np.asarray(shown.values, dtype=np.float32), affine),
            stat_threshold=shown.threshold or 1e-6,
            cluster_threshold=int(np.ceil(smallest_mm3 / voxel_mm3)),
            two_sided=shown.two_sided,
        )
    found = found.rename(columns={"Cluster ID": "cluster", **COLUMNS})[["cluster", *COLUMNS.values()]]
    numbers = {name: pd.to_numeric(found[name], errors="coerce") for name in COLUMNS.values()}
    found = found.assign(cluster=found["cluster"].astype(str), **numbers)
    regions = run.table("regions")
    places = found[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
    return found.assign(region=[region_at(run.atlas, affine, regions, mm) for mm in places])
