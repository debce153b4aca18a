"""What the reader sees now: looks are changed in the browser, and hardly anything of the page runs for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.shell import url_state
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel

FOLLOWING = ("g_surface_open", "g_numbers", "g_test")  # folded parts of the page that show the look, too
View = dict[str, Any]


@dataclass
class Seen:
    """The pictures of the page, and the look that the browser has told of last.

    Attributes:
        look: what of the style is chosen on the page.
        as_seen: look, pictures and view -> the style of slices that look as the view says, and how each is drawn.
    """

    look: MapStyle
    as_seen: Callable[[MapStyle, Sequence[Panel], View], tuple[MapStyle, Mapping[Panel, Drawing]]]
    view: View
    grid: list[Panel] = field(default_factory=list)

    def current(self) -> tuple[MapStyle, dict[Panel, Drawing]]:
        """Return the style and how each picture is drawn, as seen now: also long after the page has run."""
        if not self.grid:
            return self.look, {}
        look, drawn = self.as_seen(self.look, self.grid, self.view)
        return look, dict(drawn)


def changes_page(_: View, __: View) -> bool:
    """Return whether the page must run again once the view has changed: one of its opened parts shows the look."""
    return any(url_state.kept(key) for key in FOLLOWING)
