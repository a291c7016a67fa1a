"""Debian's nginx, which files are fetched from and which our provider is held against."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio

from tests.bench.processes import ChildFailed

PORTS = 3
LIMIT = 20
"""MB per second of a limited port, as nginx counts: 2**20 bytes."""
_START_SECONDS = 10.0
_SERVER = """    server {{ listen 127.0.0.1:{port}; root {root}; {more} }}"""
_LIMITED = f"limit_rate {LIMIT}m; sendfile_max_chunk 128k;"
"""It pauses after each chunk: with long ones most of a piece would come in one go."""
_NGINX = """daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


@contextlib.asynccontextmanager
async def nginx(place: Path) -> AsyncIterator[tuple[Sequence[int], Sequence[int]]]:
    """One nginx over `place`/files, at :data:`PORTS` ports and as many that are limited. Raises :exc:`ChildFailed`."""
    root = place / "files"
    root.mkdir(exist_ok=True)
    free = _free_ports(2 * PORTS)
    ports, limited = free[:PORTS], free[PORTS:]
    servers = [_SERVER.format(port=port, root=root, more="") for port in ports]
    servers += [_SERVER.format(port=port, root=root, more=_LIMITED) for port in limited]
    config = place / "nginx.conf"
    # Its worker gives up root's rights, where it has them, and must get to the files.
    as_root = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(as_root + _NGINX.format(folder=place, servers="\n".join(servers)))
    process = await anyio.open_process(["nginx", "-p", str(place), "-c", str(config)], start_new_session=True)
    try:
        await _answering(free, place)
        yield ports, limited
    finally:
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await process.aclose()


async def _answering(ports: Sequence[int], place: Path) -> None:
    try:
        with anyio.fail_after(_START_SECONDS):
            for port in ports:
                while True:
                    with contextlib.suppress(OSError):
                        async with await anyio.connect_tcp("127.0.0.1", port):
                            break
                    await anyio.sleep(0.02)
    except TimeoutError:
        said = (place / "error.log").read_text(errors="replace")[-500:]
        raise ChildFailed(f"nginx did not start: {said!r}") from None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in bound]
