"""Which groups are too small to be shown to others: the one rule, for stores for others and for pages."""

from __future__ import annotations

FEWEST = 5  # subjects of a group or a count that may be shown or published; who wants more says so, never fewer
