"""What engines say of one program held against each other, by the rules of receipts.

The engine ``wasmtime`` is the one that others are held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plasm.checking.comparing import DETERMINISTIC_TRAPS

from .programs import Program
from .voices import Told

REFERENCE: Final = "wasmtime"
_COMPARED: Final = ("refused", "failed", "died", "verdict", "exit_code", "trap", "files", "outputs")
_WASM3: Final = "wasm3"


def differences(program: Program, told: Mapping[str, Told]) -> list[str]:
    """A line for each way of running `program` that ends otherwise than the reference; it begins with its name."""
    wanted = told[REFERENCE][""]
    found = [f"{REFERENCE}: {problem}" for problem in ("refused", "failed", "died") if problem in wanted]
    if found:
        return [f"{line} ({wanted})" for line in found]
    limiting = told[REFERENCE]["limiting"]
    if comparable(wanted, limiting):
        found += [f"limiting: {line}" for line in _unlike(wanted, limiting)]
        if wanted["verdict"] == "exited" and wanted["fuel"] != limiting["fuel"]:
            found.append(f"fuel: {wanted['fuel']} counted, {limiting['fuel']} by the engine")
    for name, answers in told.items():
        if name == REFERENCE:
            continue
        if comparable(wanted, answers[""]) and not _may_refuse(name, answers[""]):
            found += [f"{name}: {line}" for line in _unlike(wanted, answers[""])]
    return found


def comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both must be alike: no trap is among them that depends on the machine."""
    return all(each.get("trap") is None or each["trap"] in DETERMINISTIC_TRAPS for each in (one, other))


def _may_refuse(name: str, found: Mapping[str, Any]) -> bool:
    """Whether the engine `name`, of which that is known, does not take the module."""
    return name == _WASM3 and str(found.get("refused")).startswith("wasm3 does not run it")


def _unlike(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    parts = [part for part in _COMPARED if wanted.get(part) != found.get(part)]
    return [f"{', '.join(parts)}: {_words(wanted)} on {REFERENCE}, {_words(found)}"] if parts else []


def _words(told: Mapping[str, Any]) -> str:
    for problem in ("refused", "failed", "died"):
        if problem in told:
            return f"{problem} ({told[problem]})"
    end = told["trap"] or told["exit_code"]
    return f"{told['verdict']} {end}, output {told['outputs'][0][1][:8]}"
