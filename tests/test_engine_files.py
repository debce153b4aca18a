"""Files that are damaged, pretend to be larger than they are, or only point to their content."""

from __future__ import annotations

import gzip
import resource

import nibabel as nib
import numpy as np
import pytest
import scan_factory as factory

from engine.cohort import file_checks
from engine.images import nifti

DAMAGED = "truncated or damaged; copy it again"


def _level_0(file):
    """A gzip whose bytes are those of the image, so that a flipped one still unpacks."""
    plain = nib.load(factory.good(file)).to_bytes()
    file.write_bytes(gzip.compress(plain, compresslevel=0))
    return file, bytearray(file.read_bytes())


def _flipped(file):
    file, content = _level_0(file)
    content[len(content) // 2] ^= 64
    file.write_bytes(content)


def _without_trailer(file):
    file, content = _level_0(file)
    file.write_bytes(content[:-8])


def _garbage_behind(file):
    file, content = _level_0(file)
    file.write_bytes(content + b"GARBAGE" * 50)


@pytest.mark.parametrize("damage", [_flipped, _without_trailer, _garbage_behind])
def test_damage_that_only_the_checksum_shows_is_found(tmp_path, damage):
    file = tmp_path / "a.nii.gz"
    damage(file)
    assert DAMAGED in file_checks.inspect(file)


def test_padding_behind_the_end_is_legal(tmp_path):
    file, content = _level_0(tmp_path / "a.nii.gz")
    file.write_bytes(content + bytes(4096))
    assert file_checks.inspect(file) is None


def _header(shape, offset: float = 352.0) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_sform(factory.affine(), code=1)
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["vox_offset"], header["magic"] = offset, b"n+1"
    return header.binaryblock + bytes(4)


def _bomb(file, head: bytes, megabytes: int):
    """`megabytes` of zeros behind a header, in one thousandth of that on disk."""
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(head)
        for _ in range(megabytes):
            stream.write(bytes(1 << 20))
    return file


@pytest.mark.parametrize(
    ("head", "megabytes", "words"),
    [
        (_header((1300, 1300, 1260)), 1, "declares 1300x1300x1260 voxels"),  # 8.5 GB as float32
        (_header((181, 217, 181), offset=8.5e9), 1, "declares 8499999744 bytes before the voxels"),
        (_header((40, 44, 40)), 400, "unpacks to more than its header declares"),
        (_header((200, 200, 200, 300)), 1, "4D with 300 volumes"),
    ],
)
def test_a_small_file_that_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, head, megabytes, words):
    file = _bomb(tmp_path / "a.nii.gz", head, megabytes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert words in file_checks.inspect(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_an_unknown_kind_of_voxels_is_one_line(tmp_path):
    content = bytearray(nib.load(factory.good(tmp_path / "good.nii.gz")).to_bytes())
    content[70:72] = (999).to_bytes(2, "little")
    (tmp_path / "a.nii").write_bytes(content)
    assert "is not a NIfTI file" in file_checks.inspect(tmp_path / "a.nii")


POINTERS = {
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": "git lfs pull",
    b"/annex/objects/MD5E-s12345--0cc175b9c0f1b6a831c399e269772661.nii.gz\n": "datalad get",
    b"../../.git/annex/objects/xx/yy/MD5E-s1--0cc1.nii.gz/MD5E-s1--0cc1.nii.gz": "datalad get",
}


@pytest.mark.parametrize("content", POINTERS)
def test_a_pointer_says_how_to_fetch_the_file(tmp_path, content):
    file = tmp_path / "a.nii.gz"
    file.write_bytes(content)
    assert POINTERS[content] in file_checks.inspect(file)
    assert "is a pointer" in file_checks.inspect(file)


def test_a_link_to_nowhere_says_how_to_fetch_the_file(tmp_path):
    file = tmp_path / "a.nii.gz"
    file.symlink_to(".git/annex/objects/a")
    assert "datalad get" in file_checks.inspect(file)
    assert nifti.missing_content(tmp_path / "none.nii.gz") is None
    assert nifti.missing_content(factory.good(tmp_path / "b.nii.gz")) is None
