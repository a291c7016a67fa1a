"""The server: accepts connections on a thread with an event loop of its own.

So jobs and discovery do not wait for downloads, nor downloads for them, and it is the same on each back end.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import trio

from plasm.drivers import AddressFilter
from plasm.errors import ungrouped
from plasm.shares import Origin, origin_of
from plasm_provider.httpd.connection import Connection, House, Observer
from plasm_provider.httpd.crowd import Crowd
from plasm_provider.httpd.limits import Limits
from plasm_provider.httpd.messages import Handler, refusal
from plasm_provider.httpd.sending import Sender

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL_PAUSE_SECONDS: Final = 0.05
_BATCH: Final = 64
"""Connections accepted before others have their turn."""


class Server:
    """Serves on `listeners` until :meth:`stop`; :meth:`run` belongs on a thread of its own."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        handler: Handler,
        *,
        limits: Limits,
        observer: Observer,
        allows: AddressFilter,
        log: logging.Logger,
    ) -> None:
        self._listeners = listeners
        self._handler = handler
        self._limits = limits.fitted()
        self._observer = observer
        self._allows = allows
        self._log = log
        self._told_to_stop = False
        self._stop: Callable[[], None] | None = None

    def run(self) -> None:
        """Serve until stopped; raises only for what no client can cause."""
        trio.run(self._main)

    def stop(self) -> None:
        """Take no more requests, and end within the limits' ``drain_seconds``. From any thread; idempotent."""
        self._told_to_stop = True
        if self._stop is not None:
            with suppress(trio.RunFinishedError):
                self._stop()

    async def _main(self) -> None:
        crowd = Crowd(self._limits, trio.current_time)
        house = House(
            crowd=crowd,
            handler=self._handler,
            sender=Sender(self._limits, self._observer.sent),
            limits=self._limits,
            observer=self._observer,
            log=self._log,
        )
        self._stop = partial(trio.lowlevel.current_trio_token().run_sync_soon, house.closing.set)
        if self._told_to_stop:  # before there was anyone to tell
            return
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in self._listeners:
                    accepting.start_soon(self._accept, listener, house, connections)
                await house.closing.wait()
                accepting.cancel_scope.cancel()
            crowd.dismiss_idle()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.drain_seconds

    async def _accept(self, listener: socket.socket, house: House, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener.fileno())
            for _ in range(_BATCH):
                try:
                    connection, address = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _FULL:
                        house.crowd.dismiss_longest_idle()
                        await trio.sleep(_FULL_PAUSE_SECONDS)
                    break
                connection.setblocking(False)
                if self._allows(address[0]):
                    self._welcome(connection, origin_of(address[0]), house, connections)
                else:
                    connection.close()

    def _welcome(self, connection: socket.socket, origin: Origin, house: House, connections: trio.Nursery) -> None:
        scope = trio.CancelScope()
        guest = house.crowd.admit(origin, scope.cancel)
        if guest is None:
            self._turn_away(connection)
            return
        self._observer.connected(len(house.crowd))

        async def talk() -> None:
            try:
                with scope:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await Connection(connection, guest, house).converse()
            except OSError as error:
                self._log.debug("http: a connection of %s could not be used: %s", origin.address, error)
            except Exception:
                # A defect costs the connection that meets it, and not what others are downloading.
                self._log.exception("http: a connection of %s broke", origin.address)
            finally:
                trio.lowlevel.notify_closing(connection.fileno())
                connection.close()
                house.crowd.leave(guest)
                self._observer.connected(len(house.crowd))

        connections.start_soon(talk)

    def _turn_away(self, connection: socket.socket) -> None:
        """Say at once that there is no room; whoever does not hear it is not waited for."""
        response = refusal(503, "this provider has as many connections as it takes", (("Retry-After", "5"),))
        fields = (*response.fields, ("Content-Length", str(len(response.body))), ("Connection", "close"))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields)
        assert isinstance(response.body, bytes)
        self._observer.answered(response.status)
        with suppress(OSError):
            connection.send(f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode() + response.body)
        connection.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[None]:
    """`server` runs on its thread while the block does; should it fail, the block is cancelled and that is raised."""
    limiter = anyio.CapacityLimiter(1)
    with ungrouped():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(anyio.to_thread.run_sync, server.run, limiter=limiter))
            try:
                yield
            finally:
                server.stop()
