"""What is packed is what is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.preprocessing.volume_cache import VolumeCache, has_part, pack, quantise, read_part, write_part
from store.files.atomic import replacing

SHAPE = (5, 6, 7)


def volume(seed: int, size: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=SHAPE) * size).astype(np.float32)


def parts(folder, count=3):
    for i in range(count):
        write_part(folder, f"s{i}", volume(i, 10.0**i), {"mask_dice": 0.5 + i / 10, "brain_ml": float("nan")}, "k")
    return [f"s{i}" for i in range(count)]


def test_round_trip(tmp_path):
    ids = parts(tmp_path / "parts")
    cache = pack(tmp_path / "parts", dict.fromkeys(ids[::-1], "k"), tmp_path / "volumes.h5", "print", {"n4": True})
    assert cache.ids == ["s2", "s1", "s0"]
    assert cache.shape == SHAPE
    assert len(cache) == 3
    assert "s1" in cache
    assert cache.settings == {"n4": True}
    assert cache.check("print")
    assert not cache.check("other")
    assert cache.quality_of("s1")["mask_dice"] == 0.6
    assert np.isnan(cache.quality_of("s1")["brain_ml"])
    read = cache.read(["s0", "s2", "s0"])
    assert read.dtype == np.float32
    for got, seed in zip(read, (0, 2, 0), strict=True):
        want = volume(seed, 10.0**seed)
        assert np.abs(got - want).max() <= np.abs(want).max() / 32767 * 0.51
    assert cache.read().shape == (3, *SHAPE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "volumes.h5"]
    with pytest.raises(KeyError):
        cache.read(["nobody"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=8, max_size=8))
def test_quantising_is_close(values):
    given_values = np.array(values, np.float32).reshape(2, 2, 2)
    integers, scale = quantise(given_values)
    assert np.abs(integers * scale - given_values).max() <= scale * 0.501


def test_parts_with_another_key_or_damage_are_not_read(tmp_path):
    parts(tmp_path, 1)
    assert has_part(tmp_path, "s0", "k")
    assert not has_part(tmp_path, "s0", "other")
    assert read_part(tmp_path, "s0", "other") is None
    assert read_part(tmp_path, "nobody", "k") is None
    file = tmp_path / "s0.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert not has_part(tmp_path, "s0", "k")
    assert read_part(tmp_path, "s0", "k") is None


def test_scans_are_taken_over_from_an_earlier_file(tmp_path):
    ids = parts(tmp_path / "parts", 2)
    earlier = pack(tmp_path / "parts", dict.fromkeys(ids, "k"), tmp_path / "volumes.h5", "f")
    before = earlier.read_integers(["s1"])
    write_part(tmp_path / "new", "s9", volume(9), {}, "k")
    both = pack(tmp_path / "new", dict.fromkeys(["s9", "s1"], "k"), tmp_path / "volumes.h5", "f", earlier=earlier)
    after = both.read_integers(["s1"])
    assert np.array_equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])
    with pytest.raises(KeyError, match="s5 has not been prepared"):
        pack(tmp_path / "new", {"s5": ""}, tmp_path / "other.h5", "f", earlier=both)
    assert not (tmp_path / "other.h5").exists()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "new" / "a.txt"
    with replacing(file) as temporary:
        temporary.write_text("one")
    with pytest.raises(TypeError), replacing(file) as temporary, temporary.open("w") as stream:
        stream.write(None)  # type: ignore[arg-type]
    assert [path.name for path in file.parent.iterdir()] == ["a.txt"]
    assert file.read_text() == "one"


def test_many_ids_fit(tmp_path):
    ids = [f"{'subject' * 8}-{i:05d}" for i in range(2000)]  # more than an HDF5 attribute holds
    for scan in ids:
        write_part_small(tmp_path / "parts", scan)
    assert pack(tmp_path / "parts", dict.fromkeys(ids, ""), tmp_path / "v.h5", "f").ids == ids


def write_part_small(folder, scan):
    folder.mkdir(exist_ok=True)
    np.savez(
        folder / f"{scan}.npz",
        volume=np.zeros((1, 1, 1), np.int16),
        scale=1.0,
        quality=np.array("{}"),
        key=np.array(""),
    )


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.h5").write_text("no")
    with pytest.raises(OSError, match="file signature"):
        VolumeCache(tmp_path / "x.h5")
