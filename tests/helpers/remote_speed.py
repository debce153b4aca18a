"""How long the first view of a page takes on a store behind a server, and what it asks for, in Chromium.

    python tests/helpers/remote_speed.py --store STORE [--delay 50] [--page group_maps] [--kinds local,https,s3]

Every request waits `--delay` ms. Cold: nothing is kept on disk; warm: what the view before kept is there. The server of
the dashboard is a fresh one each time, so that nothing is left in its memory; what of a first view is its own, the row
`local` says. Times are from the navigation to the finished page, painted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from browser import launched, main_text, new_page, start_server
from dashboard_speed import TIMED
from playwright.sync_api import Browser
from remote_server import Bucket, Faults, Plain, Unlisted, serving

KINDS = {"https": Unlisted, "listed": Plain, "s3": Bucket}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}


def certificate_of(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 with openssl -> file with key and certificate."""
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext"
    names = ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return both


@contextlib.contextmanager
def store_behind(kind: str, store: Path, folder: Path) -> Iterator[tuple[str, Faults | None, dict[str, str]]]:
    """Serve a store -> (its address, what the server is asked, variables that a reader needs)."""
    if kind == "local":
        yield str(store), None, {}
        return
    certificate = certificate_of(folder)
    with serving(store, KINDS[kind], certificate) as (address, faults):
        variables = {"SSL_CERT_FILE": str(folder / "certificate.pem"), "AWS_CA_BUNDLE": str(folder / "certificate.pem")}
        variables |= CREDENTIALS | {"AWS_ENDPOINT_URL": address, "FSSPEC_S3_ENDPOINT_URL": address}
        yield "s3://bucket" if kind == "s3" else address, faults, variables


def first_view(browser: Browser, address: str, page_name: str, folder: Path, variables: dict[str, str]) -> float:
    """Seconds of a first view in a fresh browser and on a fresh server."""
    server = start_server(address, folder, **variables)
    try:
        warm = new_page(browser)  # the server loads its libraries, on a page that reads no store
        warm.goto(f"{server.url}/_stcore/health")
        warm.context.close()
        page = new_page(browser)
        page.goto(f"{server.url}/{page_name}")
        seconds = page.evaluate(TIMED, "navigation")[0] / 1000
        if "This view failed" in main_text(page) or "does not answer" in main_text(page):
            raise SystemExit(f"the page fails:\n{main_text(page)}\n{server.log}")
        page.context.close()
        return seconds
    finally:
        server.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long a first view takes on a store behind a server.")
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--delay", type=float, default=50, help="ms before every answer; default: %(default)s")
    parser.add_argument("--page", default="group_maps", help="as in its address; default: %(default)s")
    parser.add_argument("--kinds", default="local,https,s3", help="with commas between; default: %(default)s")
    parser.add_argument("--show", action="store_true", help="list the requests, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, launched() as browser:
        folder = Path(name)
        first_view(browser, str(chosen.store), chosen.page, folder, {})  # the machine reads its files once
        for kind in chosen.kinds.split(","):
            cache = folder / f"cache-{kind}"
            for state in ("cold", "warm") if kind != "local" else ("-",):
                with store_behind(kind, chosen.store, folder) as (address, faults, variables):
                    if faults:
                        faults.delay = chosen.delay / 1000
                    begun = time.time()
                    seconds = first_view(
                        browser, address, chosen.page, folder, variables | {"BRAINWHY_CACHE": str(cache)}
                    )
                    asked, sent = (len(faults.asked), faults.sent) if faults else (0, 0)
                    print(
                        f"{kind:<6} {state:<5} {seconds:6.2f} s  {asked:4d} requests  {sent / 1e6:6.2f} MB", flush=True
                    )
                    if chosen.show and faults:
                        print(
                            "\n".join(f"    {line}" for line in faults.asked), f"\n    in {time.time() - begun:.1f} s"
                        )
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
