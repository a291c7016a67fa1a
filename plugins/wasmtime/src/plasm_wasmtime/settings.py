"""How the engine is configured: stated once, applied in the cells, part of each cache key and of each receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Settings = Mapping[str, bool | int]

ENGINE_SETTINGS: Final[Settings] = {
    "consume_fuel": True,
    "cranelift_nan_canonicalization": True,
    "epoch_interruption": False,
    "max_wasm_stack": 1 << 20,
    "memory_guard_size": 32 << 20,
    "memory_init_cow": False,
    "memory_may_move": False,
    "memory_reservation": 1 << 32,
    "parallel_compilation": False,
    "shared_memory": False,
    "wasm_component_model": False,
    "wasm_custom_page_sizes": False,
    "wasm_exceptions": True,
    "wasm_memory64": False,
    "wasm_multi_memory": False,
    "wasm_relaxed_simd": False,
    "wasm_simd": True,
    "wasm_stack_switching": False,
    "wasm_threads": False,
    "wasm_wide_arithmetic": False,
}
"""Attributes of ``wasmtime.Config``. Memories reserve 4 GiB of address space, so that bounds checks cost nothing."""
UNCOUNTED_SETTINGS: Final[Settings] = {**ENGINE_SETTINGS, "consume_fuel": False}
"""Without fuel, which takes integer code a fifth more time."""

TABLE_ELEMENTS: Final = 1 << 18
"""Most elements of one table: 2 MiB each, and real programs have some tens of thousands."""
TABLES: Final = 8


def configuration(*, count_fuel: bool) -> Mapping[str, str | int | bool]:
    """For receipts and cache keys."""
    settings = ENGINE_SETTINGS if count_fuel else UNCOUNTED_SETTINGS
    return {**settings, "table_elements": TABLE_ELEMENTS, "tables": TABLES}
