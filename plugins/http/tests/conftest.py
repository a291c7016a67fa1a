from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Provider:
    """An HTTP server that has content under ``/sha256/HEX``, and misbehaves where it is told to."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        """By path."""
        self.behaviour = "honest"
        self.requests: list[str] = []
        """Paths, as they were asked for."""
        self.stalled = threading.Event()
        """Set once a request is left waiting."""
        self.hung_up = threading.Event()
        """Set once whoever was left waiting is gone."""
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def put(self, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        self.content[f"/sha256/{digest}"] = content
        return f"sha256:{digest}"

    def stop(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            return

        def do_GET(self) -> None:
            provider.requests.append(self.path)
            with contextlib.suppress(ConnectionError):
                self._answer(provider.behaviour, provider.content.get(self.path))

        def _answer(self, behaviour: str, content: bytes | None) -> None:
            if behaviour == "redirect":
                self._send(302, b"", Location="/elsewhere")
            elif behaviour == "busy":
                self._send(503, b"")
            elif behaviour == "garbage":
                self.wfile.write(b"\x16\x03\x01 nothing like HTTP\r\n\r\n")
                self.close_connection = True
            elif behaviour == "endless":
                self.send_response(200)
                self.end_headers()
                while not provider.over.is_set():
                    self.wfile.write(bytes(65536))
            elif content is None:
                self._send(404, b"")
            elif behaviour == "stall":
                self._send(200, content, length=len(content) + 1)
                provider.stalled.set()
                self.rfile.read(1)
                provider.hung_up.set()
            elif behaviour == "lie":
                self._send(200, b"!" + content[1:])
            elif behaviour == "truncate":
                self._send(200, content[: len(content) // 2], length=len(content))
                self.close_connection = True
            elif behaviour == "longer":
                self._send(200, content + b"!")
            elif self.headers.get("Range") == "bytes=0-0" and behaviour != "no ranges":
                if content:
                    self._send(206, content[:1], Content_Range=f"bytes 0-0/{len(content)}")
                else:
                    self._send(416, b"", Content_Range="bytes */0")
            else:
                self._send(200, content)

        def _send(self, status: int, body: bytes, *, length: int | None = None, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


Provide = Callable[..., Provider]


@pytest.fixture
def provide() -> Iterator[Provide]:
    """Starts providers, with a behaviour where one is named; all are stopped at the end."""
    started: list[Provider] = []

    def start(behaviour: str = "honest") -> Provider:
        started.append(Provider())
        started[-1].behaviour = behaviour
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def provider(provide: Provide) -> Provider:
    return provide()
