"""The small store that ships with the project: groups and a few scans of a simulated demo run, for a first look.

docs/sharing.md, The example, has the two commands that made it.
"""

from __future__ import annotations

from pathlib import Path

PLACE = str(Path(__file__).with_name("example_results"))


def is_there() -> bool:
    """Return whether this installation brought the example along."""
    return Path(PLACE).is_dir()
