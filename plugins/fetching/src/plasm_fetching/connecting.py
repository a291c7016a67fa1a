"""From a host's name to a connection: by a deadline, to allowed addresses alone, and ended whenever one likes."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from plasm_fetching.lookup import Lookup
from plasm_fetching.sockets import PlainSocket, TimedSocket, TlsSocket, tls_context

CONNECT_SECONDS: Final = 5.0
"""For each address of a host."""
_MOST_ADDRESSES = 8

Allows = Callable[[str], bool]
"""Whether an IP address (textual) may be connected to."""


class Unresolved(OSError):
    """The host has no address."""


class NoneAllowed(OSError):
    """The host has no address that may be connected to."""


class Connecting:
    """Use one for one connection. :meth:`abort` may be called from another thread."""

    def __init__(
        self, host: str, port: int, *, secure: bool, allows: Allows | None, tls: ssl.SSLContext | None
    ) -> None:
        self._host = host
        self._secure = secure
        self._allows = allows
        self._tls = tls
        self._lookup = Lookup(host, port)
        self._socket: socket.socket | None = None
        self._aborted = False

    def connected(self, deadline: float, stall: float) -> TimedSocket:
        """By `deadline` (of :func:`time.monotonic`), and with no wait that is longer than `stall` seconds.

        Raises :exc:`Unresolved`, :exc:`NoneAllowed`, :exc:`TimeoutError`, also where it was aborted, or another
        :exc:`OSError`: of the address that was tried last.
        """
        refused: OSError = Unresolved("it has no address")
        if self._allows is not None:
            refused = NoneAllowed("it has no address that may be connected to")
        for family, kind, protocol, _, address in self._addresses(min(stall, deadline - time.monotonic())):
            if self._allows is not None and not self._allows(str(address[0])):
                continue
            try:
                patience = time.monotonic() + min(CONNECT_SECONDS, stall)
                return self._opened(PlainSocket(family, kind, protocol), address, min(patience, deadline))
            except OSError as error:
                if self._socket is not None:
                    self._socket.close()
                refused = error
                if self._aborted:
                    break
        raise refused

    def _addresses(self, seconds: float) -> Sequence[Any]:
        try:
            return self._lookup.addresses(seconds)[:_MOST_ADDRESSES]
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise Unresolved(getattr(error, "strerror", None) or str(error)) from None

    def _opened(self, plain: PlainSocket, address: Any, deadline: float) -> TimedSocket:
        # Known before it is connected: an abort ends that too.
        self._socket = plain
        plain.settimeout(self._left(deadline))
        plain.connect(address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._secure:
            return plain
        context = self._tls or tls_context()
        secured = context.wrap_socket(plain, server_hostname=self._host, do_handshake_on_connect=False)
        assert isinstance(secured, TlsSocket)
        self._socket = secured
        secured.settimeout(self._left(deadline))
        secured.do_handshake()
        return secured

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0 or self._aborted:
            raise TimeoutError("timed out")
        return left

    def abort(self) -> None:
        """End what waits for the connection, and what waits on it."""
        self._aborted = True
        self._lookup.cancel()
        opened = self._socket
        if opened is not None:
            try:
                opened.shutdown(socket.SHUT_RDWR)
            except OSError:
                return
