"""Servers that a store lies behind, for tests: a plain web server and an S3 bucket, with faults and delays.

`Plain` is `python -m http.server`, `Unlisted` the same without lists of folders and with connections that are kept,
`Ranges` that with parts of files, and `Bucket` as much of S3 as reading and publishing need: GET (with Range), HEAD,
PUT, parts, DELETE, ListObjectsV2 in pages, with checksums on arrival. The bucket is called bucket.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
XML = "<?xml version='1.0' encoding='UTF-8'?>"
DATE = "2026-01-01T00:00:00.000Z"


class Faults:
    """What a server does wrong, and what it was asked.

    Attributes:
        by_pattern: pattern of "METHOD /path" -> a status, bytes instead of the file, "silence", "hang up", "cut short",
            "flipped" (one byte is another), "expired" (as S3 says it of credentials), or a function that returns one.
        delay: seconds before every answer.
        asked: "METHOD /path" of every request; sent: bytes of all answers.
    """

    def __init__(self) -> None:
        self.by_pattern: dict[str, object] = {}
        self.delay = 0.0
        self.asked: list[str] = []
        self.sent = 0
        self.over = threading.Event()
        self.lock = threading.Lock()

    def of(self, request: str) -> object:
        with self.lock:
            self.asked.append(request)
        if self.delay:
            time.sleep(self.delay)
        return next((fault for pattern, fault in self.by_pattern.items() if re.search(pattern, request)), None)

    def forget(self) -> None:
        """Count from nothing."""
        self.asked, self.sent = [], 0


class Plain(SimpleHTTPRequestHandler):
    """`python -m http.server`, which knows no ranges, with faults."""

    def __init__(self, *arguments, faults: Faults, **options) -> None:
        self.faults = faults
        super().__init__(*arguments, **options)

    def log_message(self, *_) -> None:
        pass

    def do_HEAD(self) -> None:
        if not self.misbehaves():
            super().do_HEAD()

    def do_GET(self) -> None:
        if not self.misbehaves():
            super().do_GET()

    def copyfile(self, source, outputfile) -> None:
        data = source.read()
        self.faults.sent += len(data)
        outputfile.write(data)

    def file_asked_for(self) -> Path:
        return Path(self.translate_path(self.path))

    def misbehaves(self) -> bool:
        fault = self.faults.of(f"{self.command} {unquote(self.path)}")
        if callable(fault):
            fault = fault()
        if fault is None:
            return False
        if self.command in ("PUT", "POST"):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "silence":
            self.faults.over.wait(30)
            self.close_connection = True
        elif fault == "hang up":
            self.close_connection = True
        elif fault == "cut short":
            data = self.file_asked_for().read_bytes()
            self.answer(data[: len(data) // 2], length=len(data))
            self.close_connection = True
        elif fault == "flipped":
            data = bytearray(self.file_asked_for().read_bytes())
            data[len(data) // 2] ^= 255
            self.answer(bytes(data), "application/octet-stream")
        elif fault == "expired":
            words = "<Code>ExpiredToken</Code><Message>The provided token has expired.</Message>"
            self.answer(f"{XML}<Error>{words}</Error>".encode(), "application/xml", 400)
        elif isinstance(fault, int):
            self.send_error(fault)
        else:
            self.answer(fault)
        return True

    def answer(
        self, data: bytes, kind: str = "text/html", status: int = 200, length: int | None = None, **more
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.faults.sent += len(data)
            self.wfile.write(data)


class Unlisted(Plain):
    """A web server that shows no folders, and keeps its connections."""

    protocol_version = "HTTP/1.1"

    def list_directory(self, path):
        self.send_error(403)


class Ranges(Unlisted):
    """A web server that gives parts of files, as nginx does, and never reads a whole one for it."""

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted:
            super().do_GET()
        elif not self.misbehaves():
            first, last = int(wanted[1]), int(wanted[2])
            with self.file_asked_for().open("rb") as file:
                size = file.seek(0, 2)
                file.seek(first)
                data = file.read(last - first + 1)
            places = {"Content_Range": f"bytes {first}-{first + len(data) - 1}/{size}"}
            self.answer(data, "application/octet-stream", 206, **places)


class Bucket(Plain):
    """One bucket in a folder; keys that end in / are not kept, so that folders are not objects."""

    protocol_version = "HTTP/1.1"
    page_of_keys = 1000

    @property
    def query(self) -> dict[str, str]:
        return {name: value[0] for name, value in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket").strip("/")

    def file_asked_for(self) -> Path:
        return Path(self.directory, self.key)

    def do_GET(self) -> None:
        if self.misbehaves():
            return
        if "list-type" in self.query:
            self.answer(self.listing().encode(), "application/xml")
            return
        file = self.file_asked_for()
        if not self.key or not file.is_file():
            self.refuse("NoSuchKey", 404)
            return
        data = file.read_bytes()
        tag = {"ETag": etag(file, data), "Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and int(wanted[1]) >= len(data):
            self.refuse("InvalidRange", 416)
        elif wanted:
            end = min(int(wanted[2] or len(data)), len(data) - 1)
            places = {"Content_Range": f"bytes {wanted[1]}-{end}/{len(data)}"}
            self.answer(data[int(wanted[1]) : end + 1], "application/octet-stream", 206, **tag, **places)
        else:
            self.answer(data, "application/octet-stream", 200, **tag)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        if self.misbehaves():
            return
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            data = unchunked(data)
        if not self.arrived_whole(data):
            self.refuse("BadDigest", 400)
            return
        if "uploadId" in self.query:
            PARTS[self.query["uploadId"]][int(self.query["partNumber"])] = data
        else:
            put(self.file_asked_for(), data)
        self.answer(b"", ETag=f'"{hashlib.md5(data).hexdigest()}"')

    def do_POST(self) -> None:
        if self.misbehaves():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if "uploads" in self.query:
            name = f"upload-{time.monotonic_ns()}"
            PARTS[name] = {}
            found = f"<Bucket>bucket</Bucket><Key>{escape(self.key)}</Key><UploadId>{name}</UploadId>"
            found = f"<InitiateMultipartUploadResult>{found}</InitiateMultipartUploadResult>"
        elif "uploadId" in self.query:
            parts = PARTS.pop(self.query["uploadId"])
            digests = b"".join(hashlib.md5(parts[k]).digest() for k in sorted(parts))
            tag = f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'
            file = self.file_asked_for()
            put(file, b"".join(parts[k] for k in sorted(parts)))
            TAGS[file] = tag
            found = f"<CompleteMultipartUploadResult><ETag>{escape(tag)}</ETag></CompleteMultipartUploadResult>"
        else:
            for key in re.findall("<Key>(.*?)</Key>", body):
                Path(self.directory, key).unlink(missing_ok=True)
            found = "<DeleteResult></DeleteResult>"
        self.answer(f"{XML}{found}".encode(), "application/xml")

    def do_DELETE(self) -> None:
        if not self.misbehaves():
            self.file_asked_for().unlink(missing_ok=True)
            self.answer(b"", status=204)

    def arrived_whole(self, data: bytes) -> bool:
        """Return whether a body has the checksums that its sender gave."""
        md5, crc = self.headers.get("Content-MD5"), self.headers.get("x-amz-checksum-crc32")
        same = md5 is None or base64.b64decode(md5) == hashlib.md5(data).digest()
        return same and (crc is None or base64.b64decode(crc) == zlib.crc32(data).to_bytes(4, "big"))

    def refuse(self, code: str, status: int) -> None:
        self.answer(f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), "application/xml",
                    status)  # fmt: skip

    def listing(self) -> str:
        """Write a page of keys; with a delimiter, of what lies directly below the prefix."""
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        top = Path(self.directory)
        if delimiter:
            folder = top / prefix
            inside = sorted(folder.iterdir()) if folder.is_dir() else []
            entries = [(f"{prefix}{one.name}{'/' if one.is_dir() else ''}", one) for one in inside]
            if folder.is_dir() and prefix:  # as consoles make it when somebody clicks on "new folder"
                entries.append((prefix, None))
        else:
            files = sorted(one for one in (top / prefix.rpartition("/")[0]).rglob("*") if one.is_file())
            entries = [(key, one) for one in files if (key := one.relative_to(top).as_posix()).startswith(prefix)]
        entries.sort(key=lambda entry: entry[0])
        start = next((k for k, (key, _) in enumerate(entries) if key > self.query.get("continuation-token", "")), None)
        page = entries[start : start + self.page_of_keys] if start is not None else []
        more = bool(page) and page[-1][0] != entries[-1][0]
        head = f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        head += f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        head += f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
        return f"{XML}<ListBucketResult>{head}{''.join(map(entry_xml, page))}</ListBucketResult>"


TAGS: dict[Path, str] = {}  # of files that came in parts
PARTS: dict[str, dict[int, bytes]] = {}  # of uploads that are not finished


def etag(file: Path, data: bytes) -> str:
    return TAGS.get(file, f'"{hashlib.md5(data).hexdigest()}"')


def entry_xml(entry: tuple[str, Path | None]) -> str:
    key, file = entry
    if file is not None and file.is_dir():
        return f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
    data = b"" if file is None else file.read_bytes()
    tag = f'"{hashlib.md5(data).hexdigest()}"' if file is None else etag(file, data)
    facts = f"<Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{escape(tag)}</ETag>"
    return f"<Contents>{facts}<LastModified>{DATE}</LastModified></Contents>"


def unchunked(data: bytes) -> bytes:
    """Return the body of an aws-chunked request: size in hexadecimal, line end, bytes, line end."""
    body = b""
    while data:
        head, _, data = data.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if size == 0:
            return body
        body, data = body + data[:size], data[size + 2 :]
    return body


def put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    TAGS.pop(file, None)
    file.write_bytes(data)


@contextlib.contextmanager
def serving(folder: Path, kind: type[Plain] = Plain, certificate: Path | None = None) -> Iterator[tuple[str, Faults]]:
    """Run a server of a folder -> (its address, its faults); https with a file that holds key and certificate."""
    faults = Faults()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder), faults=faults))
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield (
            f"http{'s' if certificate else ''}://localhost:{server.server_port}".replace("localhost", "127.0.0.1"),
            faults,
        )
    finally:
        faults.over.set()
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def empty_bucket(folder: Path, setenv: Callable[[str, str], None]) -> Iterator[tuple[Path, Faults]]:
    """Serve an empty bucket, which s3://bucket leads to: (its folder, the faults of its server).

    Args:
        folder: to be made.
        setenv: of pytest's monkeypatch.
    """
    folder.mkdir()
    with serving(folder, Bucket) as (address, faults):
        setenv("AWS_ENDPOINT_URL", address)
        setenv("FSSPEC_S3_ENDPOINT_URL", address)
        yield folder, faults
