"""Reads the binary format, strictly. Source: the WebAssembly core specification, 5.2 (values)."""

from __future__ import annotations


class Invalid(Exception):
    """Not a valid module, or one that uses what the engine has not got; the message is for people."""


class Reader:
    """Takes values from `data` between `position` and `end`. Every method raises :exc:`Invalid` at the end of it."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end

    @property
    def at_end(self) -> bool:
        return self.position >= self.end

    def byte(self) -> int:
        if self.position >= self.end:
            raise Invalid("it is truncated")
        value = self.data[self.position]
        self.position += 1
        return value

    def peek(self) -> int:
        if self.position >= self.end:
            raise Invalid("it is truncated")
        return self.data[self.position]

    def take(self, size: int) -> bytes:
        start = self.position
        if size > self.end - start:
            raise Invalid("it is truncated")
        self.position = start + size
        return self.data[start : start + size]

    def part(self) -> Reader:
        """A reader of the next piece that begins with its size."""
        size = self.unsigned()
        start = self.position
        self.take(size)
        return Reader(self.data, start, start + size)

    def unsigned(self) -> int:
        """A ``u32``."""
        position = self.position
        if position >= self.end:
            raise Invalid("it is truncated")
        value = self.data[position]
        self.position = position + 1
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in (7, 14, 21, 28):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 32:
                    break
                return value
        raise Invalid("a number is too large")

    def count(self) -> int:
        """How many items follow; each has a byte at least."""
        value = self.unsigned()
        if value > self.end - self.position:
            raise Invalid("it is truncated")
        return value

    def signed(self, bits: int) -> int:
        """An integer of `bits` bits with its sign."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise Invalid("a number is too large")
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << bits - 1) <= value < 1 << bits - 1:
            raise Invalid("a number is too large")
        return value

    def name(self) -> str:
        try:
            return self.take(self.unsigned()).decode()
        except UnicodeDecodeError:
            raise Invalid("a name is not UTF-8") from None
