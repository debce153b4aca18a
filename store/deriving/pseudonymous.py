"""A whole run under keyed pseudonyms: every array and table, no name of a person, scan, site or file, and no date."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from store.deriving.pseudonyms import Pseudonyms, visits
from store.deriving.texts import HIDDEN, kind_of, name_parts, settings_without_places, without_places
from store.errors import NotInRunError
from store.files import atomic, tables
from store.files.encoding import path_part
from store.reading.reader import RunReader
from store.spec import (
    ARRAYS_FOLDER,
    MANIFEST_KEYS,
    MODELS_FOLDER,
    OPTIONAL_MANIFEST_KEYS,
    STRING,
    TABLES,
    TABLES_FOLDER,
)

HOW = "pseudonymous"
NATIVE_FOLDER = "native"
METADATA = "zarr.json"
KINDS = {"scan": "scan", "subject": "sub", "site": "site"}  # columns that are names -> how their pseudonyms begin
FREE_TEXTS = ("note", "text")  # columns in which a name may stand
KEPT = {*MANIFEST_KEYS, *OPTIONAL_MANIFEST_KEYS} - {"spec_version", "run", "contents"}


def steps_of(run: RunReader) -> int:
    """Count the steps of `write_pseudonymous`, for its progress."""
    contents = run.manifest["contents"]
    return len(contents["arrays"]) + len(_tables_of(run)) + len(contents["models"])


def _tables_of(run: RunReader) -> list[str]:
    return [spec.name for spec in TABLES if run.has_table(spec.name)]


def write_pseudonymous(run: RunReader, staging: Path, key: Pseudonyms, step: Callable[[str], None]) -> dict[str, Any]:
    """Write a run under pseudonyms into a staging folder; return its manifest, without name and identifier.

    Pictures of the preprocessing stay behind, since names are drawn into them.

    Args:
        step: is told of every step that is done.
    Raises:
        NotInRunError: the run is behind a server.
    """
    source = run.local_folder
    if source is None:
        raise NotInRunError(f"run {run.run_id} is behind a server: copy it to this machine first")
    _learn_names(run, key)
    for name in _tables_of(run):
        target = staging / TABLES_FOLDER / f"{name}.parquet"
        if name in tables.IN_PARTS:
            _write_parts(run, name, key, target)
        else:
            _write(target, tables.to_parquet(tables.conform(name, pseudonymous_table(run, name, key))))
        step(f"table {name}")
    for entry in run.manifest["contents"]["arrays"]:
        _copy_array(source / ARRAYS_FOLDER, staging / ARRAYS_FOLDER, entry["path"], run, key)
        step(f"array {entry['path'].split('/')[0]}")
    for name in run.manifest["contents"]["models"]:
        weights = f"{MODELS_FOLDER}/{path_part(name)}.safetensors"
        _copy(source / weights, staging / weights)
        card = json.loads(run.file(f"{MODELS_FOLDER}/{path_part(name)}.json"))
        told = json.dumps(_replaced(without_places(card), key), indent=2).encode()
        _write(staging / MODELS_FOLDER / f"{path_part(name)}.json", told)
        step(f"network {name}")
    return _manifest(run, key)


def _learn_names(run: RunReader, key: Pseudonyms) -> None:
    """Give every subject, scan and site of a run its pseudonym, so that texts that name them are understood."""
    for name in ("scans", "exclusions"):
        table = run.table(name)
        for column, kind in KINDS.items():
            if column in table:
                key.column(kind, table[column])


def _write_parts(run: RunReader, name: str, key: Pseudonyms, target: Path) -> None:
    """Write a large table piece by piece."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tables.PartsWriter(name, target) as file:
        for part in run.table_parts(name):
            texts = part.select_dtypes("category").columns
            file.add(_pseudonymous(run, name, key, part.astype(dict.fromkeys(texts, "string"))))


def pseudonymous_table(run: RunReader, name: str, key: Pseudonyms) -> pd.DataFrame:
    """Return a table with pseudonyms in the place of names, and visits without dates."""
    return _pseudonymous(run, name, key, run.table(name))


def _pseudonymous(run: RunReader, name: str, key: Pseudonyms, table: pd.DataFrame) -> pd.DataFrame:
    if name == "scans":
        known = visits(table)
        pairs = zip(table["subject"].astype(str), table["session"], strict=True)
        table["session"] = [known.get((s, str(v)), v) if pd.notna(v) else v for s, v in pairs]
        table["source_hash"] = table["source_hash"].map(lambda h: key.hash_of(str(h)) if pd.notna(h) and h else h)
    if name == "exclusions":
        parts = name_parts({str(n) for c in ("scan", "subject") for n in table[c].dropna()})
        parts |= name_parts({str(n) for c in ("scan", "subject") for n in run.table("scans")[c].dropna()})
        table["reason"] = [kind_of(text, parts) for text in table["reason"].fillna("")]
    for column in FREE_TEXTS:
        if column in table:
            table[column] = [_told(text, key) if pd.notna(text) else text for text in table[column]]
    for column, kind in KINDS.items():
        if column in table and table[column].notna().any():
            table[column] = key.column(kind, table[column]).astype("string")
    strings = {c: "string" for c, (dtype, _) in tables.known_table(name).columns.items() if dtype == STRING}
    return table.astype({c: d for c, d in strings.items() if c in table})


def _told(text: str, key: Pseudonyms) -> str:
    """Return a text with pseudonyms; dots for one that holds a path or a file."""
    return HIDDEN if without_places(text) == HIDDEN else key.inside(text)


def _copy_array(source: Path, target: Path, path: str, run: RunReader, key: Pseudonyms) -> None:
    """Take over the files of an array; the space of a scan goes by the scan's pseudonym."""
    parts = path.split("/")
    if parts[0] == NATIVE_FOLDER:
        names = {path_part(str(scan)): str(scan) for scan in run.table("scans")["scan"]}
        parts[1] = path_part(key.of("scan", names.get(parts[1], parts[1])))
    new = "/".join(parts)
    for file in sorted((source / path).rglob("*")):
        if file.is_file() and file.name != METADATA:
            _copy(file, target / new / file.relative_to(source / path))
    described = json.loads(run.file(f"{ARRAYS_FOLDER}/{path}/{METADATA}"))
    described["attributes"] = _replaced(described.get("attributes", {}), key)
    _write(target / new / METADATA, json.dumps(described, indent=2).encode())
    group = json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2).encode()
    for folder in (target / new).parents:
        if not (folder / METADATA).exists():
            _write(folder / METADATA, group)
        if folder == target:
            break


def _write(target: Path, data: bytes) -> None:
    """Write a file of the staging folder, which is made durable as a whole when it is published."""
    with atomic.writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _copy(source: Path, target: Path) -> None:
    with atomic.writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _replaced(value: Any, key: Pseudonyms) -> Any:
    """Return JSON with pseudonyms in the place of names, in keys and in texts."""
    if isinstance(value, dict):
        return {key.inside(str(name)): _replaced(part, key) for name, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, key) for part in value]
    return key.inside(value) if isinstance(value, str) else value


def _manifest(run: RunReader, key: Pseudonyms) -> dict[str, Any]:
    source = {name: part for name, part in run.manifest.items() if name in KEPT and name != "config"}
    # Names of packages, groups and stages are the software's own or the reader's key to the tables: they stay.
    texts = {name: _replaced(part, key) for name, part in source.items() if name in ("notices",)}
    return source | texts | {"config": _replaced(settings_without_places(run.manifest["config"]), key)}
