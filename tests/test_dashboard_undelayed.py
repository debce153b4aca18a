"""Connections of the dashboard send what they have at once."""

from __future__ import annotations

import http.client
import socket
import statistics
import time
from urllib.parse import urlsplit

import pytest
from store_factory import shared_store

from dashboard.serving.undelayed import send_undelayed


@pytest.fixture
def listening():
    with socket.socket() as one:  # as Streamlit makes it: no protocol by name
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one


def is_undelayed(one: socket.socket) -> bool:
    with socket.create_connection(one.getsockname()), one.accept()[0] as connection:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def test_connections_of_a_listening_socket_are_undelayed(listening):
    assert not is_undelayed(listening)
    send_undelayed()
    assert is_undelayed(listening)


def test_sockets_that_do_not_listen_are_left_alone(listening):
    with socket.create_connection(listening.getsockname()) as other, socket.socket() as closed:
        closed.close()
        send_undelayed()
        assert not other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_server_answers_without_waiting_for_confirmations(server):
    """Delayed confirmations of the kernel take 40 ms, so that each answer in two parts took more."""
    connection = http.client.HTTPConnection(urlsplit(server(shared_store()).url).netloc, timeout=60)
    taken = []
    for _ in range(30):
        start = time.perf_counter()
        connection.request("GET", "/favicon.png")
        connection.getresponse().read()
        taken.append(time.perf_counter() - start)
    connection.close()
    assert statistics.quantiles(taken, n=4)[0] < 0.03
