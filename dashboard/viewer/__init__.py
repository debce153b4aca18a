"""The three-plane viewer: a canvas component, and the signed routes that bring volumes to it."""

from dashboard.viewer.component import show
from dashboard.viewer.group_scene import GroupPicture, group_scene
from dashboard.viewer.options import DEFAULTS, clean_options
from dashboard.viewer.scene import Map, RegionFigures, Scene, Volume, patient_volumes
from dashboard.viewer.serving import routes

__all__ = [
    "DEFAULTS",
    "GroupPicture",
    "Map",
    "RegionFigures",
    "Scene",
    "Volume",
    "clean_options",
    "group_scene",
    "patient_volumes",
    "routes",
    "show",
]
