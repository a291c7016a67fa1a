"""Generated programs end alike on every engine: in verdict, exit code, trap, output and, on wasmtime, in fuel."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import wasmtime
from plasm_wasm3.hooks import open_wasm3
from plasm_wasm3.options import Wasm3Options
from plasm_wasmer.environment import packages
from plasm_wasmer.interpreter import find_interpreter
from plasm_wasmtime.hooks import open_wasmtime
from plasm_wasmtime.options import WasmtimeOptions

from plasm.drivers import DriverUnavailable
from plasm.ports import Invocation, Limits, Outcome, Runtime
from plasm.testing import make_scope
from plasm.testing.modules import digest_of
from tests.engines.comparing import told
from tests.engines.generated.cases import CASES, read_case
from tests.engines.generated.comparison import differences
from tests.engines.generated.modules import Encoded
from tests.engines.generated.programs import Program, generate
from tests.engines.generated.reduction import reduce_program
from tests.engines.generated.search import Tally, look
from tests.engines.generated.voices import WASM3, WASMTIME, Kind, Panel, Told, wasmer

_PROGRAMS = 2000
_AT_ONCE = 500
_SECONDS = 600
"""For one test, on a machine with much else to do: alone it takes some twenty."""
_IN_CELLS = 20
_INSTALL_SECONDS = 300.0


pytestmark = [
    pytest.mark.timeout(_SECONDS),
    pytest.mark.skipif(
        importlib.util.find_spec("wasm3") is None,
        reason="pywasm3 is not installed: PLASM_WASM3=1 has hatch test install it, with a C compiler",
    ),
]


@pytest.fixture
def anyio_backend() -> str:
    """What runs in cells does so whatever loop the node runs."""
    return "trio"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> list[Kind]:
    """Every engine that can run here."""
    try:
        interpreter = find_interpreter()
    except DriverUnavailable:
        return [WASMTIME, WASM3]

    async def install() -> Path:
        folder = tmp_path_factory.mktemp("wasmer")
        async with packages(folder, interpreter, _INSTALL_SECONDS, logging.getLogger(__name__)) as found:
            return found

    return [WASMTIME, WASM3, wasmer(interpreter, anyio.run(install))]


@pytest.fixture(scope="module")
def panel(kinds: list[Kind]) -> Iterator[Panel]:
    with Panel(kinds) as opened:
        yield opened


def test_a_seed_makes_the_same_valid_program_each_time() -> None:
    for seed in range(50):
        content = generate(seed).module.encoded()
        assert content == generate(seed).module.encoded()
        wasmtime.Module.validate(wasmtime.Engine(), content)


def test_the_text_of_a_program_does_what_the_program_does(panel: Panel) -> None:
    programs = [generate(seed) for seed in range(20)]
    texts = [bytes(wasmtime.wat2wasm(program.module.as_text())) for program in programs]
    again = [replace(program, module=Encoded(content=text)) for program, text in zip(programs, texts, strict=True)]
    for program, one, other in zip(programs, panel.ask(programs), panel.ask(again), strict=True):
        assert one["wasmtime"] == other["wasmtime"], f"seed {program.seed}"


@pytest.mark.parametrize("first", range(0, _PROGRAMS, _AT_ONCE))
def test_programs_end_alike_on_every_engine(kinds: list[Kind], first: int) -> None:
    tally = Tally()
    found = list(look(kinds, first, _AT_ONCE, tally))
    assert not found, "\n".join(map(str, found))
    assert tally.programs == _AT_ONCE
    assert tally.verdicts.keys() == {"exited", "trapped", "out_of_memory", "output_limit", "host_call_limit"}
    assert tally.refused["wasm3"] < _AT_ONCE / 100


@pytest.mark.parametrize("name", CASES)
def test_what_engines_once_differed_about_ends_alike(name: str, panel: Panel) -> None:
    program = read_case(name)
    assert not differences(program, panel.ask([program])[0])


@pytest.mark.anyio
async def test_some_of_them_end_alike_in_cells_of_their_own() -> None:
    async with (
        open_wasmtime(make_scope(), WasmtimeOptions(slots=1)) as reference,
        open_wasm3(make_scope(), Wasm3Options(slots=1)) as runtime,
    ):
        for seed in range(_IN_CELLS):
            program = generate(seed)
            wanted, found = await _outcome(reference, program), await _outcome(runtime, program)
            assert told(found) == told(wanted), f"seed {seed}"


async def _outcome(runtime: Runtime, program: Program) -> Outcome:
    module = program.module.encoded()
    digest = digest_of(module)
    await runtime.prepare(digest, module)
    limits = Limits(
        wall_seconds=60.0,
        memory_bytes=program.memory_bytes,
        output_bytes=program.output_bytes,
        host_calls=program.host_calls,
    )
    return await runtime.run(Invocation(module=digest, seed=b"\7" * 32, limits=limits))


_MARK = 0x5EEDF00D


class _PanelWithAFault(Panel):
    """Whose wasm3 ends programs otherwise that drop a certain number."""

    def ask(self, programs: Sequence[Program], *, whole: bool = False) -> list[dict[str, Told]]:
        found = super().ask(programs, whole=whole)
        for program, answers in zip(programs, found, strict=True):
            if b"\x43" + _MARK.to_bytes(4, "little") in program.module.encoded():
                answers["wasm3"] = {"": {**answers["wasm3"][""], "exit_code": 99}}
        return found


def test_a_difference_is_found_and_made_small() -> None:
    program = generate(3)
    entry = program.module.functions[-1]
    program.module.functions[-1] = replace(entry, body=[("f32.const", _MARK), ("drop",), *entry.body])
    with _PanelWithAFault([WASMTIME, WASM3]) as two:
        (line,) = differences(program, two.ask([program])[0])
        assert line.startswith("wasm3: exit_code")
        smallest = reduce_program(program, two)
        assert differences(smallest, two.ask([smallest])[0])
    assert smallest.module.size < program.module.size / 5
