"""A map as a web page and as a table of clusters and peaks, by nilearn."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from store_factory import shared_store

from store import open_run
from store.export.interactive import ShownMap, clusters, map_page

COLOURS = r'id="colorMap[^>]*?base64,([^"]+)"'


@pytest.fixture(scope="module")
def run():
    return open_run(shared_store())


def planted(run) -> np.ndarray:
    """Two blobs of two voxels each, one negative voxel, and what lies below every threshold."""
    values = np.full(run.mask.shape, 0.1, dtype=np.float32)
    values[1, 2, 3], values[1, 3, 3] = 5, 4
    values[4, 5, 1], values[4, 5, 2] = 2, 3
    values[4, 1, 4] = -6
    return values


def test_clusters_are_those_that_were_planted(run):
    affine, names = run.affine(), run.table("regions").set_index("index")["region"]
    voxel = abs(np.linalg.det(affine[:3, :3]))
    found = clusters(run, ShownMap(planted(run), 1.5, "made up", two_sided=False))
    assert found["value"].tolist() == [5, 3]
    assert found["cluster_mm3"].tolist() == pytest.approx([2 * voxel] * 2)
    for row, place in zip(found.itertuples(), [(1, 2, 3), (4, 5, 2)], strict=True):
        assert [row.x_mm, row.y_mm, row.z_mm] == pytest.approx((affine @ [*place, 1])[:3].tolist())
        assert row.region == names.get(int(run.atlas[place]), "")


def test_negative_clusters_are_found_where_they_are_shown(run):
    found = clusters(run, ShownMap(planted(run), 1.5, "made up", two_sided=True))
    assert sorted(found["value"]) == [-6, 3, 5]


def test_small_clusters_can_be_left_out_and_none_is_an_empty_table(run):
    voxel = abs(np.linalg.det(run.affine()[:3, :3]))
    shown = ShownMap(planted(run), 1.5, "made up", two_sided=True)
    assert sorted(clusters(run, shown, smallest_mm3=1.5 * voxel)["value"]) == [3, 5]
    empty = clusters(run, ShownMap(planted(run), 99.0, "made up", two_sided=True))
    assert len(empty) == 0
    assert list(empty) == ["cluster", "x_mm", "y_mm", "z_mm", "value", "cluster_mm3", "region"]


def test_a_page_opens_offline_and_says_what_it_is(run):
    page = map_page(run, ShownMap(planted(run), 1.5, "A <script>alert(1)</script> map", two_sided=True))
    assert "<script>alert(1)" not in page
    assert "A &lt;script&gt;alert(1)" in page
    words = re.search(r"<body[^>]*><p[^>]*>(.*?)</p>", page)[1]  # a title over the planes would be cut off
    assert "SIMULATED" in words
    assert run.run_id in words
    assert "Research use only, not a medical device" in page
    assert run.run_id in page
    assert not re.findall(r"""src\s*=\s*["']https?://|<link[^>]+https?://|@import|fetch\(""", page), "it asks a server"
    assert len(page) < 8e6


def test_a_page_ends_its_colours_where_it_is_told(run):
    values = planted(run)
    one, other = (map_page(run, ShownMap(values, 1.5, "made up", two_sided=True, top=top)) for top in (None, 3.25))
    assert "3.25" not in one
    assert "3.25" in other


def test_a_page_has_the_colours_that_it_is_given(run):
    green = np.tile([0.0, 1.0, 0.0], (255, 1))
    page = map_page(run, ShownMap(planted(run), 1.5, "made up", two_sided=True, top=6.0, colours=green))
    colours = Image.open(io.BytesIO(base64.b64decode(re.search(COLOURS, page)[1]))).convert("RGB")
    found = {colour for _, colour in colours.getcolors()}
    assert (0, 255, 0) in found
    assert all(red == blue for red, _, blue in found)  # else grey, below the threshold


def test_a_page_shows_the_picture_that_it_is_given(run):
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><text>Left</text></svg>'
    shown = ShownMap(planted(run), 1.5, "made up", two_sided=True, picture=picture, picture_words='A "cortex" <b>')
    page = map_page(run, shown)
    assert '<svg role="img" aria-label="A &quot;cortex&quot; &lt;b&gt;"' in page
    assert "<text>Left</text>" in page
    assert "<figcaption>A &quot;cortex&quot; &lt;b&gt;</figcaption></figure></body>" in page
    assert "<figure" not in map_page(run, ShownMap(planted(run), 1.5, "made up", two_sided=True))
