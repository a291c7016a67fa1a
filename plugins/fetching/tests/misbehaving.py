"""A provider that misbehaves as it is told: ``python misbehaving.py FILE BEHAVIOUR…``; prints its port, counts bytes.

It serves FILE at any path, with ranges, and answers ``/count`` with the bytes of FILE that it has sent. A behaviour is
a word, perhaps with a number: ``lie`` spoils the first byte of each answer; ``truncate`` breaks off in the middle;
``other-length``, ``other-range`` and ``whole`` answer with something else than was asked; ``stall`` sends half and
then nothing; ``rate=N`` sends N bytes a second; ``absent``, ``busy``, ``redirect`` and ``garbage`` answer so;
``busy-first=N`` does for the first N requests; ``die-after=N`` ends the process after N bytes; ``close`` and ``http10``
keep no connection; ``hash=HEX`` says of which content the answer is a part; ``hold=N:PATH`` sends nothing that begins
at byte N or later before there is something at PATH.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DATA = Path(sys.argv[1])
BEHAVIOUR = dict(word.partition("=")[::2] for word in sys.argv[2:])
CHUNK = 16 * 1024
lock = threading.Lock()
sent = 0
requests = 0


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0" if "http10" in BEHAVIOUR else "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        return

    def do_GET(self) -> None:
        global requests
        if self.path == "/count":
            self._answer(200, str(sent).encode())
            return
        with lock:
            requests += 1
        for word, status in (("absent", 404), ("busy", 503), ("redirect", 302)):
            if word in BEHAVIOUR:
                self._answer(status, b"", {"Location": "/elsewhere"} if status == 302 else {})
                return
        if requests <= int(BEHAVIOUR.get("busy-first", 0)):
            self._answer(503, b"")
            return
        if "garbage" in BEHAVIOUR:
            self.wfile.write(b"\x16\x03\x01 nothing like HTTP\r\n\r\n" * 10)
            self.close_connection = True
            return
        self._serve()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self) -> None:
        size = DATA.stat().st_size
        first, last = 0, size - 1
        held, _, until = BEHAVIOUR.get("hold", "").partition(":")
        asked = self.headers.get("Range", "")
        if asked and "whole" not in BEHAVIOUR:
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            if first >= size:
                self._answer(416, b"")
                return
            last = min(last, size - 1)
            while held and first >= int(held) and not Path(until).exists():
                time.sleep(0.01)
            self.send_response(206)
            shift = 1 if "other-range" in BEHAVIOUR else 0
            self.send_header("Content-Range", f"bytes {first + shift}-{last + shift}/{size + shift}")
        else:
            self.send_response(200)
        length = last - first + 1 - (1 if "other-length" in BEHAVIOUR else 0)
        self.send_header("Content-Length", str(length))
        if "hash" in BEHAVIOUR:
            self.send_header("X-Artifact-Hash", f"sha256:{BEHAVIOUR['hash']}")
        if "close" in BEHAVIOUR:
            self.send_header("Connection", "close")
        self.end_headers()
        try:
            self._send(first, length)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _send(self, first: int, length: int) -> None:
        global sent
        rate = int(BEHAVIOUR.get("rate", 0))
        dies = int(BEHAVIOUR.get("die-after", 0))
        half = length // 2
        chunk = min(CHUNK, max(1, rate // 20)) if rate else CHUNK
        with DATA.open("rb") as file:
            file.seek(first)
            done = 0
            while done < length:
                if done >= half and "truncate" in BEHAVIOUR:
                    self.close_connection = True
                    return
                if done >= half and "stall" in BEHAVIOUR:
                    time.sleep(3600)
                data = bytearray(file.read(min(chunk, length - done)))
                if not done and "lie" in BEHAVIOUR:
                    data[0] ^= 1
                if dies and sent + len(data) > dies:
                    os._exit(9)
                self.wfile.write(data)
                done += len(data)
                with lock:
                    sent += len(data)
                if rate:
                    time.sleep(len(data) / rate)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    with Server(("127.0.0.1", int(BEHAVIOUR.get("port", 0))), Provider) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
