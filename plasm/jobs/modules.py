"""Modules by their digests, from whichever store has them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from plasm.ports import Digest, NotStored, Store, StoreError

__all__ = ["read_module"]


async def read_module(stores: Sequence[Store], digest: Digest, max_bytes: int, log: logging.Logger) -> bytes:
    """The module, from the first of `stores` that has it whole.

    Where that cannot be written, as one on the network cannot, the first store that can keeps the module from then on.
    Raises :exc:`~plasm.ports.StoreError`.
    """
    problem: StoreError = NotStored(f"no store holds {digest}")
    for store in stores:
        try:
            module = await store.get(digest, max_bytes)
        except NotStored:
            continue
        except StoreError as error:
            problem = error
        else:
            if not store.writable:
                await _keep(stores, digest, module, log)
            return module
    raise problem


async def _keep(stores: Sequence[Store], digest: Digest, module: bytes, log: logging.Logger) -> None:
    for store in stores:
        if store.writable:
            try:
                async with store.create(digest, len(module)) as writer:
                    await writer.write(module)
            except StoreError as error:
                # It is here and can run: only the next node's life pays for this.
                log.warning("%s is not kept: %s", digest, error)
            return
