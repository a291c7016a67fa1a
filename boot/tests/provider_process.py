"""A provider of a repository: ``python provider_process.py FOLDER BEHAVIOUR…``; prints its port.

It serves ``metadata``, ``targets`` and ``CHANNEL/ARCH/manifest.json`` of the folder, with ranges, and answers
``/count`` with the bytes of artifacts that it has sent. ``lie`` spoils a byte of each answer about an artifact;
``rate=N`` sends N bytes a second; ``die-after=N`` ends the process after N bytes of artifacts; ``stall-metadata``
answers for the timestamp and then for no other metadata; ``without=TEXT`` has no file with TEXT in its name;
``late=SECONDS`` answers after so long.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1]).resolve()
BEHAVIOUR = dict(word.partition("=")[::2] for word in sys.argv[2:])
CHUNK = 64 * 1024
lock = threading.Lock()
sent = 0


class Provider(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments: object) -> None:
        return

    def do_GET(self) -> None:
        if self.path == "/count":
            self.answer(str(sent).encode())
            return
        time.sleep(float(BEHAVIOUR.get("late", 0)))
        parts = self.path.strip("/").split("/")
        if ".." in parts:
            self.send_error(404)
        elif parts[0] in ("metadata", "targets"):
            self.file(FOLDER.joinpath(*parts), artifact=parts[0] == "targets")
        else:
            self.file(FOLDER.joinpath("manifests", *parts), artifact=False)

    def file(self, path: Path, *, artifact: bool) -> None:
        without = BEHAVIOUR.get("without")
        if not path.is_file() or (without and without in path.name):
            self.send_error(404)
            return
        if "stall-metadata" in BEHAVIOUR and not artifact and path.name != "timestamp.json":
            time.sleep(60)
        if artifact:
            self.artifact(path)
        else:
            self.answer(path.read_bytes())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def artifact(self, path: Path) -> None:
        global sent
        size = path.stat().st_size
        first, last = 0, size - 1
        asked = self.headers.get("Range")
        if asked:
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            last = min(last, size - 1)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        rate = float(BEHAVIOUR.get("rate", "inf"))
        chunk = min(CHUNK, max(1, int(rate / 20))) if rate != float("inf") else CHUNK
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            spoilt = "lie" in BEHAVIOUR
            while left:
                data = file.read(min(chunk, left))
                left -= len(data)
                if spoilt:
                    data, spoilt = bytes([data[0] ^ 1]) + data[1:], False
                try:
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True
                    return
                with lock:
                    sent += len(data)
                    if sent >= int(BEHAVIOUR.get("die-after", sent + 1)):
                        os._exit(1)
                if rate != float("inf"):
                    time.sleep(len(data) / rate)


server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
