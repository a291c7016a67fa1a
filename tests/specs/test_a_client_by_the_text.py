"""A client written from the text alone, with its own frames and any MessagePack library, gets its jobs done."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from plasm.ports import Stream, StreamBroken
from plasm.testing import FakeSigner, open_memory_transport
from plasm.testing.fakes.scripts import echoes, hangs
from tests.jobs.world import Standing, World

pytestmark = pytest.mark.anyio
ECHO, HANG = b"a module that writes its input", b"a module that never ends"
PIECE = 512 * 1024
CLIENT = FakeSigner(100)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def offer(module: bytes, stdin: bytes, nonce: bytes) -> dict[str, Any]:
    """Section 4 and 6, with every default left out."""
    limits = {
        "cpuCores": 1,
        "fileBytes": 67_108_864,
        "hostCalls": 10_000_000,
        "memoryMb": 16,
        "outputBytes": 16_777_216,
        "timeoutSeconds": 60,
    }
    document = {
        "args": [],
        "capabilities": [],
        "env": [],
        "inputs": [],
        "limits": limits,
        "module": digest(module),
        "stdin": digest(stdin),
        "type": "urn:phase:job:1",
    }
    written = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return {
        "type": "offer",
        "job": {"manifest": {"module_hash": digest(module), "memory_mb": 16}, "stdin": digest(stdin)},
        "digest": digest(written),
        "nonce": nonce,
        "module_size": len(module),
        "input_size": len(stdin),
    } | ({"input": stdin} if len(stdin) <= 65536 else {})


def job_id(asked: dict[str, Any]) -> str:
    text = b"phase-job-id-1\0" + CLIENT.peer.encode() + b"\0" + asked["nonce"] + bytes.fromhex(asked["digest"][7:])
    return hashlib.sha256(text).hexdigest()[:32]


class Talk:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.buffer = b""

    async def send(self, message: dict[str, Any]) -> None:
        body = msgspec.msgpack.encode(message)
        length, prefix = len(body), b""
        while length > 127:
            prefix += bytes([length & 127 | 128])
            length >>= 7
        await self.stream.send(prefix + bytes([length]) + body)

    async def send_pieces(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            await self.send({"type": "piece", "data": data[start : start + PIECE]})

    async def reply(self) -> dict[str, Any]:
        length = shift = 0
        while True:
            (byte,) = await self.take(1)
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        assert length <= 589824
        decoded: dict[str, Any] = msgspec.msgpack.decode(await self.take(length))
        return decoded

    async def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            arrived = await self.stream.receive()
            assert arrived, "the node ended the stream"
            self.buffer += arrived
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def result(self, asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The result and stdout, past all progress."""
        while (reply := await self.reply())["type"] == "progress":
            assert reply["state"] in ("transferring", "queued", "compiling", "running")
        assert reply["type"] == "result"
        assert reply["job_id"] == job_id(asked)
        outputs = reply["outputs"]
        assert [each["name"] for each in outputs[:2]] == ["stdout", "stderr"]
        data = reply.get("data")
        if data is None:
            data = b""
            while len(data) < sum(each["size"] for each in outputs):
                data += (await self.reply())["data"]
        return reply, data[: outputs[0]["size"]]


@asynccontextmanager
async def talking(world: World, standing: Standing) -> AsyncIterator[Talk]:
    async with open_memory_transport(world.network, CLIENT, listen=False) as transport:
        stream = await transport.open_stream(standing.peer, [standing.address], "/phase/job/1")
        with anyio.fail_after(20):
            yield Talk(stream)


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[tuple[World, Standing]]:
    world = World(folder)
    async with world.node({ECHO: echoes(), HANG: hangs()}) as node:
        yield world, node


def claims(result: dict[str, Any]) -> dict[str, Any]:
    payload = json.loads(base64.b64decode(json.loads(result["receipt"])["payload"]))
    outputs = {each["name"]: "sha256:" + each["digest"]["sha256"] for each in payload["subject"]}
    return {**payload["predicate"], **outputs}


async def test_a_job_with_everything_to_send_and_large_output(tmp_path: Path) -> None:
    stdin = bytes(range(256)) * 300
    asked = offer(ECHO, stdin, bytes(16))
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send(asked)
        accepted = await talk.reply()
        assert (accepted["type"], accepted["job_id"]) == ("accepted", job_id(asked))
        assert accepted["needs"] == ["module", "input"]
        await talk.send_pieces(ECHO)
        await talk.send_pieces(stdin)
        result, stdout = await talk.result(asked)
        assert result.get("data") is None
        assert stdout == stdin
        said = claims(result)
        assert (said["node"], said["client"]) == (node.peer, CLIENT.peer)
        assert (said["jobDigest"], said["nonce"]) == (asked["digest"], "00" * 16)
        assert said["stdout"] == digest(stdin)


async def test_asking_twice_gets_the_same_receipt_and_sends_nothing_again(tmp_path: Path) -> None:
    asked = offer(ECHO, b"in", bytes(range(16)))
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send(asked)
        assert (await talk.reply())["needs"] == ["module"]
        await talk.send_pieces(ECHO)
        first, stdout = await talk.result(asked)
        assert stdout == b"in"
        await talk.send(asked)
        assert (await talk.reply()).get("needs", []) == []
        again, _ = await talk.result(asked)
        await talk.send({"type": "fetch", "job_id": job_id(asked), "wait": False})
        fetched, _ = await talk.result(asked)
        assert first["receipt"] == again["receipt"] == fetched["receipt"]


async def test_a_job_is_cancelled_over_a_second_stream(tmp_path: Path) -> None:
    asked = offer(HANG, b"", bytes(16))
    async with standing(tmp_path) as (world, node), talking(world, node) as talk, talking(world, node) as other:
        await talk.send(asked)
        assert (await talk.reply())["needs"] == ["module"]
        await talk.send_pieces(HANG)
        while (await talk.reply()).get("state") != "running":
            pass
        await other.send({"type": "fetch", "job_id": job_id(asked), "wait": False})
        refused = await other.reply()
        assert (refused["reason"], refused["detail"]) == ("NotFinished", "running")
        await other.send({"type": "cancel", "job_id": job_id(asked)})
        assert await other.reply() == {"type": "cancelled", "job_id": job_id(asked)}
        assert (await talk.reply())["reason"] == "Cancelled"


async def test_a_node_describes_itself_and_knows_no_jobs_of_others(tmp_path: Path) -> None:
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send({"type": "describe", "version": 1, "later": True})
        described = await talk.reply()
        assert (described["type"], described["runtimes"]) == ("description", ["scripted"])
        for question in ("fetch", "cancel"):
            await talk.send({"type": question, "job_id": "0" * 32})
            assert (await talk.reply())["reason"] == "UnknownJob"


@pytest.mark.parametrize(
    "wrong", [{"digest": digest(b"another")}, {"input": b"no"}, {"input_size": 3}], ids=["digest", "input", "size"]
)
async def test_an_offer_that_does_not_fit_together_is_rejected_and_the_stream_goes_on(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send(offer(ECHO, b"in", bytes(16)) | wrong)
        rejected = await talk.reply()
        assert (rejected["type"], rejected["reason"]) == ("rejected", "InvalidRequest")
        await talk.send({"type": "describe"})
        assert (await talk.reply())["type"] == "description"


async def test_another_version_is_told_which_one_is_spoken_and_the_stream_ends(tmp_path: Path) -> None:
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send({"type": "dance", "version": 2})
        reply = await talk.reply()
        assert (reply["type"], reply.get("versions", [1])) == ("unsupported", [1])
        assert await talk.stream.receive() == b""


@pytest.mark.parametrize("noise", [b"\x01\xc1", b"\x80\x00", b"\x81\x80\x24"], ids=["message", "length", "cap"])
async def test_whoever_breaks_the_rules_has_the_stream_reset(tmp_path: Path, noise: bytes) -> None:
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.stream.send(noise)
        with pytest.raises(StreamBroken):
            await talk.stream.receive()


async def test_another_module_than_was_promised_can_be_sent_again(tmp_path: Path) -> None:
    asked = offer(ECHO, b"in", bytes(16))
    async with standing(tmp_path) as (world, node), talking(world, node) as talk:
        await talk.send(asked)
        assert (await talk.reply())["needs"] == ["module"]
        await talk.send_pieces(bytes(len(ECHO)))
        assert (await talk.reply())["reason"] == "BadTransfer"
        await talk.send(asked)
        assert (await talk.reply())["needs"] == ["module"]
        await talk.send_pieces(ECHO)
        _, stdout = await talk.result(asked)
        assert stdout == b"in"
