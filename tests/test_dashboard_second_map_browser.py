"""A second map over the first in the viewer: another stored one, or a person's own file, which stays in the browser."""

from __future__ import annotations

import base64
import gzip

import nibabel as nib
import numpy as np
import pytest
from browser import open_page, problems, settled
from store_factory import METHODS, shared_store

import store

VIEWER = "__viewers()[0].__viewer"
FIRST, SECOND = tuple(METHODS)[:2]
INPUT = ".second input[type=file]"
DROP = """({name, bytes}) => {
    const file = new File([Uint8Array.from(atob(bytes), one => one.charCodeAt(0))], name);
    const transfer = new DataTransfer();
    transfer.items.add(file);
    const target = __viewers()[0].querySelector('canvas.plane');
    for (const type of ['dragover', 'drop'])
        target.dispatchEvent(new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def reader():
    return store.open_run(shared_store())


@pytest.fixture
def frames(page) -> list[bytes]:
    """What the page has sent over its sockets."""
    sent: list[bytes] = []

    def keep(payload: str | bytes) -> None:
        sent.append(payload.encode() if isinstance(payload, str) else payload)

    page.on("websocket", lambda socket: socket.on("framesent", keep))
    return sent


@pytest.fixture
def opened(page, server, frames):
    """The Patient page with its viewer."""
    open_page(page, f"{server(shared_store()).url}/patient?method={FIRST}")
    page.wait_for_function(f"__viewers().length && {VIEWER}.ready")
    return page


@pytest.fixture(scope="module")
def values(reader) -> np.ndarray:
    """Numbers that are all different, on the working grid."""
    return np.arange(reader.mask.size, dtype=np.float32).reshape(reader.mask.shape) / 7 - 50


def moved(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same volume with its axes in another order and direction."""
    to = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), to))


def whole_numbers(image: nib.Nifti1Image) -> nib.Nifti1Image:
    made = nib.Nifti1Image(image.get_fdata(), image.affine)
    made.set_data_dtype(np.int16)  # nibabel writes the slope and intercept that this takes
    return made


def by_quaternion(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = image.affine.copy()
    image.set_sform(None, code=0)
    image.set_qform(affine, code=1)
    return image


def big_endian(image: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine, nib.Nifti1Header(endianness=">"))


MADE = {
    "plain": lambda image: image,
    "left, posterior": lambda image: moved(image, "LPS"),
    "axes in another order, whole numbers": lambda image: whole_numbers(moved(image, "SLA")),
    "by quaternion, flipped": lambda image: by_quaternion(moved(image, "LAS")),
    "big-endian": big_endian,
}


def put(page, name: str, data: bytes) -> None:
    page.locator(INPUT).set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})
    page.wait_for_function(
        "() => { const said = __viewers()[0].querySelector('.second .problem').textContent;"
        f" return !said.startsWith('Reading') && (said || {VIEWER}.fileValue() !== null); }}"
    )


def said(page) -> str:
    return page.locator(".second .problem").inner_text()


@pytest.mark.parametrize("packed", [True, False], ids=["nii.gz", "nii"])
@pytest.mark.parametrize("made", MADE)
def test_a_file_lies_where_its_header_says_and_has_its_values(opened, reader, values, made, packed):
    data = MADE[made](nib.Nifti1Image(values, reader.affine())).to_bytes()
    put(opened, "mine.nii.gz" if packed else "mine.nii", gzip.compress(data) if packed else data)
    assert said(opened) == ""
    voxels = np.argwhere(reader.mask)
    for index in voxels[[len(voxels) // 3, len(voxels) // 2]]:
        mm = (np.diag(reader.affine())[:3] * index + reader.affine()[:3, 3]).tolist()
        for plane in ("coronal", "axial"):
            opened.mouse.click(*opened.evaluate(f"{VIEWER}.point('{plane}', {mm})"))
            opened.wait_for_function(f"{VIEWER}.ready")
        assert opened.evaluate(f"{VIEWER}.state.mm") == pytest.approx(mm)
        assert opened.evaluate(f"{VIEWER}.fileValue()") == pytest.approx(values[tuple(index)], abs=0.02)
    assert "mine.nii" in opened.locator(".cursor-panel .file").inner_text()
    assert "dropped file, not of this run" in opened.locator(".second strong").inner_text()


def oblique(image: nib.Nifti1Image) -> bytes:
    affine = image.affine.copy()
    affine[:3, :3] = affine[:3, :3] @ [[0.9, -0.4, 0], [0.4, 0.9, 0], [0, 0, 1]]
    return nib.Nifti1Image(np.asarray(image.dataobj), affine).to_bytes()


def far_away(image: nib.Nifti1Image) -> bytes:
    affine = image.affine.copy()
    affine[:3, 3] += 400
    return nib.Nifti1Image(np.asarray(image.dataobj), affine).to_bytes()


REFUSED = {
    "turned": (oblique, "resample it to the MNI template"),
    "of four dimensions": (
        lambda image: nib.Nifti1Image(np.stack([image.dataobj] * 2, -1), image.affine).to_bytes(), "several volumes"
    ),
    "elsewhere": (far_away, "does not touch the brain"),
    "cut off": (lambda image: image.to_bytes()[:-100], "incomplete"),
    "NIfTI-2": (lambda image: nib.Nifti2Image(np.asarray(image.dataobj), image.affine).to_bytes(), "NIfTI-2"),
    "a text": (lambda _: b"no volume " * 100, "no NIfTI file"),
    "damaged": (lambda image: gzip.compress(image.to_bytes())[:-200], "cannot be unpacked"),
    "without a place": (lambda image: nowhere(image), "does not say where it lies"),
}  # fmt: skip


def nowhere(image: nib.Nifti1Image) -> bytes:
    made = nib.Nifti1Image(np.asarray(image.dataobj), image.affine)
    made.set_sform(None, code=0)
    made.set_qform(None, code=0)
    return made.to_bytes()


@pytest.fixture(scope="module")
def shared_page(browser, server):
    from browser import new_page

    page = new_page(browser)
    open_page(page, f"{server(shared_store()).url}/patient?method={FIRST}")
    page.wait_for_function(f"__viewers().length && {VIEWER}.ready")
    yield page
    page.context.close()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_shown_is_refused_in_words(shared_page, reader, values, what):
    make, words = REFUSED[what]
    put(shared_page, "theirs.nii", make(nib.Nifti1Image(values, reader.affine())))
    assert words in said(shared_page)
    assert said(shared_page).startswith("theirs.nii cannot be shown: ")
    assert shared_page.evaluate(f"{VIEWER}.fileValue()") is None
    assert problems(shared_page) == []


def test_a_dropped_file_is_outlined_and_never_leaves_the_browser(opened, reader, frames):
    inside = np.zeros(reader.mask.shape, np.float32)
    middle = np.argwhere(reader.mask).mean(0).round().astype(int)
    box = tuple(slice(m - 1, m + 2) for m in middle)
    inside[box] = 5
    sent: list[str] = []
    opened.on("request", lambda one: sent.append(f"{one.method} {one.url}"))
    data = nib.Nifti1Image(inside, reader.affine()).to_bytes()
    opened.evaluate(DROP, {"name": "secret-name.nii", "bytes": base64.b64encode(data).decode()})
    opened.wait_for_function(f"{VIEWER}.fileValue() !== null")
    mm = (np.diag(reader.affine())[:3] * middle + reader.affine()[:3, 3]).tolist()
    opened.mouse.click(*opened.evaluate(f"{VIEWER}.point('coronal', {mm})"))
    opened.mouse.click(*opened.evaluate(f"{VIEWER}.point('axial', {mm})"))
    opened.wait_for_function(f"{VIEWER}.ready")
    opened.get_by_label("Threshold of the file").evaluate(
        "one => { one.value = 50; one.dispatchEvent(new Event('input')); }"
    )
    opened.wait_for_timeout(600)
    settled(opened)
    (found,) = opened.evaluate(f"{VIEWER}.outlined('coronal')")
    assert found["words"] == "secret-name.nii (dropped file, not of this run)"
    assert found["area"] > 0
    assert all(one.startswith("GET ") and "secret" not in one for one in sent)
    assert frames  # the view has been told
    assert not any(b"secret" in one or inside.tobytes()[:400] in one for one in frames)
    assert "secret" not in opened.url
    opened.get_by_label("What the file is").select_option("background")
    assert opened.evaluate(f"{VIEWER}.outlined('coronal')") == []
    light, dark = mm, [mm[0] + 8, mm[1], mm[2]]
    assert opened.evaluate(f"{VIEWER}.fileValue()") == 5
    opened.get_by_label("Opacity", exact=True).evaluate(
        "one => { one.value = 0; one.dispatchEvent(new Event('input')); }"
    )
    opened.wait_for_function(f"{VIEWER}.ready")
    grey = [
        opened.evaluate(f"{VIEWER}.pixel('axial', {[point[0] + 0.6, point[1] + 0.6, 0]})")[0] for point in (light, dark)
    ]
    assert grey[0] > 150
    assert grey[1] < 60
    opened.get_by_role("button", name="Remove").click()
    assert opened.evaluate(f"{VIEWER}.fileValue()") is None
    assert problems(opened) == []


def test_another_stored_map_is_outlined_at_its_own_threshold_and_the_link_keeps_it(opened):
    opened.get_by_label("Outline of another map").select_option(SECOND)
    opened.wait_for_timeout(600)
    settled(opened)
    (found,) = opened.evaluate(f"{VIEWER}.outlined('sagittal')")
    assert found["area"] > 0
    assert f"p_second={SECOND}" in opened.url
    opened.reload()
    opened.wait_for_function(f"__viewers().length && {VIEWER}.ready")
    assert opened.evaluate(f"{VIEWER}.outlined('sagittal')") == [found]
    opened.get_by_label("Outline of another map").select_option("none")
    opened.wait_for_timeout(600)
    settled(opened)
    assert opened.evaluate(f"{VIEWER}.outlined('sagittal')") == []
    assert "p_second=none" in opened.url
    assert problems(opened) == []
