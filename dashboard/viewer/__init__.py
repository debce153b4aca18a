"""The three-plane viewer and the cortical surface: components, and the routes that bring volumes to them."""

from dashboard.viewer.component import show
from dashboard.viewer.group_scene import METHODS, GroupPicture, group_scene
from dashboard.viewer.options import DEFAULTS, clean_options
from dashboard.viewer.patient_scene import patient_volumes
from dashboard.viewer.scene import Map, RegionFigures, Scene, Volume
from dashboard.viewer.serving import routes
from dashboard.viewer.surface import GlassPicture, SurfacePicture, show_glass
from dashboard.viewer.surface import show as show_surface

__all__ = [
    "DEFAULTS",
    "METHODS",
    "GlassPicture",
    "GroupPicture",
    "Map",
    "RegionFigures",
    "Scene",
    "SurfacePicture",
    "Volume",
    "clean_options",
    "group_scene",
    "patient_volumes",
    "routes",
    "show",
    "show_glass",
    "show_surface",
]
