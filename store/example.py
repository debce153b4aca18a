"""The small store that ships with the project: results of groups of a simulated demo run, for a first look.

Made by `python run_pipeline.py`, then `python -m store derive results --group-level store/example_results --name
example --small`.
"""

from __future__ import annotations

from pathlib import Path

PLACE = str(Path(__file__).with_name("example_results"))


def is_there() -> bool:
    """Return whether this installation brought the example along."""
    return Path(PLACE).is_dir()
