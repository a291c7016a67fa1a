"""How the engine is configured: stated once, applied in the cells, part of each cache key and of each receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Settings = Mapping[str, bool | int]

BY_ENGINE, BY_COUNTER, NOT_AT_ALL = b"e", b"c", b"n"
"""How fuel is counted: the last byte of each compiled module, since each way needs an engine of its own."""

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
"""Without the engine's fuel, which takes integer code a fifth more time."""
COUNTING: Final[Mapping[bytes, Settings]] = {BY_ENGINE: ENGINE_SETTINGS, BY_COUNTER: UNCOUNTED_SETTINGS}
"""Where a job limits its fuel the engine counts and stops it; elsewhere the module itself counts, :mod:`.counting`."""
NOT_COUNTING: Final[Mapping[bytes, Settings]] = {NOT_AT_ALL: UNCOUNTED_SETTINGS}
COUNTER: Final = "plasm:fuel"
"""What :mod:`.counting` exports: a global, i64, the fuel that was used."""
_COUNTER_VERSION: Final = 2
"""The version of :mod:`.counting`: compiled modules and receipts of another are not comparable."""

TABLE_ELEMENTS: Final = 1 << 18
"""Most elements of one table: 2 MiB each, and real programs have some tens of thousands."""
TABLES: Final = 8


def configuration(*, count_fuel: bool) -> Mapping[str, str | int | bool]:
    """For receipts and cache keys."""
    fuel = {**ENGINE_SETTINGS, "fuel_counter": _COUNTER_VERSION} if count_fuel else UNCOUNTED_SETTINGS
    return {**fuel, "table_elements": TABLE_ELEMENTS, "tables": TABLES}
