"""Compare a run on disk with the specification -> list of problems, empty if it is sound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from store.errors import BrokenRunError, UnreachableError
from store.files.encoding import array_path, checksum, hexadecimal
from store.files.folders import Folder
from store.files.manifest import problems as manifest_problems
from store.files.shards import declared_dimensions
from store.reading import plausible
from store.reading.descriptions import FULL_GRID, array_problems, readable, shape_problem
from store.reading.read_ahead import ahead
from store.reading.truth import SCORE_RANGES, binary_of
from store.spec import (
    ARRAYS,
    CELLS,
    HEATMAPS,
    MODELS_FOLDER,
    NATIVE,
    SCANS,
    SPEC_VERSION,
    TABLES_FOLDER,
    TRUTH_SCANS,
    TRUTH_VISIBLE,
    TRUTH_VISIBLE_BINARY,
    array_spec,
    table_spec,
)
from store.writing.check_tables import ROW_COST, Progress, Steps, Tables, table_problems

AT_ONCE = 4096  # rows of the heatmaps table


def validate(
    place: str | Path | Folder, *, deep: bool = True, files: bool = True, progress: Progress | None = None
) -> list[str]:
    """Say what is wrong with a published run, one line each; empty if it is sound.

    Args:
        place: the folder or URL of the run.
        deep: read every number and compare it with its checksum; else only look whether it is there.
        files: look for every file of every array; else, with `deep` False, at tables and descriptions of arrays only.
        progress: called as progress(done, all), in proportion to the time.
    """
    folder = place if isinstance(place, Folder) else Folder(place)
    try:
        manifest = folder.manifest()
        return check(folder, manifest, deep=deep, files=files, progress=progress)
    except (BrokenRunError, UnreachableError) as error:
        return [folder.reason(error)]
    except Exception as error:  # what nobody thought of is still the run's fault, and must not hide other runs
        return [f"cannot be checked: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]


def damage(store: str | Path, run: str) -> list[str]:
    """Say what is wrong with the manifest, the tables and the arrays' descriptions of a run, one line each.

    A quick look, to say why something failed: no numbers are read. `python -m store verify` reads them, too.
    """
    return validate(Folder(store).child(run), deep=False, files=False)


def check(
    folder: Folder, manifest: dict[str, Any], *, deep: bool = True, recount: bool = True, files: bool = True,
    progress: Progress | None = None,
) -> list[str]:  # fmt: skip
    """Report problems of a folder against a manifest that may not be in it yet.

    Args:
        recount: compare files with the checksums of the manifest; pointless just after these were taken.
        files: look for every file of every array.
        progress: as for `validate`.
    """
    if not readable(manifest.get("spec_version", "")):
        return [f"spec version is {manifest.get('spec_version')!r}, this code reads {SPEC_VERSION.split('.')[0]}.x"]
    if problems := manifest_problems(manifest):
        return problems
    steps = Steps(manifest, progress, numbers=deep and files, stored=deep and recount)
    data = Tables({}, {})
    problems = [*plausible.manifest_problems(manifest), *table_problems(folder, manifest, data, steps)]
    problems += _array_problems(folder, manifest, files)
    if not problems:
        problems += _reference_problems(folder, data, [entry["path"] for entry in manifest["contents"]["arrays"]])
        problems += _heatmap_problems(folder, deep, steps) if files else []
        problems += _truth_problems(folder, manifest, data.kept, deep) if files else []
    problems += _content_problems(folder, manifest, data, steps if deep and recount else None)
    return problems


def _array_problems(folder: Folder, manifest: dict[str, Any], files: bool) -> list[str]:
    """Report problems of every array of the contents, and every array that must be there and is not."""
    listed = [entry["path"] for entry in manifest["contents"]["arrays"]]
    problems = [
        f"array {spec.path} is missing"
        for spec in ARRAYS
        if not spec.optional and "{" not in spec.path and spec.path not in listed
    ]
    for entry in manifest["contents"]["arrays"]:
        path = entry["path"]
        try:
            array = folder.array(path)
        except (BrokenRunError, UnreachableError) as error:
            problems.append(folder.reason(error))
            continue
        if array is None:
            problems.append(f"array {path} is missing")
            continue
        names = declared_dimensions(array)
        problems += array_problems(path, array.shape, str(array.dtype), names, dict(array.attrs))
        if list(array.shape) != entry["shape"] or str(array.dtype) != entry["dtype"]:
            problems.append(f"array {path}: {array.shape} {array.dtype} is not what the manifest says")
        if not files or path.startswith("heatmaps/"):
            continue
        if (gap := next(folder.missing_files(path, array), None)) is not None:
            problems.append(f"array {path}: the file at {gap} is missing")
    return problems or [*_shape_problems(folder, listed), *_grid_problems(folder, manifest["grid_mm"])]


def _grid_problems(folder: Folder, grid_mm: float) -> Iterator[str]:
    """Report voxels of another size than the manifest says."""
    affine = np.array(folder.existing_array("grid/mask").attrs["affine"], float)
    edge = abs(float(np.linalg.det(affine[:3, :3]))) ** (1 / 3)
    if abs(edge - grid_mm) > 0.01 * grid_mm:
        yield f"array grid/mask: voxels have edges of {edge:g} mm, the manifest says {grid_mm:g}"


def _shape_problems(folder: Folder, listed: list[str]) -> Iterator[str]:
    """Report arrays that must lie on the same grid and do not."""
    grid, full = folder.existing_array("grid/mask").shape, folder.existing_array("mask").shape
    for path in listed:
        array = folder.existing_array(path)
        if problem := shape_problem(path, array.shape, array.attrs, full if path in FULL_GRID else grid):
            yield problem


def _reference_problems(folder: Folder, tables: Tables, listed: list[str]) -> Iterator[str]:
    """Report rows that name a scan, model or array that is not there."""
    data = tables.kept
    known = {"scan": set(data["scans"]["scan"].to_pylist()), "model": set(data["models"]["model"].to_pylist())}
    both = ("scan", "model")
    for name, columns in {"predictions": both, "heatmaps": both, "quality": ("scan",), "flags": ("scan",)}.items():
        for column in columns if name in data else ():
            strange = sorted(set(data[name][column].unique().to_pylist()) - known[column])
            if strange:
                yield f"table {name}: {column} {strange[0]!r} is not in the {column}s table"
    stored = folder.array("scans")
    if stored is not None and stored.shape[0] != tables.rows["scans"]:
        yield f"array scans has {stored.shape[0]} volumes, the table has {tables.rows['scans']} rows"
    expected = {array_path(NATIVE, scan=scan) for scan in known["scan"]}
    for path in listed:
        if array_spec(path) is NATIVE and path not in expected:
            yield f"array {path}: there is no such scan in the scans table"
    key = ["model_set", "method", "target", "scale", "diagnosis", "predicted"]
    for row in data["cells"].select(key).to_pylist():
        if folder.array(array_path(CELLS, **row)) is None:
            yield f"array {array_path(CELLS, **row)} is missing, the cells table lists it"


def _truth_problems(folder: Folder, manifest: dict[str, Any], data: dict[str, pa.Table], deep: bool) -> Iterator[str]:
    """Say what cannot be right with the truth of a simulated run."""
    change, binary = (folder.array(spec.path) for spec in (TRUTH_VISIBLE, TRUTH_VISIBLE_BINARY))
    if (change is None) != (binary is None):
        there, lacks = (TRUTH_VISIBLE, TRUTH_VISIBLE_BINARY)[:: 1 if binary is None else -1]
        yield f"array {lacks.path} is missing, {there.path} is there"
    listed = [entry["path"] for entry in manifest["contents"]["arrays"] if entry["path"].startswith("truth/")]
    if listed and not manifest["simulated"]:
        yield f"array {listed[0]}: a truth is known of simulated runs alone, and the manifest says simulated: false"
    of_scans = folder.array(TRUTH_SCANS.path)
    if of_scans is not None and of_scans.shape[0] != data["scans"].num_rows:
        yield f"array {TRUTH_SCANS.path} has {of_scans.shape[0]} volumes, the table has {data['scans'].num_rows} rows"
    if "truth_regions" in data:
        strange = set(data["truth_regions"]["region"].to_pylist()) - set(data["regions"]["region"].to_pylist())
        if strange:
            yield f"table truth_regions: region {min(strange)!r} is not in the regions table"
    if deep and change is not None and binary is not None:
        values, inside = folder.numbers(TRUTH_VISIBLE.path), folder.numbers("grid/mask") > 0
        if not np.isfinite(values).all() or (values < 0).any():
            yield f"array {TRUTH_VISIBLE.path} has values that are negative or not finite"
        elif ((folder.numbers(TRUTH_VISIBLE_BINARY.path) > 0) != binary_of(values, inside)).any():
            yield f"array {TRUTH_VISIBLE_BINARY.path} is not {TRUTH_VISIBLE.path} cut where store/spec.py says"
    if "truth_scores" in data:
        yield from _score_problems(data["truth_scores"].to_pandas())


def _score_problems(scores: pd.DataFrame) -> Iterator[str]:
    """Report truth scores that are out of their range, and intervals whose ends are the wrong way round."""
    for score, rows in scores.groupby("score"):
        low, high = SCORE_RANGES.get(score, (0, 1))
        if ((rows["value"] < low - 1e-6) | (rows["value"] > high + 1e-6)).any():
            yield f"table truth_scores: {score} has values outside {low:g} to {high:g}"
    for name in ("value", "difference", "null_difference"):
        low, high = (scores.get(f"{name}_{end}") for end in ("low", "high"))
        if low is not None and high is not None and (low > high).any():
            yield f"table truth_scores: {name}_low is above {name}_high"


def _heatmap_problems(folder: Folder, deep: bool, steps: Steps) -> Iterator[str]:
    """Report heatmaps that the table lists and that are not there as they were written; several are read at once."""

    def problem_of(row: dict[str, Any]) -> str | None:
        path = array_path(HEATMAPS, **{k: row[k] for k in ("model", "method", "target", "scale")})
        array = folder.array(path)
        if array is None:
            return f"array {path} is missing, the heatmaps table lists it"
        if not 0 <= row["row"] < array.shape[0]:
            return f"array {path}: no row {row['row']} for scan {row['scan']}"
        if not folder.has_file(path, array, (row["row"],) + (0,) * (array.ndim - 1)):
            return f"array {path}: the file of scan {row['scan']} is missing"
        return _number_problem(folder, path, row) if deep else None

    wanted = ["model", "method", "target", "scale", "scan", "row", "checksum"]
    for part in folder.table_parts(f"{TABLES_FOLDER}/heatmaps.parquet", wanted):
        for start in range(0, part.num_rows, AT_ONCE):
            rows = part.slice(start, AT_ONCE).to_pylist()
            with closing(ahead(lambda some: [problem_of(row) for row in some], _in_fours(rows))) as found:
                for problems in found:
                    yield from filter(None, problems)
                    steps.add(len(problems) * (1 if deep else ROW_COST))


def _in_fours(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Split rows into pieces that are worth handing to a thread."""
    for start in range(0, len(rows), 4):
        yield rows[start : start + 4]


def _number_problem(folder: Folder, path: str, row: dict[str, Any]) -> str | None:
    try:
        stored = folder.numbers(path, row["row"])
    except (BrokenRunError, UnreachableError) as error:
        return folder.reason(error)
    if hexadecimal(checksum(stored)) != row["checksum"]:
        return f"array {path}: the checksum of scan {row['scan']} is wrong"
    problem = plausible.number_problem(path, stored)
    return problem and f"array {path}: scan {row['scan']} {problem}"


def _content_problems(
    folder: Folder, manifest: dict[str, Any], data: Tables, steps: Steps | None
) -> Iterator[str]:  # fmt: skip
    """Report differences between the files and the table of contents.

    Args:
        steps: None: without a look at checksums.
    """
    contents, compare = manifest["contents"], steps is not None
    for name, entry in contents["tables"].items():
        path = f"{TABLES_FOLDER}/{name}.parquet"
        if name in data.rows and data.rows[name] != entry["rows"]:
            yield f"table {name} has {data.rows[name]} rows, the manifest says {entry['rows']}"
        if compare and folder.exists(path) and folder.sha256(path) != entry["sha256"]:
            yield f"table {name}: the checksum is wrong"
    if "heatmaps" in data.rows and data.rows["heatmaps"] != contents["heatmaps"]:
        yield f"there are {data.rows['heatmaps']} heatmaps, the manifest says {contents['heatmaps']}"
    with_weights = data.kept.get("models") if manifest.get("group_level") is None else None
    yield from _model_problems(folder, contents["models"], with_weights, compare)
    if manifest.get("group_level") is not None:
        yield from _person_problems(folder, manifest, data)
    for entry in contents["arrays"]:
        if steps is not None and "crc32" in entry:
            yield from _stored_problems(folder, entry["path"], entry["crc32"], steps)


def _person_problems(folder: Folder, manifest: dict[str, Any], data: Tables) -> Iterator[str]:
    """Report what is of single persons in a run that says it holds results of groups alone, or those it says it shows.

    Shown may be scans of simulated brains alone, of whom nothing but preprocessed volumes and heatmaps is there.
    """
    if "group_counts" not in data.rows:
        yield "table group_counts is missing, the manifest says group_level"
    shown = manifest["group_level"].get("shown", 0)
    if shown and not manifest["simulated"]:
        yield "manifest: group_level.shown is for simulated brains, and simulated is false"
    for name, count in data.rows.items():
        if not {"scan", "subject"} & set(table_spec(name).columns) or not count:
            continue
        if not shown:
            yield f"table {name} has {count} rows of single persons, the manifest says group_level"
        elif "scan" not in table_spec(name).columns or not _scans_of(folder, name) <= _scans_of(folder, "scans"):
            yield f"table {name} has rows of persons who are not shown, the manifest says group_level"
    if shown and (data.rows.get("scans") != shown or not _all_simulated(folder)):
        yield f"table scans: the manifest says that group_level shows {shown} simulated scans, and these are others"
    for entry in manifest["contents"]["arrays"]:
        path = entry["path"]
        if is_of_persons(path) and not (shown and array_spec(path) in (SCANS, HEATMAPS)):
            yield f"array {path} is of single persons, the manifest says group_level"


def _scans_of(folder: Folder, name: str) -> set[str]:
    path = f"{TABLES_FOLDER}/{name}.parquet"
    return {scan for part in folder.table_parts(path, ["scan"]) for scan in part["scan"].unique().to_pylist()}


def _all_simulated(folder: Folder) -> bool:
    return all(folder.table(f"{TABLES_FOLDER}/scans.parquet", ["simulated"])["simulated"].to_pylist())


def is_of_persons(path: str) -> bool:
    """Return whether an array holds a volume, heatmap or space of each scan."""
    try:
        spec = array_spec(path)
    except KeyError:
        return False
    return spec is NATIVE or "scan" in spec.dims


def _stored_problems(folder: Folder, path: str, crc32: str, steps: Steps) -> Iterator[str]:
    """Report numbers of an array that cannot be right, or are not those that were written."""
    crc, problem = 0, None
    try:
        for stored in folder.parts(path):
            crc, problem = checksum(stored, crc), problem or plausible.number_problem(path, stored)
            steps.add(1)
    except (BrokenRunError, UnreachableError) as error:
        yield folder.reason(error)
        return
    if hexadecimal(crc) != crc32:
        yield f"array {path}: the checksum is wrong"
    if problem:
        yield f"array {path}: {problem}"


def _model_problems(folder: Folder, listed: dict[str, Any], models: pa.Table | None, compare: bool) -> Iterator[str]:
    """Report weights that are missing or differ from the manifest or from the models table."""
    for name, entry in listed.items():
        for path in (f"{MODELS_FOLDER}/{name}.safetensors", f"{MODELS_FOLDER}/{name}.json"):
            if not folder.exists(path):
                yield f"model {name}: {path} is missing"
            elif compare and path.endswith(".safetensors") and folder.sha256(path) != entry["sha256"]:
                yield f"model {name}: the checksum of the weights is wrong"
    if models is None or not {"model", "weights_sha256"} <= set(models.column_names):
        return
    for row in models.select(["model", "weights_sha256"]).to_pylist():
        if row["model"] not in listed:
            yield f"model {row['model']}: its weights are missing"
        elif row["weights_sha256"] not in (None, listed[row["model"]]["sha256"]):
            yield f"model {row['model']}: the weights are not those of the models table"
