"""A server that says exactly what a test has it say, byte by byte, over real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

Talk = Callable[[socket.socket], None]
"""What the server does with one connection; it is closed afterwards."""

_LONGEST_REQUEST = 64 * 1024


class Server:
    """Takes connections, each on a thread of its own, until it is closed."""

    def __init__(self, talk: Talk, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.talk = talk
        self.connections = 0
        self.requests: list[bytes] = []
        """The heads of the requests that :meth:`request` read."""
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._listener = socket.create_server((host, 0), family=family)
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._take)]
        self._threads[0].start()
        self.port = int(self._listener.getsockname()[1])
        self.origin = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def request(self, connection: socket.socket) -> bytes:
        """The head of the next request; empty where the client has closed."""
        head = b""
        while not head.endswith(b"\r\n\r\n") and len(head) < _LONGEST_REQUEST:
            byte = connection.recv(1)
            if not byte:
                return b""
            head += byte
        self.requests.append(head)
        return head

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.add(connection)
                thread = threading.Thread(target=self._talk, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _talk(self, connection: socket.socket) -> None:
        # The client hangs up on what it will not hear out.
        with connection, contextlib.suppress(OSError):
            self.talk(connection)

    def close(self) -> None:
        """End what is said, and wait until nobody speaks any more."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)


@contextlib.contextmanager
def serving(talk: Callable[[Server, socket.socket], None] | bytes, **options: socket.AddressFamily) -> Iterator[Server]:
    """A server that has `talk` with each connection, or gives these bytes in answer to one request."""

    def say(connection: socket.socket) -> None:
        if isinstance(talk, bytes):
            server.request(connection)
            connection.sendall(talk)
        else:
            talk(server, connection)

    server = Server(say, **options)
    try:
        yield server
    finally:
        server.close()


def answer(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer to be kept a connection for, whose ``Content-Length`` is `length` where that is given."""
    count = len(body) if length is None else length
    return head(f"Content-Length: {count}", *fields, status=status) + body


def head(*fields: str, status: str = "200 OK") -> bytes:
    """The head of an answer."""
    return "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *fields, "")).encode("latin-1")


def without_end(before: bytes, repeated: bytes, pause: float = 0.0) -> Callable[[Server, socket.socket], None]:
    """Says `before`, then `repeated` again and again until the client hangs up."""

    def talk(server: Server, connection: socket.socket) -> None:
        server.request(connection)
        connection.sendall(before)
        while True:
            connection.sendall(repeated)
            time.sleep(pause)

    return talk


def one_after_another(answers: Sequence[bytes]) -> Callable[[Server, socket.socket], None]:
    """Gives one of `answers` to each request of a connection, and closes it after the last."""

    def talk(server: Server, connection: socket.socket) -> None:
        for each in answers:
            if not server.request(connection):
                return
            connection.sendall(each)

    return talk


def silent(server: Server, connection: socket.socket) -> None:
    """Says nothing, ever."""
    server.request(connection)
    connection.recv(1)
