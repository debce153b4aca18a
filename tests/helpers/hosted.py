"""A dashboard as a lab hosts it: nginx with TLS at a sub-path before server processes, and a provider of logins.

nginx runs the recipe of deploy/nginx.conf, with other ports and names.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.cookiejar
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import tls
import uvicorn
from browser import ROOT
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route
from stream import Reader

BASE = "/heat"
SECRET = "0123456789abcdef" * 4
CLIENT = "brainwhy-test"
START_S = 60
SECOND = "    server 127.0.0.1:8502 max_fails=1 fail_timeout=5s;\n"  # of the recipe: a line for each process


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _text(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode().rstrip("=")


@dataclass
class Provider:
    """An OpenID provider that lets `person` in without asking."""

    port: int = field(default_factory=free_port)
    person: dict[str, Any] = field(default_factory=dict)
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    nonces: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def about(self, _: Request) -> JSONResponse:
        return JSONResponse({
            "issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys",
            "end_session_endpoint": f"{self.url}/logout",
            "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
        })  # fmt: skip

    def authorize(self, request: Request) -> RedirectResponse:
        asked = request.query_params
        code = f"code-{len(self.nonces)}"
        self.nonces[code] = asked["nonce"]
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", 302)

    async def token(self, request: Request) -> JSONResponse:
        code = parse_qs((await request.body()).decode())["code"][0]
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": self.nonces.pop(code)}
        token = self.signed(claims | self.person)
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "expires_in": 300, "id_token": token})

    def signed(self, claims: dict[str, Any]) -> str:
        parts = [{"alg": "RS256", "typ": "JWT", "kid": "1"}, claims]
        text = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        signature = self.key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    def keys(self, _: Request) -> JSONResponse:
        public = self.key.public_key().public_numbers()
        one = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": _text(public.n), "e": _text(public.e)}
        return JSONResponse({"keys": [one]})

    def logout(self, request: Request) -> RedirectResponse:
        return RedirectResponse(request.query_params["post_logout_redirect_uri"], 302)

    @contextlib.contextmanager
    def running(self) -> Iterator[Provider]:
        routes = [
            Route("/.well-known/openid-configuration", self.about), Route("/authorize", self.authorize),
            Route("/token", self.token, methods=["POST"]), Route("/keys", self.keys), Route("/logout", self.logout),
        ]  # fmt: skip
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=self.port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield self
        server.should_exit = True
        thread.join(5)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that it signs itself, and its key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False).sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "brainwhy.pem", folder / "brainwhy.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    return files


@dataclass
class Site:
    """The whole: `url` is what readers open."""

    folder: Path
    port: int
    processes: dict[int, subprocess.Popen]
    provider: Provider
    start: Callable[[int], None]  # a process of a port, once more
    nginx: list[str]
    front: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}{BASE}"

    @property
    def state(self) -> Path:
        return self.folder / "state.sqlite"

    def connect(self) -> None:
        """Let nginx answer."""
        self.front = subprocess.Popen(self.nginx, stderr=subprocess.PIPE)

    def disconnect(self) -> None:
        """End all connections, and let nothing be reached any more, as where a reader's network is gone."""
        assert self.front is not None
        _end(self.front)

    def kill(self, port: int) -> None:
        """End a process at once, as a crash does."""
        self.processes[port].kill()
        self.processes[port].wait()

    def wait_until_ready(self, port: int) -> None:
        """Wait until a process that was started answers."""
        _wait(f"http://127.0.0.1:{port}{BASE}/ready", self.processes[port], self.folder / f"errors-{port}.log")

    def change_state(self, statement: str) -> int:
        """Write into the state file as its owner could; return how many rows changed."""
        with contextlib.closing(sqlite3.connect(self.state, timeout=10)) as database, database:
            return database.execute(statement).rowcount

    def log_in(self, name: str, role: str) -> dict[str, str]:
        """Sign somebody in as a browser does; return its cookies, that of the process it stays with among them."""
        self.provider.person = {"sub": name, "name": name.title(), "groups": [role]}
        jar = http.cookiejar.CookieJar()
        ask = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(jar), urllib.request.HTTPSHandler(context=tls.trusting())
        )
        ask.open(f"{self.url}/_stcore/health", timeout=START_S).close()
        with Reader(self.url, {cookie.name: cookie.value or "" for cookie in jar}) as reader:
            there = reader.change(reader.open("overview"), "sign-in", trigger_value=True).leads_to
        ask.open(f"https://localhost:{self.port}{there}", timeout=START_S).close()
        return {cookie.name: cookie.value or "" for cookie in jar}

    def log(self) -> list[dict[str, Any]]:
        """All lines of the access logs of all processes."""
        text = "".join((self.folder / f"access-{port}.log").read_text() for port in self.processes)
        return [json.loads(line) for line in text.splitlines()]


def _nginx(folder: Path, port: int, ports: list[int]) -> str:
    """The recipe, as a whole configuration of a server of this test's own."""
    certificate, key = write_certificate(folder)
    recipe = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in {
        SECOND: "".join(SECOND.replace("8502", str(one)) for one in ports[1:]),
        "listen 80;": f"listen 127.0.0.1:{free_port()};", "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/brainwhy.pem": str(certificate), "/etc/ssl/brainwhy.key": str(key),
        "127.0.0.1:8501": f"127.0.0.1:{ports[0]}",
        "brains.example.org": "localhost", "/var/log/nginx/brainwhy.log": f"{folder}/brainwhy.log",
    }.items():  # fmt: skip
        assert old in recipe, f"deploy/nginx.conf lacks {old}"
        recipe = recipe.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""
    own = f"{user} pid {folder}/nginx.pid; error_log {folder}/nginx.log; events {{ worker_connections 4096; }}"
    return f"{own} http {{ {temporary}\n{recipe}\n}}"


@contextlib.contextmanager
def hosted(store: Path, folder: Path, count: int = 2, tree: Path = ROOT, **environment: str) -> Iterator[Site]:
    """A site that serves a store; all processes end with the block.

    Args:
        count: of server processes.
        tree: the project whose dashboard it is.
        environment: further variables of the server processes.
    """
    port, ports = free_port(), [free_port() for _ in range(count)]
    with Provider().running() as provider, contextlib.ExitStack() as stack:
        (folder / ".streamlit").mkdir()
        (folder / ".streamlit" / "secrets.toml").write_text(f"""
            [auth]
            redirect_uri = "https://localhost:{port}{BASE}/oauth2callback"
            cookie_secret = "{SECRET}"
            client_id = "{CLIENT}"
            client_secret = "secret"
            server_metadata_url = "{provider.url}/.well-known/openid-configuration"
            client_kwargs = {{ scope = "openid profile" }}
        """)
        (folder / "nginx.conf").write_text(_nginx(folder, port, ports))
        variables = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        variables |= {"XDG_CONFIG_HOME": str(folder)} | environment
        processes: dict[int, subprocess.Popen] = {}

        def start(one: int) -> None:
            command = [
                sys.executable, "-m", "dashboard", "serve", "--store", str(store), "--port", str(one),
                "--base-path", BASE, "--state", str(folder / "state.sqlite"),
            ]  # fmt: skip
            out = stack.enter_context(open(folder / f"access-{one}.log", "ab"))
            errors = stack.enter_context(open(folder / f"errors-{one}.log", "ab"))
            processes[one] = subprocess.Popen(command, cwd=folder, env=variables, stdout=out, stderr=errors)
            stack.callback(_end, processes[one])

        for one in ports:
            start(one)
        nginx = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        site = Site(folder, port, processes, provider, start, [*nginx, "-g", "daemon off;"])
        site.connect()
        stack.callback(site.disconnect)
        for one in ports:
            site.wait_until_ready(one)
        yield site


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait(url: str, process: subprocess.Popen, errors: Path) -> None:
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer: {errors.read_text()}")
