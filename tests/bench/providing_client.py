"""Downloads that cost nearly nothing: ``python providing_client.py PORT PATH CLIENTS FIRST LAST [BYTES_A_SECOND]``.

Each of CLIENTS connections asks for the bytes FIRST to LAST of PATH and throws them away in the kernel; with a rate
each takes that many a second, for as long as standard input is open. Prints ``begun`` once each has its answer's head,
and in the end the seconds that it all took.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time

DISCARD = 1 << 20


def main() -> None:
    port, path, clients, first, last, *rate = sys.argv[1:]
    length = int(last) - int(first) + 1
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={first}-{last}\r\nConnection: close\r\n\r\n".encode()
    began = time.monotonic()
    connections = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(int(clients))]
    for each in connections:
        each.sendall(request)
    lefts = {each: _head(each) + length for each in connections}
    print("begun", flush=True)
    if rate:
        _slowly(connections, int(rate[0]))
    else:
        _at_once(lefts)
    print(time.monotonic() - began)


def _head(connection: socket.socket) -> int:
    """Take the answer's head; how many bytes of the body came with it, as a number to be left out."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(1024)
        if not piece:
            raise SystemExit(f"no answer: {head!r}")
        head += piece
    if not head.startswith((b"HTTP/1.1 206", b"HTTP/1.1 200")):
        raise SystemExit(f"another answer: {head[:200]!r}")
    return -len(head.partition(b"\r\n\r\n")[2])


def _at_once(lefts: dict[socket.socket, int]) -> None:
    with selectors.DefaultSelector() as selector:
        for each in lefts:
            selector.register(each, selectors.EVENT_READ)
        nothing = bytearray(DISCARD)
        while lefts:
            for key, _ in selector.select():
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                # TCP's MSG_TRUNC drops what came without copying it: tcp(7).
                count = connection.recv_into(nothing, DISCARD, socket.MSG_TRUNC)
                lefts[connection] -= count
                if not count or lefts[connection] <= 0:
                    if lefts[connection] > 0:
                        raise SystemExit("an answer broke off")
                    selector.unregister(connection)
                    connection.close()
                    del lefts[connection]


def _slowly(connections: list[socket.socket], rate: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        while not selector.select(0.1):
            for each in connections:
                each.recv(max(1, rate // 10))


if __name__ == "__main__":
    main()
