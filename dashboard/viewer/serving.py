"""The routes of the viewer: signed volumes, its own JavaScript modules, and what lies behind the pixels of surfaces."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import logging
from pathlib import Path

import numpy as np
import pyarrow
import streamlit as st
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboard.data import workers
from dashboard.data.byte_cache import ByteCache
from dashboard.serving.addresses import base_path
from dashboard.shell import access
from dashboard.viewer import group_volumes, signing, surface_places, volumes
from store import StoreError

PREFIX = "/brainwhy"
FRONTEND = Path(__file__).parent / "frontend"
MEDIA = {".js": "text/javascript", ".css": "text/css"}
COMPRESSION = 1
PACKED_LIMIT = 48 << 20  # bytes


def routes(base: str = "") -> list[Route]:
    """Return the routes for st.App, which does not put baseUrlPath before them itself."""
    start = base_path(base) + PREFIX
    return [
        Route(f"{start}/volume/{{token}}", volume, methods=["GET"]),
        Route(f"{start}/frontend/{{version}}/{{name}}", frontend, methods=["GET"]),
        Route(f"{start}/surface/{{version}}/{{surface}}/{{convention}}", surface, methods=["GET"]),
    ]


def reader_of_session() -> str:
    """Return for whom addresses of this session are; see `access.reader`."""
    return access.reader(st.context.headers, st.context.cookies)


def volume_url(wanted: volumes.VolumeRequest, whose: str | None = None) -> str:
    """Return the address of a volume on this server, good for ten minutes and for one reader.

    Args:
        whose: `reader_of_session`, where it is known.
    """
    whose = reader_of_session() if whose is None else whose
    if not whose and volumes.is_of_groups(wanted):
        whose = access.ANYONE  # what is for those who are not signed in is for everyone
    return f"{base_path()}{PREFIX}/volume/{signing.signed(wanted.token(), whose)}"


def module_url(name: str = "viewer.js") -> str:
    """Return the address of a main module of the viewer; it changes with its code."""
    return f"{base_path()}{PREFIX}/frontend/{_version()}/{name}"


def surface_url(surface: str, convention: str) -> str:
    """Return the address of the vertices behind the pixels of a surface; it changes with them."""
    version = surface_places.version(surface, convention)
    return f"{base_path()}{PREFIX}/surface/{version}/{surface}/{convention}"


async def volume(request: Request) -> Response:
    """Answer with the integers of a volume in C order, little-endian, packed; the factor in the header X-Scale.

    Of averages and the underlay, `plane` and `at` of the query ask for some planes alone, (planes, across, up); of the
    underlay first those of the template, then those of its mask.
    """
    token, query = request.path_params["token"], request.query_params
    signed = (query.get("expires", ""), query.get("signature", ""))
    readers = (access.reader(request.headers, request.cookies), access.ANYONE)
    if not any(signing.is_valid(token, *signed, whose) for whose in readers):
        return _words(403, "This address is no longer valid: reload the page.")
    try:
        wanted = volumes.VolumeRequest.of_token(token)
        some = volumes.SomePlanes.of_query(query) if "plane" in query else None
        run = volumes.place_of(wanted.place)
        pool = workers.readers(run.store, run.run_id)
        coding = content_coding(request.headers)
        body, scale = await asyncio.get_running_loop().run_in_executor(pool, _body, wanted, some, coding)
    except StoreError as error:
        return _words(404, str(error))
    except volumes.NoSuchPlanesError as error:
        return _words(400, str(error))
    except Exception:
        logging.getLogger(__name__).exception("volume failed")
        return _words(500, "This volume could not be read. The log of the server says why.")
    headers = {
        "Content-Encoding": coding, "Cache-Control": f"private, max-age={signing.LIFETIME}", "X-Scale": repr(scale),
        "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding",
    }  # fmt: skip
    return Response(body, media_type="application/octet-stream", headers=headers)


def content_coding(headers: Headers) -> str:
    """Return how a volume is packed for a browser: zstd, which takes a sixth of the time, where it is accepted."""
    accepted = {word.strip().lower() for word in headers.get("accept-encoding", "").split(",")}
    return "zstd" if "zstd" in accepted else "gzip"  # with a weight (zstd;q=0) it is not asked for plainly


# What several readers of one view fetch is read and packed once: 60 ms a volume at 1 mm, with gzip 120.
_packed: ByteCache[tuple[bytes, float]] = ByteCache(PACKED_LIMIT, lambda packed: len(packed[0]))


def _body(wanted: volumes.VolumeRequest, some: volumes.SomePlanes | None, coding: str) -> tuple[bytes, float]:
    return _packed.get((wanted, some, coding), lambda: _pack(wanted, some, coding))


def _pack(wanted: volumes.VolumeRequest, some: volumes.SomePlanes | None, coding: str) -> tuple[bytes, float]:
    source = group_volumes if wanted.kind == group_volumes.KIND else volumes
    values, scale = source.read(wanted) if some is None else source.read_planes(wanted, some)
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    if coding == "zstd":
        return pyarrow.Codec("zstd", COMPRESSION).compress(little.data, asbytes=True), float(scale)
    return gzip.compress(little.data, COMPRESSION, mtime=0), float(scale)


async def frontend(request: Request) -> Response:
    """Answer with a file of the viewer's own code; its address changes with the code, so it may be kept for ever."""
    file = FRONTEND / request.path_params["name"]
    if request.path_params["version"] != _version() or file not in _files():
        return _words(404, "There is no such file in this version: reload the page.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(file.read_bytes(), media_type=MEDIA[file.suffix], headers=headers)


async def surface(request: Request) -> Response:
    """Answer with the vertices behind the pixels of a surface; they hold nothing of any run."""
    wanted = request.path_params["surface"], request.path_params["convention"]
    if not surface_places.is_known(*wanted):
        return _words(404, "There is no such surface.")
    loop = asyncio.get_running_loop()
    if request.path_params["version"] != await loop.run_in_executor(None, surface_places.version, *wanted):
        return _words(404, "There is no such surface in this version: reload the page.")
    headers = {
        "Content-Encoding": "gzip", "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return Response(surface_places.packed(*wanted), media_type="application/octet-stream", headers=headers)


def _files() -> list[Path]:
    return sorted(file for file in FRONTEND.iterdir() if file.suffix in MEDIA)


@functools.cache
def _version() -> str:
    content = hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in _files()))
    return content.hexdigest()[:12]


def _words(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, {"Cache-Control": "no-store"})
