"""The addresses of a host, by a deadline: the system's own look-up has none, and cannot be ended."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Sequence
from typing import Any

Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]
"""As :func:`socket.getaddrinfo` has it."""


class Lookup:
    """Use one for one look-up. :meth:`cancel` may be called from another thread."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._answer: queue.SimpleQueue[Found | Exception] = queue.SimpleQueue()

    def addresses(self, seconds: float) -> Found:
        """Raises :exc:`TimeoutError`, also where it was cancelled, :exc:`OSError` or :exc:`UnicodeError`."""
        try:
            return self._ask(socket.AI_NUMERICHOST)
        except socket.gaierror:
            # It is a name. The thread ends when the system's resolver has had enough, whoever still waits for it.
            threading.Thread(target=self._put, daemon=True).start()
        try:
            answer = self._answer.get(timeout=max(0.0, seconds))
        except queue.Empty:
            raise TimeoutError("timed out") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> None:
        """Whoever waits for the addresses waits no longer."""
        self._answer.put(TimeoutError("cancelled"))

    def _put(self) -> None:
        try:
            self._answer.put(self._ask(0))
        except Exception as error:
            self._answer.put(error)

    def _ask(self, flags: int) -> Found:
        return socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=flags)
