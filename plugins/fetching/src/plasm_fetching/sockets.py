"""Sockets whose waits end: by a deadline for all of an answer, and after so long a silence."""

from __future__ import annotations

import io
import socket
import ssl
import struct
import time
from typing import Any


class TimedSocket:
    """A socket whose every read and write ends by a deadline, and waits for no more than so long in between."""

    deadline: float = float("inf")
    stall: float = float("inf")

    def _left(self) -> float:
        left = min(self.stall, self.deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError("timed out")
        return min(left, 86400.0)

    def recv_into(self, *arguments: Any, **keywords: Any) -> int:
        self.settimeout(self._left())  # type: ignore[attr-defined]
        received: int = super().recv_into(*arguments, **keywords)  # type: ignore[misc]
        return received

    def sendall(self, *arguments: Any, **keywords: Any) -> None:
        self.settimeout(self._left())  # type: ignore[attr-defined]
        super().sendall(*arguments, **keywords)  # type: ignore[misc]


class PlainSocket(TimedSocket, socket.socket):
    """Over TCP alone."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Much at once: to wake up for each packet costs more than the packets themselves."""
        # What is larger than a reader's own buffer goes straight to where it was asked for, and is a body.
        if (nbytes or len(buffer)) > io.DEFAULT_BUFFER_SIZE:
            flags |= socket.MSG_WAITALL
        # The kernel does the waiting (socket(7), SO_RCVTIMEO), and hands out what there is when the time is over.
        seconds, fraction = divmod(self._left(), 1.0)
        self.settimeout(None)
        self.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", int(seconds), int(fraction * 1e6) or 1)
        )
        try:
            return socket.socket.recv_into(self, buffer, nbytes, flags)
        except BlockingIOError:
            raise TimeoutError("timed out") from None


class TlsSocket(TimedSocket, ssl.SSLSocket):
    """Over TLS."""


def tls_context() -> ssl.SSLContext:
    """The system's trusted authorities, for sockets of this module."""
    context = ssl.create_default_context()
    context.sslsocket_class = TlsSocket
    return context
