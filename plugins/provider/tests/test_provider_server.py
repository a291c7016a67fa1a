"""The HTTP server by itself."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest
from plasm_provider.httpd.limits import Limits
from plasm_provider.httpd.listening import listen, reachable
from plasm_provider.httpd.messages import Request, Response
from plasm_provider.httpd.server import Server

from plasm.errors import PlasmError

LOG = logging.getLogger("plasm.service.provider")


class Nobody:
    """An observer that counts nothing."""

    def connected(self, count: int) -> None: ...

    def answered(self, status: int) -> None: ...

    def sent(self, count: int) -> None: ...


@contextmanager
def serving(handler: Callable[[Request], Response], allows=lambda ip: True, **limits: float) -> Iterator[int]:
    """The port of a server that runs in a thread."""
    with listen("127.0.0.1", 0) as listener:
        server = Server([listener], handler, limits=Limits(**limits), observer=Nobody(), allows=allows, log=LOG)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.stop()
            thread.join(20)
            assert not thread.is_alive()


def status(port: int, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def test_a_handler_that_fails_costs_one_answer() -> None:
    def handler(request: Request) -> Response:
        if request.path == ("broken",):
            raise ZeroDivisionError
        return Response(200, b"well")

    with serving(handler) as port:
        assert status(port, "/broken") == 500
        assert status(port) == 200


def test_an_answer_that_cannot_be_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> Response:
        return Response(200, b"well", (("X", "a\nb"),) if request.path == ("broken",) else ())

    with serving(handler) as port:
        with pytest.raises(http.client.RemoteDisconnected):
            status(port, "/broken")
        assert status(port) == 200
    assert "LocalProtocolError" in caplog.text


def test_a_long_document_is_not_copied_for_each_client() -> None:
    document = bytes(64 * 2**20)

    def growth(port: int) -> int:
        before = psutil.Process().memory_info().rss
        clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(20)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # All have their head, so that what the server holds of each answer is held.
        heads = [client.recv(15) for client in clients]
        grown = psutil.Process().memory_info().rss - before
        for client in clients:
            client.close()
        assert heads == [b"HTTP/1.1 200 OK"] * 20
        return grown

    with serving(lambda request: Response(200, document)) as port:
        assert growth(port) < 5 * len(document)


def test_addresses_that_are_not_allowed_are_not_answered() -> None:
    with serving(lambda request: Response(200), allows=lambda ip: False) as port, pytest.raises(ConnectionError):
        status(port)


def test_it_ends_while_clients_are_connected() -> None:
    with serving(lambda request: Response(200), drain_seconds=0.1) as port:
        idle = socket.create_connection(("127.0.0.1", port), timeout=20)
        assert status(port) == 200
    assert idle.recv(1) == b""
    idle.close()


def test_it_may_be_stopped_before_it_runs() -> None:
    with listen("127.0.0.1", 0) as listener:
        server = Server(
            [listener],
            lambda request: Response(200),
            limits=Limits(),
            observer=Nobody(),
            allows=lambda ip: True,
            log=LOG,
        )
        server.stop()
        server.run()


def test_a_taken_port_is_said_to_be_taken() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(PlasmError, match=f"port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)


def test_a_foreign_address_is_said_to_be_foreign() -> None:
    with pytest.raises(PlasmError, match=r"192\.0\.2\.7 is no address of this machine"):
        listen("192.0.2.7", 0)


def test_a_wildcard_is_reached_under_each_address_and_loopback_last() -> None:
    with listen("0.0.0.0", 0) as listener:
        port = listener.getsockname()[1]
        found = reachable(listener, lambda ip: True)
        assert found[-1] == ("127.0.0.1", port)
        for host, each in found:
            socket.create_connection((host, each), timeout=20).close()
        assert reachable(listener, lambda ip: ip == "127.0.0.1") == [("127.0.0.1", port)]
