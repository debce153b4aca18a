"""Tables that grow with scans x regions: written piece by piece, read row group by row group, and checked so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from store_factory import copy_of_shared_store, shared_store

from store import RunWriter, SpecViolationError, open_run
from store.export.command import export_csv
from store.files import parquet
from store.files.tables import KeyCheck, conform
from store.reading.region_values import RegionValues, joined
from store.spec import table_spec
from store.writing.validate import validate

NAME = "region_relevance"
REGIONS = ["A", "B", "C"]


def piece(scans: list[str], method: str = "sensitivity", seed: int = 0) -> pd.DataFrame:
    """Rows of some scans by one method."""
    values = np.random.default_rng(seed).uniform(0, 1, (len(scans), len(REGIONS)))
    frame = pd.DataFrame({
        "model": "fold-1", "model_set": "folds", "method": method, "target": "AD",
        "scan": np.repeat(scans, len(REGIONS)), "region": REGIONS * len(scans),
    })  # fmt: skip
    return frame.assign(**dict.fromkeys(["signed_sum", "sum", "share", "share_atlas", "density"], values.ravel()))


@pytest.fixture
def copied(tmp_path):
    return copy_of_shared_store(tmp_path / "store")


@pytest.fixture
def written(tmp_path):
    writer = RunWriter(tmp_path / "run")
    pieces = [piece(["s1", "s2"]), piece(["s3"], seed=1), piece(["s1", "s2"], "occlusion", 2)]
    writer.put_table_parts(NAME, iter(pieces))
    return writer.staging / f"tables/{NAME}.parquet", pieces


def test_pieces_become_row_groups_that_hold_what_was_given(written):
    file, pieces = written
    assert pq.ParquetFile(file).num_row_groups == 3
    found = pd.read_parquet(file)
    pd.testing.assert_frame_equal(found, conform(NAME, pd.concat(pieces)), check_dtype=False)


def test_a_piece_that_cannot_be_leaves_the_older_table(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.put_table_parts(NAME, [piece(["s1"])])
    with pytest.raises(SpecViolationError, match="missing columns share"):
        writer.put_table_parts(NAME, [piece(["s1", "s2"]), piece(["s3"]).drop(columns="share")])
    assert pq.ParquetFile(writer.staging / f"tables/{NAME}.parquet").metadata.num_rows == 3
    assert [path.name for path in (writer.staging / "tables").iterdir()] == [f"{NAME}.parquet"]


def test_a_key_in_two_pieces_is_found_before_publication(copied):
    file = copied / f"tables/{NAME}.parquet"
    table = pq.read_table(file)
    with pq.ParquetWriter(file, table.schema) as writer:
        writer.write_table(table)
        writer.write_table(table.slice(5, 1))
    assert any(f"table {NAME}: the key" in line and "not unique" in line for line in validate(copied))


def test_a_table_without_pieces_is_an_empty_table(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.put_table_parts(NAME, [])
    assert list(pd.read_parquet(writer.staging / f"tables/{NAME}.parquet").columns) == list(table_spec(NAME).columns)


def test_row_groups_that_the_filter_excludes_are_not_read(written, monkeypatch):
    file, pieces = written
    read, groups = pq.ParquetFile.read_row_group, []
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *a, **o: (groups.append(a[1]), read(*a, **o))[1])
    with file.open("rb") as stream:
        found = parquet.read(stream, ["scan", "share", "method"], [("method", "=", "occlusion")])
    assert groups == [2]
    assert found["share"].to_pylist() == pieces[2]["share"].tolist()
    with file.open("rb") as stream:
        assert parquet.read(stream, ["scan", "model"], [("model", "=", "fold-9")]).num_rows == 0
    assert groups == [2]


def test_what_is_kept_is_bounded_not_what_the_file_holds(written, monkeypatch):
    file, _ = written
    data = file.read_bytes()
    monkeypatch.setattr(parquet, "LARGEST_TABLE", 900)
    columns = ["scan", "sum", "share"]
    assert parquet.read(data, [*columns, "method"], [("scan", "=", "s3")]).num_rows == 3
    with pytest.raises(ValueError, match="unpacks to more than"):
        parquet.read(data, list(table_spec(NAME).columns))


def test_a_key_in_two_row_groups_is_found(written):
    file, pieces = written
    for repeated, expected in ((pieces[1], []), (pieces[0].iloc[:1], ["not unique"])):
        keys, parts = KeyCheck(NAME), list(parquet.parts(file.read_bytes(), table_spec(NAME).key, categories=True))
        more = pq.read_table(file).schema.empty_table() if not expected else None
        if expected:
            sink = file.with_name("more.parquet")
            conform(NAME, repeated).to_parquet(sink)
            more = next(parquet.parts(sink.read_bytes(), table_spec(NAME).key, categories=True))
            parts.append(more)
        for part in parts:
            keys.add(part)
        lines = keys.repeated(parts)
        assert len(lines) == len(expected)
        assert all(word in line for word, line in zip(expected, lines, strict=True))


def test_region_values_are_the_pivot_of_the_long_table():
    run = open_run(shared_store())
    table = run.table(NAME, model_set="folds", method="occlusion", target="AD")
    found = run.region_values("folds", "occlusion", "AD", ("share", "sum"))
    order = run.table("regions")["region"].tolist()
    for column in ("share", "sum"):
        wide = table.pivot(index=["model", "scan"], columns="region", values=column)[order]
        own = pd.DataFrame(found.values[column], found.pairs(), order)
        np.testing.assert_array_equal(own.sort_index().to_numpy(), wide.to_numpy(float))
    some = found.scans == found.scans[0]
    both = joined([found.where(some), found.where(~some)])
    assert len(both.scans) == len(found.scans)
    assert len(run.region_values("folds", "nothing", "NC", ("share",)).scans) == 0


def test_scans_that_lack_a_region_have_no_value_for_it():
    frame = piece(["s1", "s2"]).iloc[:-1]
    values = RegionValues.of_table(frame, [*REGIONS, "D"], ("share",)).values["share"]
    assert np.isnan(values).tolist() == [[False, False, False, True], [False, False, True, True]]


def test_verify_says_how_far_it_is_and_ends_at_all(copied):
    said: list[tuple[int, int]] = []
    assert validate(copied, progress=lambda done, total: said.append((done, total))) == []
    assert said[-1][0] == said[-1][1] > 100
    assert [done for done, _ in said] == sorted(done for done, _ in said)


def test_pieces_of_a_table_are_the_whole_table():
    run = open_run(shared_store())
    whole, parts = run.table("predictions"), pd.concat(run.table_parts("predictions"), ignore_index=True)
    pd.testing.assert_frame_equal(parts.astype(object).fillna(""), whole.astype(object).fillna(""))


def test_the_csv_of_a_large_table_is_that_of_the_whole(tmp_path, monkeypatch):
    run = open_run(shared_store())
    export_csv(run, tmp_path / "parts")
    monkeypatch.setattr("store.export.command.IN_PARTS", ())
    export_csv(run, tmp_path / "whole")
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "parts" / file.name).read_bytes(), file.name
