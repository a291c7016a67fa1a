"""How a suite says which promise of the port was broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


@contextmanager
def raises(expected: type[Exception] | tuple[type[Exception], ...], promise: str) -> Iterator[None]:
    """The block raises `expected`; anything else breaks `promise`."""
    try:
        yield
    except expected:
        return
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{promise}; it raised {error!r}") from error
    raise AssertionError(f"{promise}; nothing was raised")


@contextmanager
def never_raises(promise: str) -> Iterator[None]:
    """The block raises nothing."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(f"{promise}; it raised {error!r}") from error


@contextmanager
def within(seconds: float, promise: str) -> Iterator[None]:
    """The block is done after `seconds`."""
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise AssertionError(f"{promise}; not within {seconds:g} s")
