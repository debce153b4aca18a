"""From a staging folder to a published run: contents, check, manifest, rename. Safe against a kill at any point."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from store.errors import NotWritableError, SpecViolationError
from store.files import atomic
from store.files.encoding import path_part
from store.files.folders import Folder
from store.spec import MANIFEST, MODELS_FOLDER, SPEC_VERSION, TABLES_FOLDER, WORK_FOLDER
from store.writing.run_list import keep_run_list
from store.writing.validate import check


def publish_folder(staging: Path, store: Path, run_id: str, manifest: dict[str, Any], replace: bool) -> Path:
    """Check a staging folder and move it to <store>/<run_id>; see RunWriter.publish."""
    if path_part(run_id) != run_id:
        raise SpecViolationError(f"{run_id!r} cannot name a run: use letters, digits, - and _")
    target = store / run_id
    aside = store / WORK_FOLDER / f"{run_id}.replaced"
    if (target / MANIFEST).exists():
        if not staging.is_dir() or not any(p.is_file() for p in staging.rglob("*")):
            # An earlier call was interrupted after the rename.
            _tidy(store, staging, aside)
            return target
        if not replace:
            raise NotWritableError(f"run {run_id} is already in {store}: remove it first, or ask to replace it")
    manifest = {**manifest, "spec_version": SPEC_VERSION, "run": run_id}
    (staging / MANIFEST).unlink(missing_ok=True)
    folder = Folder(staging)
    manifest["contents"] = contents(folder, staging)
    if problems := check(folder, manifest, recount=False):
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise SpecViolationError(f"run {run_id} is not published: {problems[0]}{more}")
    for path in staging.rglob("*"):
        if path.is_file():
            atomic.flush(path)
    atomic.write_bytes(staging / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False, default=str).encode())
    if target.exists():
        if aside.exists():
            shutil.rmtree(aside)
        atomic.move(target, aside)
    atomic.move(staging, target)
    _tidy(store, staging, aside)
    keep_run_list(store, run_id)
    return target


def contents(folder: Folder, staging: Path) -> dict[str, Any]:
    """Make the table of contents of a run, with checksums. Those of heatmaps are in the heatmaps table."""
    arrays = []
    for path in folder.array_paths():
        array = folder.existing_array(path)
        arrays.append({"path": path, "shape": list(array.shape), "dtype": str(array.dtype)})
        # A file that is missing has no checksum; the check that follows names it.
        if not path.startswith("heatmaps/") and not any(folder.missing_files(path, array)):
            arrays[-1]["crc32"] = folder.crc32(path)
    rows = {name: folder.table_rows(f"{TABLES_FOLDER}/{name}.parquet") for name in folder.tables()}
    tables = {name: {"rows": n, "sha256": folder.sha256(f"{TABLES_FOLDER}/{name}.parquet")} for name, n in rows.items()}
    weights = sorted((staging / MODELS_FOLDER).glob("*.safetensors"))
    models = {file.stem: {"sha256": folder.sha256(f"{MODELS_FOLDER}/{file.name}")} for file in weights}
    heatmaps = rows.get("heatmaps", 0)
    return {
        "arrays": arrays, "tables": tables, "models": models, "heatmaps": heatmaps, "bytes": atomic.size_of(staging)
    }  # fmt: skip


def _tidy(store: Path, staging: Path, aside: Path) -> None:
    """Delete what a publication leaves: the replaced run, the empty staging folder and the empty folders above it."""
    for folder in (staging, aside):
        if folder.exists():
            shutil.rmtree(folder)
    for folder in staging.parents:
        if (store / WORK_FOLDER) not in folder.parents or any(folder.iterdir()):
            return
        folder.rmdir()
