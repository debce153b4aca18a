"""TLS for clients of tests: any certificate is good, and threads may share a connection."""

from __future__ import annotations

import functools
import select
import ssl
import threading


class SharedSocket(ssl.SSLSocket):
    """A TLS connection that one thread may read while another one writes.

    OpenSSL's connections do not allow that, and Python's ssl (3.11) does not keep threads apart: a question that is
    written while the other thread takes in the session tickets of TLS 1.3 never reaches the server, about once in a
    hundred connections of websockets' threads on a busy machine. Here each call has the connection alone, and waits
    outside of it.
    """

    def do_handshake(self, block: bool = False) -> None:
        self.alone, self.ended = threading.Lock(), False
        super().do_handshake(block)

    def settimeout(self, value: float | None) -> None:
        self.patience = value
        super().settimeout(value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        return b"" if self.ended else super().recv(buflen, flags)

    def read(self, len: int = 1024, buffer: bytearray | None = None) -> bytes | int:
        """Of every way to receive, as recv_into of http.client."""
        while True:
            with self.alone:
                if self.ended:
                    return b"" if buffer is None else 0
                super().settimeout(0)
                try:
                    return super().read(len, buffer)
                except ssl.SSLWantReadError:
                    pass
            self._wait([self], [])

    def sendall(self, data: bytes, flags: int = 0) -> None:
        left = memoryview(data)
        while len(left):
            with self.alone:
                super().settimeout(0)
                try:
                    left = left[super().send(left, flags) :]
                    continue
                except ssl.SSLWantWriteError:
                    pass
            self._wait([], [self])

    def shutdown(self, how: int) -> None:
        with self.alone:
            self.ended = True  # what came now would no longer be decrypted
            super().shutdown(how)

    def _wait(self, to_read: list[ssl.SSLSocket], to_write: list[ssl.SSLSocket]) -> None:
        if not any(select.select(to_read, to_write, [], self.patience)):
            raise TimeoutError("the connection did not answer")


@functools.cache
def trusting() -> ssl.SSLContext:
    """A client's context that takes every certificate, and whose connections threads may share."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # not the default one, which reads 140 certificates first
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslsocket_class = SharedSocket
    return context
