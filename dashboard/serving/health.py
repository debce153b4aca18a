"""The routes that a probe asks: is the process up, and can it show its store."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import store
from dashboard.serving import hosting
from dashboard.serving.roles import NONE
from store import StoreError

KEPT_S = 10.0  # how long an answer about the store stands: a probe must not be a load
STARTED = time.time()
HEADERS = {"Cache-Control": "no-store"}
_last: dict[str, Any] = {}


def routes(base: str = "") -> list[Route]:
    """Return the routes /health and /ready under the base of all addresses."""
    return [Route(f"{base}/health", health, methods=["GET"]), Route(f"{base}/ready", ready, methods=["GET"])]


def software_version() -> str:
    """Return the installed version of this software; "unknown" where it runs from a folder."""
    try:
        return version("brainwhy")
    except PackageNotFoundError:
        return "unknown"


async def health(_: Request) -> JSONResponse:
    """Answer that the process is up, and since when."""
    return JSONResponse({"status": "up", "version": software_version(), "seconds": _seconds(STARTED)}, headers=HEADERS)


async def ready(_: Request) -> JSONResponse:
    """Answer whether the store can be read; 503 where it cannot."""
    found = await run_in_threadpool(_look)
    return JSONResponse(found, 200 if found["status"] == "ready" else 503, HEADERS)


def _seconds(since: float) -> float:
    return round(time.time() - since, 3)


def _look() -> dict[str, Any]:
    """Return what a probe is told of the store; the name of a run only where everyone may see that run."""
    settings = hosting.current()
    if settings is None:
        return {"status": "ready", "version": software_version()}
    if _last.get("until", 0) > time.time():
        return _last["answer"]
    start = time.time()
    answer: dict[str, Any] = {"status": "ready", "version": software_version(), "store": "readable"}
    try:
        runs = [run for run in store.list_runs(settings.store) if run.problem is None]
        seen = [run.run for run in runs if settings.roles.role({}, settings.public, run.run) != NONE]
        answer |= {"runs": len(runs), "newest_run": seen[0] if seen else None}
    except (StoreError, OSError) as error:  # its text may hold the address
        answer |= {"status": "not ready", "store": f"cannot be read ({type(error).__name__})"}
    answer["seconds"] = _seconds(start)
    _last.update(answer=answer, until=time.time() + KEPT_S)
    return answer
