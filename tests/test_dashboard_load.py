"""The load of the dashboard changes controls that its pages have, and notices what is lost."""

from __future__ import annotations

import http.client
import random
import socket
import ssl
import threading
import time

import pytest
import tls
from hosted import write_certificate
from load_readers import ACTS, FAILED, Found, Visit
from store_factory import shared_store
from stream import Reader


@pytest.fixture(scope="module")
def url(server) -> str:
    return server(shared_store()).url


@pytest.mark.parametrize("page", [page for page, acts in ACTS.items() if acts])
def test_each_act_of_a_page_changes_a_control_that_it_has(url, page):
    with Reader(url) as reader:
        shown = reader.open(page)
        for act in ACTS[page]:
            key, value = act.keys[0]
            after = reader.change(shown, key, **value(shown, key, random.Random(1)))
            assert after.elements, act.name
            assert not any(words in after.text() for words in FAILED), act.name


def test_a_visit_notes_times_and_volumes(url):
    found = Found()
    Visit(url, "patient", {}, found, random.Random(1)).run(3, lambda: 0)
    assert (found.sessions, found.passes, len(found.times), found.troubles) == (1, 4, 3, [])
    assert len(found.fetched) >= 6


def test_a_visit_that_is_lost_is_counted(url):
    found = Found()
    Visit(url, "no_such_page", {}, found, random.Random(1)).run(1, lambda: 0)
    Visit("http://127.0.0.1:9", "patient", {}, found, random.Random(1)).run(1, lambda: 0)
    assert len(found.troubles) == 2
    assert found.sessions == 1


def test_messages_that_a_reader_has_are_not_sent_again(url):
    with Reader(url) as reader:
        first, again = reader.open("patient"), reader.open("patient")
    assert [kind for kind, _, _ in again.elements] == [kind for kind, _, _ in first.elements]
    assert again.bytes < 0.75 * first.bytes


def test_http_clients_of_the_standard_library_wait_for_their_answers(tmp_path):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*write_certificate(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            with server.wrap_socket(listening.accept()[0], server_side=True) as one:
                one.recv(1000)
                time.sleep(0.2)
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        answering = threading.Thread(target=answer)
        answering.start()
        port = listening.getsockname()[1]
        asking = http.client.HTTPSConnection("127.0.0.1", port, context=tls.trusting(), timeout=30)
        asking.request("GET", "/")
        assert asking.getresponse().read() == b"ok"
        asking.close()
        answering.join(30)


def test_threads_that_share_a_connection_never_use_it_at_once(tmp_path, monkeypatch):
    """Else what one of them writes is lost now and then, and a sign-in gets no answer."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*write_certificate(tmp_path))
    sent, at_once = bytes(300_000), []

    def watched(kind):
        real = getattr(ssl.SSLSocket, kind)

        def call(self, *arguments):
            if isinstance(self, tls.SharedSocket) and not self.alone.locked():
                at_once.append(kind)
            return real(self, *arguments)

        monkeypatch.setattr(ssl.SSLSocket, kind, call)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            with server.wrap_socket(listening.accept()[0], server_side=True) as one:
                for _ in range(2):
                    rest = len(sent)
                    while rest:
                        rest -= len(one.recv(rest))
                    one.sendall(sent)

        answering = threading.Thread(target=answer)
        answering.start()
        with tls.trusting().wrap_socket(socket.create_connection(listening.getsockname())) as one:
            one.settimeout(30)
            watched("read"), watched("send")
            found = bytearray()

            def read():
                while len(found) < 2 * len(sent):
                    found.extend(one.recv(1 << 16))

            reading = threading.Thread(target=read)
            reading.start()
            for _ in range(2):
                one.sendall(sent)
            reading.join(60)
            answering.join(60)
    assert bytes(found) == 2 * sent
    assert at_once == []
