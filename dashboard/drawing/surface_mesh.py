"""The cortex as a surface: fsaverage5, which is inside nilearn, and what maps of voxels and regions are on it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dashboard.drawing.brain_maps import Brain

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SURFACES = ("inflated", "pial")
HEMISPHERES = ("left", "right")
PER_HEMISPHERE = 10242  # vertices; those of the left hemisphere come first
DEPTHS = 10  # places between the pial surface and the white matter that a vertex is the mean of, as in vol_to_surf
LEAST_INSIDE = 0.1  # of the places of a vertex that must lie in the brain
NO_CORTEX_MM = 1.0  # where the two surfaces are closer, on the medial wall, there is no cortex between them
# fsaverage is in MNI305, the maps are in MNI152: https://surfer.nmr.mgh.harvard.edu/fswiki/CoordinateSystems, 8.
MNI305_TO_MNI152 = np.array([
    [0.9975, -0.0073, 0.0176, -0.0429],
    [0.0146, 1.0009, -0.0024, 1.5496],
    [-0.0130, -0.0093, 0.9971, 1.1840],
])  # fmt: skip


@dataclass(frozen=True)
class Cortex:
    """Both hemispheres of fsaverage5, one behind the other.

    Attributes:
        pial, white: (vertices, 3) mm in MNI152, the outer and the inner surface of the cortex.
        inflated: (vertices, 3) mm, a shape without a place.
        faces: (triangles, 3) vertices, seen from outside against the clock.
        depth: (vertices,) how deep in a sulcus, in FreeSurfer's units; negative on a gyrus.
        medial_wall: (vertices,) True where there is no cortex.
    """

    pial: np.ndarray
    white: np.ndarray
    inflated: np.ndarray
    faces: np.ndarray
    depth: np.ndarray
    medial_wall: np.ndarray

    def points(self, surface: str) -> np.ndarray:
        """Return the (vertices, 3) places of a surface, "inflated" or "pial"."""
        return {"inflated": self.inflated, "pial": self.pial}[surface]


def of_hemisphere(hemisphere: str) -> slice:
    """Return the vertices of a hemisphere, "left" or "right"."""
    start = HEMISPHERES.index(hemisphere) * PER_HEMISPHERE
    return slice(start, start + PER_HEMISPHERE)


@functools.lru_cache(maxsize=1)
def cortex() -> Cortex:
    """Read fsaverage5 from the installed nilearn; nothing is downloaded. It is shared: never change it."""
    from nilearn.datasets import fetch_surf_fsaverage, load_fsaverage  # noqa: PLC0415
    from nilearn.surface import load_surf_data  # noqa: PLC0415

    meshes, files = load_fsaverage("fsaverage5"), fetch_surf_fsaverage("fsaverage5")

    def both(name: str) -> np.ndarray:
        parts = [meshes[name].parts[hemisphere].coordinates for hemisphere in HEMISPHERES]
        return np.concatenate(parts).astype(np.float32)

    def in_mni152(name: str) -> np.ndarray:
        return (both(name) @ MNI305_TO_MNI152[:, :3].T + MNI305_TO_MNI152[:, 3]).astype(np.float32)

    shifts = zip(HEMISPHERES, (0, PER_HEMISPHERE), strict=True)
    faces = np.concatenate([meshes["pial"].parts[hemisphere].faces + start for hemisphere, start in shifts])
    pial, white = in_mni152("pial"), in_mni152("white_matter")
    depth = np.concatenate([load_surf_data(files[f"sulc_{hemisphere}"]) for hemisphere in HEMISPHERES])
    wall = _medial_wall(np.linalg.norm(pial - white, axis=1), faces)
    return Cortex(pial, white, both("inflated"), faces.astype(np.int32), depth.astype(np.float32), wall)


def _medial_wall(thickness: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (vertices,) bool: the largest part of each hemisphere whose thickness in mm is next to nothing."""
    from scipy.sparse import coo_matrix  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    thin = thickness < NO_CORTEX_MM
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = edges[thin[edges].all(axis=1)]
    graph = coo_matrix((np.ones(len(edges), bool), edges.T), shape=(len(thin), len(thin)))
    part = np.where(thin, connected_components(graph, directed=False)[1], -1)
    wall = np.zeros(len(thin), bool)
    for hemisphere in HEMISPHERES:
        own = part[of_hemisphere(hemisphere)]
        names, sizes = np.unique(own[own >= 0], return_counts=True)
        wall[of_hemisphere(hemisphere)] = own == names[sizes.argmax()]
    return wall


@dataclass(frozen=True)
class Sampling:
    """How the vertices of the cortex are made of the voxels of a brain.

    Attributes:
        weights: (vertices, voxels), each row with the sum 1, or empty outside the brain.
        outside: (vertices,) True where there is no value: outside the brain, or on the medial wall.
    """

    weights: csr_matrix
    outside: np.ndarray

    @property
    def bytes(self) -> int:
        found = self.weights
        return int(found.data.nbytes + found.indices.nbytes + found.indptr.nbytes)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return (vertices,) float32 of `values` (voxels,); NaN where there is no value."""
        found = np.asarray(self.weights @ values, np.float32)
        found[self.outside] = np.nan
        return found


def sampling(brain: Brain) -> Sampling:
    """Find for each vertex the voxels between its pial and its white place: the mean of DEPTHS linear interpolations.

    Voxels outside the brain count for nothing, so that the map does not fade towards the edge of the brain. That is
    nilearn's `vol_to_surf` of the map divided by that of the mask, kept as a matrix: a map then takes 1 ms, by
    `vol_to_surf` 200 ms.
    """
    from scipy.sparse import coo_matrix  # noqa: PLC0415

    places = _places(brain.affine)
    below = np.floor(places).astype(np.int32)
    above = places - below
    number = np.full(brain.mask.shape, -1, np.int32)
    number[brain.mask] = np.arange(brain.voxels, dtype=np.int32)
    last = np.array(brain.mask.shape) - 1
    rows, columns, weights = [], [], []
    vertex = np.broadcast_to(np.arange(len(places), dtype=np.int32)[:, None], places.shape[:2])
    for corner in np.ndindex(2, 2, 2):
        voxel = below + np.array(corner)
        weight = np.where(corner, above, 1 - above).prod(axis=2) / DEPTHS
        found = number[tuple(np.moveaxis(np.clip(voxel, 0, last), -1, 0))]
        used = (found >= 0) & (weight > 0) & ((voxel >= 0) & (voxel <= last)).all(axis=2)
        rows.append(vertex[used])
        columns.append(found[used])
        weights.append(weight[used].astype(np.float32))
    shape = (len(places), brain.voxels)
    matrix = coo_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape).tocsr()
    inside = np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data /= np.repeat(np.maximum(inside, 1e-30), np.diff(matrix.indptr)).astype(np.float32)
    return Sampling(matrix, (inside < LEAST_INSIDE) | cortex().medial_wall)


def region_of_vertices(atlas: np.ndarray, affine: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return (vertices,) int32: the atlas index that is most frequent between pial and white matter; 0 for none.

    Places between the two that no region has are not counted, as the areas of an atlas leave gaps.

    Args:
        atlas: (x, y, z) index of the region.
        affine: (4, 4) of `atlas`, voxel -> mm.
        used: the indices that are areas of the atlas; others name no vertex.
    """
    from scipy.sparse import coo_matrix  # noqa: PLC0415

    places = np.rint(_places(affine)).astype(np.int32)
    last = np.array(atlas.shape) - 1
    found = atlas[tuple(np.moveaxis(np.clip(places, 0, last), -1, 0))]
    vertex, depth = np.nonzero(np.isin(found, used) & ((places >= 0) & (places <= last)).all(axis=2))
    counts = coo_matrix(
        (np.ones(len(vertex), np.int32), (vertex, found[vertex, depth])), (len(places), atlas.max() + 1)
    )
    named = np.asarray(counts.tocsr().argmax(axis=1)).ravel().astype(np.int32)
    named[cortex().medial_wall] = 0
    return named


def _places(affine: np.ndarray) -> np.ndarray:
    """Return the (vertices, DEPTHS, 3) places between pial surface and white matter, in voxels of an (4, 4) affine."""
    own, to_voxel = cortex(), np.linalg.inv(affine)
    pial, white = (points @ to_voxel[:3, :3].T + to_voxel[:3, 3] for points in (own.pial, own.white))
    return pial[:, None] + np.linspace(0, 1, DEPTHS)[:, None] * (white - pial)[:, None]
