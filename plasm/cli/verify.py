"""``plasm verify``: a receipt, offline: what was checked, and what could not be."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import click
import msgspec

from plasm.cli.context import Context
from plasm.cli.files import InputUnusable, read_file
from plasm.errors import PlasmError, one_line, printable
from plasm.exitcodes import NO, OK, exit_code
from plasm.home import NoHome
from plasm.identity import InvalidIdentity, did_key, parse_peer_id, peer_of_address
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_MODULE_BYTES, canonical_json, sha256
from plasm.jobs.receipt import (
    ReceiptRefused,
    Statement,
    claimed_node,
    hold_against,
    verify_receipt,
)
from plasm.node import open_plan
from plasm.ports import PeerId

_MAX_OUTPUT_BYTES = 256 * 2**20
_MAX_DOCUMENT_BYTES = 2**20
"""More than a receipt has, so that a document with a receipt in it gets a hint."""
_MARKS = {"ok": "✓", "refused": "✗", "not checked": "–"}


@dataclass(frozen=True)
class Check:
    """One line of the answer; `answer` is ``ok``, ``refused`` or ``not checked``."""

    what: str
    answer: str
    detail: str


@click.command("verify")
@click.option(
    "--node",
    metavar="ID",
    help="The node that must have signed it: a peer ID, a did:key or an address ending in /p2p/ID.",
)
@click.option("--any-node", is_flag=True, help="Take the key that the receipt itself names: proves no origin.")
@click.option("--module", type=click.Path(path_type=Path), metavar="FILE", help="The module that must have run.")
@click.option(
    "--stdin", type=click.Path(path_type=Path), metavar="FILE", help="The standard input that it must have read."
)
@click.option(
    "--stdout", type=click.Path(path_type=Path), metavar="FILE", help="The standard output that it must have written."
)
@click.option(
    "--stderr", type=click.Path(path_type=Path), metavar="FILE", help="The standard error that it must have written."
)
@click.option(
    "--reexec",
    is_flag=True,
    help="Run the job again and compare the results; needs --module, and --stdin, --input, --env, ARGS as the job had.",
)
@click.option("--engine", metavar="NAME", help="With --reexec: the runtime to run it on.")
@click.option("--via", metavar="ADDR", help="With --reexec: another node that runs it, instead of this machine.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH=FILE",
    help="With --reexec: an input file or folder of the job, as for submit.",
)
@click.option(
    "--env",
    "-e",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --reexec: an environment variable of the job, as for submit.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --reexec: write a signed summary of the comparison there.",
)
@click.option("--evidence", is_flag=True, help="RECEIPT is a file of evidence: say what it proves.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks and the receipt's statement as JSON.")
@click.argument("receipt", type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def command(
    context: Context,
    *,
    receipt: Path,
    node: str | None,
    any_node: bool,
    module: Path | None,
    stdin: Path | None,
    stdout: Path | None,
    stderr: Path | None,
    reexec: bool,
    engine: str | None,
    via: str | None,
    inputs: tuple[str, ...],
    variables: tuple[str, ...],
    summary: Path | None,
    evidence: bool,
    as_json: bool,
    args: tuple[str, ...],
) -> None:
    """Check RECEIPT, a file or - for stdin; exits 0 where all that was asked is proven, 1 where not.

    A check marked – was not made, because the file that it needs was not given. Without --node the receipt must be
    signed by this home's own node. ARGS are the arguments of the program, for --reexec.
    """
    if node is not None and any_node:
        raise click.UsageError("--node and --any-node say different things.")
    if evidence:
        from plasm.cli.rechecking import verify_evidence

        verify_evidence(receipt, as_json=as_json)
    if reexec and module is None:
        raise click.UsageError("--reexec needs --module: a receipt has only the module's digest.")
    envelope = _read(receipt).removesuffix(b"\n")
    statement, signature = _check_signature(context, envelope, node, any_node)
    checks = [signature]
    for what, file, most in (
        ("module", module, MAX_MODULE_BYTES),
        ("stdin", stdin, MAX_INPUT_BYTES),
        ("stdout", stdout, _MAX_OUTPUT_BYTES),
        ("stderr", stderr, _MAX_OUTPUT_BYTES),
    ):
        checks.append(_check_file(statement, what, file, most))
    if reexec and module is not None and statement is not None:
        checks.append(
            _reexecute(
                context,
                statement,
                envelope,
                module=module,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                inputs=inputs,
                variables=variables,
                args=args,
                engine=engine,
                via=via,
                summary=summary,
            )
        )
    # A file that was not given was not asked about; a run that was asked for is proven or is not.
    good = all(check.answer == "ok" or (check.what != "reexec" and check.answer != "refused") for check in checks)
    if as_json:
        document = {
            "ok": good,
            "checks": [asdict(check) for check in checks],
            "statement": None if statement is None else msgspec.to_builtins(statement),
        }
        print(json.dumps(document))
    else:
        for check in checks:
            print(f"{_MARKS[check.answer]} {check.what}: {check.detail}")
        if statement is not None:
            print(_describe(statement))
    raise SystemExit(OK if good else NO)


def _reexecute(
    context: Context,
    statement: Statement,
    envelope: bytes,
    *,
    module: Path,
    stdin: Path | None,
    stdout: Path | None,
    stderr: Path | None,
    inputs: tuple[str, ...],
    variables: tuple[str, ...],
    args: tuple[str, ...],
    engine: str | None,
    via: str | None,
    summary: Path | None,
) -> Check:
    from plasm.cli.jobfiles import read_inputs
    from plasm.cli.joboptions import read_variables
    from plasm.cli.rechecking import Given, recheck

    given = Given(
        module=read_file(module, MAX_MODULE_BYTES),
        stdin=b"" if stdin is None else read_file(stdin, MAX_INPUT_BYTES),
        args=args,
        env=read_variables(variables),
        inputs=read_inputs(inputs),
    )
    outputs = None
    if stdout is not None and len(statement.subject) == 2:
        outputs = {
            "stdout": read_file(stdout, _MAX_OUTPUT_BYTES),
            "stderr": b"" if stderr is None else read_file(stderr, _MAX_OUTPUT_BYTES),
        }
    try:
        done = recheck(
            context, statement, envelope, given=given, engine=engine, via=via, outputs=outputs, summary=summary
        )
    except ReceiptRefused as error:
        # A receipt has digests only, so what the job was given has to be given here again.
        mend = "give --module, --stdin, --input, --env and ARGS as the job had them"
        return Check("reexec", "refused", f"not run: {one_line(str(error))}; {mend}")
    return Check("reexec", done.answer, done.detail)


def _check_signature(
    context: Context, envelope: bytes, node: str | None, any_node: bool
) -> tuple[Statement | None, Check]:
    try:
        claimed = claimed_node(envelope)
        expected, why = _expected(context, claimed, node, any_node)
        if expected is None:
            return None, Check("signature", "refused", why)
        return verify_receipt(envelope, expected), Check("signature", "ok", f"by {expected}, {why}")
    except ReceiptRefused as error:
        return None, Check("signature", "refused", one_line(f"{error}{_hint(envelope)}"))


def _read(receipt: Path) -> bytes:
    if str(receipt) != "-":
        return read_file(receipt, _MAX_DOCUMENT_BYTES)
    data = sys.stdin.buffer.read(_MAX_DOCUMENT_BYTES + 1)
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise InputUnusable(f"stdin is longer than {_MAX_DOCUMENT_BYTES} bytes, which is the most that is taken")
    return data


def _hint(envelope: bytes) -> str:
    """What to do where the receipt is in there, and not byte for byte as it was signed off; else nothing."""
    try:
        document = json.loads(envelope)
        if isinstance(document, dict) and "receipt" in document:
            claimed_node(canonical_json(document["receipt"]))
            return "; its member receipt is one: jq -cS .receipt FILE | plasm verify -"
        if canonical_json(document) != envelope:
            claimed_node(canonical_json(document))
            return "; its JSON was reformatted, which can be undone: jq -cS . FILE | plasm verify -"
    except (ReceiptRefused, TypeError, ValueError, RecursionError):
        pass
    return ""


def _expected(context: Context, claimed: PeerId, node: str | None, any_node: bool) -> tuple[PeerId | None, str]:
    if node is not None:
        try:
            named = peer_of_address(node) if node.startswith("/") else parse_peer_id(node)
            return named, "the node that you named"
        except InvalidIdentity as error:
            raise click.BadParameter(str(error), param_hint="--node") from None
    if any_node:
        return claimed, "which the receipt itself names: that proves who holds the key, and not whose it is"
    own = _own_peer(context)
    if own is None:
        return None, "whose key to believe was not said, and this home has none of its own; --node ID says it"
    if own != claimed:
        return None, f"signed by {one_line(claimed)}, and not by this home's own node; --node ID says whom to believe"
    return own, "this home's own node"


def _own_peer(context: Context) -> PeerId | None:
    """This home's own node, where it has a key already: looking at a receipt makes none."""
    try:
        keys = context.home / "keys"
    except NoHome:
        return None
    if not keys.is_dir() or not any(keys.iterdir()):
        return None
    plan = context.plan({"signer"})

    async def read() -> PeerId:
        async with open_plan(plan) as ports:
            return ports.peer

    try:
        return anyio.run(read, backend=plan.backend)
    except PlasmError:
        return None


def _check_file(statement: Statement | None, what: str, file: Path | None, most: int) -> Check:
    if file is None:
        return Check(what, "not checked", f"no --{what} was given")
    if statement is None:
        return Check(what, "not checked", "nothing in an unproven receipt counts")
    data = read_file(file, most)
    try:
        match what:
            case "module":
                hold_against(statement, module=sha256(data))
            case "stdin":
                hold_against(statement, stdin=sha256(data))
            case "stdout":
                hold_against(statement, stdout=data)
            case _:
                hold_against(statement, stderr=data)
    except ReceiptRefused as error:
        return Check(what, "refused", f"{one_line(str(error))} than {file}")
    return Check(what, "ok", f"is {file}")


def _describe(statement: Statement) -> str:
    said = statement.predicate
    code = exit_code(said.verdict, said.exit_code)
    usage = said.usage
    lines = [
        f"  node      {said.node} ({did_key(PeerId(said.node))})",
        f"  verdict   {said.verdict.value}, exit code {code}",
        f"  module    {said.module_digest}",
        f"  job       {said.job_digest}",
        f"  result    {said.result_digest}{'' if said.reproducible else ' (another run may differ)'}",
        f"  engine    {said.engine.name} {said.engine.version}, isolation {said.isolation}",
        f"  used      {usage.cpu_microseconds / 1e6:.3f} s of CPU in {usage.wall_microseconds / 1e6:.3f} s"
        f"{'' if usage.fuel is None else f', {usage.fuel} fuel'}",
        f"  when      {said.started_at} to {said.finished_at}",
        f"  client    {said.client}, nonce {said.nonce}",
    ]
    return "\n".join(map(printable, lines))
