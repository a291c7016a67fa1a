"""A node in a process of its own: advertises until stdin ends or, told to ``find``, is found by a second one."""

from __future__ import annotations

import logging
import sys

import anyio
import anyio.to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from plasm_mdns.hooks import MdnsOptions, open_mdns

from plasm.drivers import Scope
from plasm.identity import peer_id
from plasm.ports import CapabilityTopic, Found


class Identity:
    def __init__(self, seed: int) -> None:
        self.public_key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


async def main(seed: int, runtime: str, interface: str, find: bool) -> None:
    options = MdnsOptions(interfaces=(interface,) if interface else ())
    topic = CapabilityTopic("x86_64", runtime)

    def scope(seed: int) -> Scope:
        identity = Identity(seed)
        return Scope(home=None, allows=lambda ip: True, log=logging.getLogger(), provided=lambda port: identity)

    address = f"/ip6/::1/tcp/4001/p2p/{peer_id(Identity(seed).public_key)}"
    async with open_mdns(scope(seed), options) as node, anyio.create_task_group() as tasks:
        await tasks.start(node.advertise, topic, lambda: [address], {})
        print("advertising", flush=True)
        if find:
            send, receive = anyio.create_memory_object_stream[Found](1)
            async with open_mdns(scope(seed + 1), options) as other:
                tasks.start_soon(other.find, topic, send)
                with anyio.fail_after(20):
                    found = await receive.receive()
                assert found.addresses == (address,)
                tasks.cancel_scope.cancel()
                print("found")
        else:
            await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            tasks.cancel_scope.cancel()


anyio.run(main, int(sys.argv[2]), sys.argv[3], sys.argv[4], "find" in sys.argv[5:], backend=sys.argv[1])
