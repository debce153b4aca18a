"""What the tools beside the batch job share: `python -m engine.pipeline.NAME`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from engine.json_line import json_line


def tool_parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the option --json, for `python -m engine.pipeline.NAME`."""
    p = argparse.ArgumentParser(prog=f"python -m engine.pipeline.{name}", description=description)
    p.add_argument("--json", action="store_true", help="one line of JSON")
    return p


def print_answer(found: dict[str, Any], options: argparse.Namespace, markdown: Callable[[dict], list[str]]) -> int:
    """Print what a tool has found, as one line of JSON where --json asks for it; return the exit code 0."""
    print(json_line(found) if options.json else "\n".join(markdown(found)))
    return 0
