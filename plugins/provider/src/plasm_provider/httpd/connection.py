"""One connection: requests in, answers out (RFC 9112), each step under a deadline."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Final, Protocol

import h11
import trio

from plasm_provider.httpd.crowd import Crowd, Guest
from plasm_provider.httpd.limits import Limits
from plasm_provider.httpd.messages import (
    METHODS,
    REASONS,
    Fields,
    FileBody,
    Handler,
    Request,
    Response,
    refusal,
)
from plasm_provider.httpd.sending import Changed, Sender, TooSlow
from plasm_provider.httpd.targets import BadTarget, segments

_READ_BYTES: Final = 16 * 1024
_LINGER_SECONDS: Final = 0.5
_LINGER_BYTES: Final = 256 * 1024
"""What a client may go on sending while it is told that it is refused."""


class Observer(Protocol):
    """Counts. Called on the server's thread."""

    def connected(self, count: int) -> None:
        """So many connections are open."""

    def answered(self, status: int) -> None:
        """A request gets an answer of that status."""

    def sent(self, count: int) -> None:
        """`count` bytes of answers, heads included, were handed to the operating system."""


class _Refused(Exception):
    """The connection ends with this answer."""

    def __init__(self, status: int, reason: str, fields: Fields = ()) -> None:
        super().__init__(reason)
        self.response = refusal(status, reason, fields)


@dataclass(frozen=True, kw_only=True)
class House:
    """What the connections of a server share."""

    crowd: Crowd
    handler: Handler
    sender: Sender
    limits: Limits
    observer: Observer
    log: logging.Logger
    closing: trio.Event = field(default_factory=trio.Event)
    """Set when each answer that is being sent is the last of its connection."""


class Connection:
    """Reads requests of one client and answers them, until one of the two has enough."""

    def __init__(self, connection: socket.socket, guest: Guest, house: House) -> None:
        self._socket = connection
        self._guest = guest
        self._house = house
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=house.limits.head_bytes)
        self._head_only = False

    async def converse(self) -> None:
        """Answer until either side ends it. Raises nothing that the client could cause."""
        patience = self._house.limits.head_seconds
        try:
            while await self._one(patience):
                self._h11.start_next_cycle()
                patience = self._house.limits.idle_seconds
        except (OSError, TooSlow, Changed) as error:
            # The answer ends before its Content-Length: no client takes that for the whole of it.
            self._house.log.debug("http: a connection of %s broke off: %r", self._guest.origin.address, error)

    async def _one(self, patience: float) -> bool:
        """Answer one request that begins within `patience` seconds; whether another may follow."""
        try:
            request = await self._request(patience)
            if request is None:
                return False
            self._house.crowd.works(self._guest)
            response = self._answer(request)
        except _Refused as refused:
            self._house.crowd.works(self._guest)
            await self._send(refused.response, last=True)
            await self._linger()
            return False
        await self._send(response, last=self._house.closing.is_set())
        self._house.crowd.rests(self._guest)
        return self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE

    async def _request(self, patience: float) -> h11.Request | None:
        """The next request, complete; ``None`` where none comes. Raises :exc:`_Refused` or :exc:`OSError`."""
        begun = False
        self._head_only = False
        deadline = trio.current_time() + patience
        while True:
            if not begun and self._h11.trailing_data[0]:
                begun, deadline = True, trio.current_time() + self._house.limits.head_seconds
            try:
                event = self._h11.next_event()
                if isinstance(event, h11.Request):
                    self._head_only = event.method == b"HEAD"
                    if event.method.decode("ascii") not in METHODS:
                        raise _Refused(405, "only GET and HEAD are answered here", (("Allow", ", ".join(METHODS)),))
                    if not isinstance(self._h11.next_event(), h11.EndOfMessage):
                        raise _Refused(413, "a request here has no content")
                    return event
            except h11.RemoteProtocolError as error:
                raise _Refused(error.error_status_hint, f"this is not HTTP/1.1: {error}") from None
            if event is not h11.NEED_DATA:
                return None
            with trio.move_on_at(deadline) as waiting:
                self._h11.receive_data(await self._receive())
            if waiting.cancelled_caught:
                if begun:
                    raise _Refused(408, "the head of the request did not arrive in time")
                return None

    async def _receive(self) -> bytes:
        while True:
            try:
                return self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket.fileno())

    def _answer(self, head: h11.Request) -> Response:
        method = head.method.decode("ascii")
        if not self._house.crowd.may_ask(self._guest.origin):
            return refusal(429, "too many requests from this address", (("Retry-After", "1"),))
        fields: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        try:
            request = Request(method=method, path=segments(head.target), fields=fields)
        except BadTarget as error:
            return refusal(400, str(error))
        try:
            return self._house.handler(request)
        except Exception:
            self._house.log.exception("http: a request could not be answered")
            return refusal(500, "this provider failed; its log says why")

    async def _send(self, response: Response, *, last: bool) -> None:
        body = response.body
        try:
            fields: list[tuple[str, str]] = [("Date", formatdate(usegmt=True)), *response.fields]
            if response.status != 304:
                fields.append(("Content-Length", str(len(body))))
            if last:
                fields.append(("Connection", "close"))
            head = h11.Response(status_code=response.status, headers=fields, reason=REASONS.get(response.status, ""))
            self._house.observer.answered(response.status)
            data = self._h11.send(head) or b""
            has_content = not self._head_only and response.status != 304
            if has_content:
                # h11 only counts the bytes: a file goes to the socket through nobody's memory.
                self._h11.send_with_data_passthrough(h11.Data(data=body))  # type: ignore[arg-type]
            self._h11.send(h11.EndOfMessage())
            await self._house.sender.send(self._socket, data, body if has_content else b"")
        finally:
            if isinstance(body, FileBody):
                body.close()

    async def _linger(self) -> None:
        """Let a client that is still sending read why it is refused: closing at once would reset the connection."""
        self._socket.shutdown(socket.SHUT_WR)
        left = _LINGER_BYTES
        with trio.move_on_after(_LINGER_SECONDS):
            while left > 0 and (data := await self._receive()):
                left -= len(data)
