"""The last look at a derived run before it is published: does any text of it still name a person, a scan or a place?"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from store.errors import SpecViolationError
from store.spec import TABLES_FOLDER

SHORTEST = 4  # letters of a name that is looked for: shorter ones, such as 1 or AD, are words of any text
LONG_NUMBER = 7  # digits of a number that is looked for
WEIGHTS, LARGEST_HEADER = ".safetensors", 1 << 20  # a header of texts begins the file of weights


def look_for(names: Collection[str], staging: Path, manifest: dict[str, Any]) -> None:
    """Read every text of a staging folder and its manifest.

    Args:
        names: what must not be found, as a word or as a part of one.
    Raises:
        SpecViolationError: a text holds one; says where, never which.
    """
    wanted = sorted(filter(_is_telling, names), key=len, reverse=True)
    if not wanted:
        return
    pattern = re.compile(f"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, wanted))})(?![A-Za-z0-9])")
    for place, text in _texts(staging, manifest):
        if pattern.search(text):
            raise SpecViolationError(
                f"{place} still names a subject or scan of the run it was derived from, so nothing was published: "
                "please report this as a fault of the software"
            )


def _is_telling(name: str) -> bool:
    """Return whether a name would not stand in a text by chance."""
    return len(name) >= (LONG_NUMBER if name.isdigit() else SHORTEST) and not name.isalpha()


def _texts(staging: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "the manifest", json.dumps(manifest, ensure_ascii=False)
    for file in sorted(path for path in staging.rglob("*") if path.is_file()):
        inside = file.relative_to(staging).as_posix()
        yield f"the name of a file below {inside.split('/')[0]}", inside
        if file.suffix == ".json":
            yield inside, file.read_text("utf-8")
        if file.suffix == WEIGHTS:
            with open(file, "rb") as stream:
                yield (
                    inside,
                    stream.read(min(int.from_bytes(stream.read(8), "little"), LARGEST_HEADER)).decode(
                        "utf-8", "replace"
                    ),
                )
    for file in sorted((staging / TABLES_FOLDER).glob("*.parquet")):
        table = pq.read_table(file)
        for name in table.column_names:
            column = table[name]
            if "string" in str(column.type):
                for text in column.unique().to_pylist():
                    if text:
                        yield f"table {file.stem}, column {name},", text
