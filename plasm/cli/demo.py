"""``plasm demo``: two nodes on this machine, one of which finds the other and has it run a job."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import click
from anyio.abc import Process

import plasm
from plasm.cli.context import Context
from plasm.cli.running import stoppable
from plasm.cli.start import PORTS
from plasm.control.remote import RemoteJobs
from plasm.distributions import install_anew
from plasm.errors import PlasmError
from plasm.jobs.conversation import Delivered, Event, Submission
from plasm.jobs.manifest import Job, Manifest, sha256

_START_SECONDS = 30
_JOB_SECONDS = 30
_STOP_SECONDS = 10
"""More than a drained node takes; a child that takes longer is killed."""
_TOTAL_SECONDS = 60
_LISTEN = "/ip4/127.0.0.1/tcp/0"


class DemoFailed(PlasmError):
    """The demonstration did not work."""


@dataclass(frozen=True)
class _Child:
    name: str
    home: Path
    address: str


@click.command("demo")
@click.option("--discovery", type=click.Choice(["dht", "mdns"]), help="How the nodes find each other.")
@click.option("--json", "as_json", is_flag=True, help="Print the verified result as JSON, and nothing else.")
@click.pass_obj
def command(context: Context, *, discovery: str | None, as_json: bool) -> None:
    """Start two nodes on loopback, let one find the other, run hello.wasm there and verify the receipt."""
    if discovery is not None:
        context.plugins = (*context.plugins, f"discovery:{discovery}")
    plan = context.plan(PORTS)
    if not plan.writes:
        raise DemoFailed("the demo speaks with its nodes over their control sockets", "choose a profile that may write")
    # The nodes have homes of their own: what this one's configuration selects is named to them.
    selected = ",".join(each.registered.qualified for each in plan.selected)
    arguments = ["--plugins", selected]
    if plan.profile.name:
        arguments += ["--profile", plan.profile.name]
    say = _silent if as_json else _say
    delivered = anyio.run(stoppable, lambda: _demonstrate(arguments, say))
    if as_json:
        from plasm.cli.outcome import as_document

        print(json.dumps(as_document(delivered)))
        return
    say("The work was done by:")
    for each in plan.selected:
        driver = each.registered
        say(f"  {driver.port:<10} {driver.name:<10} {driver.distribution} {driver.version}")


def _say(line: str) -> None:
    print(line, flush=True)


def _silent(line: str) -> None:
    return


async def _demonstrate(arguments: list[str], say: Callable[[str], None]) -> Delivered:
    module = _hello().read_bytes()
    try:
        with tempfile.TemporaryDirectory(prefix="plasm-demo-") as folder, anyio.fail_after(_TOTAL_SECONDS):
            async with _node("first", Path(folder), arguments) as first:
                say(f"Started node: {first.address}")
                async with _node("second", Path(folder), [*arguments], peer=first.address) as second:
                    say(f"Started node: {second.address}")
                    delivered = await _send(second, module, say)
    except TimeoutError:
        raise DemoFailed(
            f"the demo did not end within {_TOTAL_SECONDS} s", "run it with -v on a less busy machine"
        ) from None
    say(f"Result: {delivered.stdout.decode(errors='backslashreplace')}")
    say("Receipt verified ✓")
    return delivered


async def _send(node: _Child, module: bytes, say: Callable[[str], None]) -> Delivered:
    submission = Submission(job=Job(manifest=Manifest(module_hash=sha256(module))), module=module)

    def report(event: Event) -> None:
        match event.kind:
            case "found":
                say(f"Discovered node: plasm@{event.node} (by {event.detail})")
            case "sending":
                say("Sending job: hello.wasm")
            case "node_failed":
                say(f"Node failed: {event.detail}")

    return await RemoteJobs(node.home).submit(
        submission, name="hello.wasm", report=report, peers=(), look_seconds=_JOB_SECONDS
    )


@contextlib.asynccontextmanager
async def _node(name: str, folder: Path, arguments: list[str], peer: str | None = None) -> AsyncIterator[_Child]:
    home = folder / name
    command = [sys.executable, "-m", "plasm", "--home", str(home), *arguments, "start", "--listen", _LISTEN]
    if peer is not None:
        command += ["--peer", peer]
    log = folder / f"{name}.log"
    with log.open("wb") as errors:
        process = await anyio.open_process(command, stdin=subprocess.DEVNULL, stderr=errors)
    try:
        address = None
        with anyio.move_on_after(_START_SECONDS):
            address = await _ready(process)
        if address is not None:
            yield _Child(name, home, address)
            return
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise DemoFailed(f"the {name} node did not start: {last[0]}", "plasm plugins --check tells what is missing")
    finally:
        await _stop(process)


async def _ready(process: Process) -> str | None:
    assert process.stdout is not None
    received = b""
    while b"\n" not in received:
        try:
            received += await process.stdout.receive()
        except anyio.EndOfStream:
            return None
    word, _, address = received.partition(b"\n")[0].decode(errors="replace").partition(" ")
    return address if word == "ready" else None


async def _stop(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with anyio.move_on_after(_STOP_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        await process.aclose()


def _hello() -> Path:
    package = Path(plasm.__file__).parent
    for path in (package / "data" / "hello.wasm", package.parent / "examples" / "hello.wasm"):
        if path.is_file():
            return path
    raise DemoFailed("hello.wasm is not where it was installed", install_anew("plasm", plasm.__version__))
