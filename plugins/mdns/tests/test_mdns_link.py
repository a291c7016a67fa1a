"""Real multicast on this machine's loopback: nodes see each other come, change and go."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
import zeroconf
from anyio.streams.buffered import BufferedByteReceiveStream
from plasm_mdns.interfaces import usable_interfaces
from plasm_mdns.records import instance_name

from plasm.ports import BootTopic, DiscoveryError

pytestmark = pytest.mark.anyio

PEER_PROCESS = Path(__file__).with_name("mdns_peer.py")


async def nothing_else(found) -> None:
    """Nothing comes within the time that an answer on loopback takes at most."""
    with anyio.move_on_after(0.7):
        pytest.fail(f"found {await found.receive()}")


async def until(condition) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await anyio.sleep(0.01)


async def test_a_node_that_advertises_is_found(open_as, identity, searching, topic) -> None:
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {"slots": "2"})
        async with searching(two, topic) as found:
            first = await found.receive()
        assert (first.peer, first.addresses) == (identity(1).peer, (identity(1).address(),))
        assert first.properties == {"slots": "2"}
        tasks.cancel_scope.cancel()


async def test_a_node_that_comes_later_is_found(open_as, identity, searching, topic) -> None:
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        async with searching(two, topic) as found:
            await anyio.wait_all_tasks_blocked()
            await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
            assert (await found.receive()).peer == identity(1).peer
        tasks.cancel_scope.cancel()


async def test_a_node_never_finds_itself(open_as, identity, searching, topic) -> None:
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
        await tasks.start(two.advertise, topic, lambda: [identity(2).address()], {})
        async with searching(one, topic) as found:
            assert (await found.receive()).peer == identity(2).peer
            await nothing_else(found)
        tasks.cancel_scope.cancel()


async def test_changed_addresses_are_found_anew(open_as, identity, searching, topic) -> None:
    addresses = [identity(1).address(4001)]
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: addresses, {})
        async with searching(two, topic) as found:
            await found.receive()
            addresses[:] = [identity(1).address(4002), identity(1).address(4003, "/ip6/::1")]
            assert list((await found.receive()).addresses) == addresses
        tasks.cancel_scope.cancel()


async def test_a_node_without_addresses_is_announced_once_it_has_one(open_as, identity, searching, topic) -> None:
    addresses: list[str] = []
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: addresses, {})
        async with searching(two, topic) as found:
            addresses.append(identity(1).address())
            assert (await found.receive()).peer == identity(1).peer
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("after", [0.0, 0.3])
async def test_who_says_goodbye_is_not_found_any_more(open_as, identity, searching, topic, after: float) -> None:
    """Also when it goes while its announcement is still being repeated, a quarter of a second apart."""
    async with open_as(identity(1)) as one, open_as(identity(2)) as two:
        async with searching(two, topic) as found, anyio.create_task_group() as tasks:
            await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
            await found.receive()
            await anyio.sleep(after)
            tasks.cancel_scope.cancel()
        async with searching(two, topic) as found:
            await nothing_else(found)


async def test_an_answer_that_was_due_later_does_not_undo_the_goodbye(open_as, identity, searching, topic) -> None:
    """What was multicast within the last second is multicast again only a second later (RFC 6762, section 6)."""
    async with open_as(identity(1)) as one, open_as(identity(2)) as two:
        async with searching(two, topic) as found, anyio.create_task_group() as tasks:
            await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
            await found.receive()
            responder = one._engine._zeroconf
            (info,) = responder.registry.async_get_service_infos()
            answers = {info.dns_pointer(): {info.dns_service(), info.dns_text()}}
            responder.loop.call_soon_threadsafe(
                responder.out_delay_queue.async_add, zeroconf.current_time_millis(), answers
            )
            await until(lambda: responder.out_delay_queue.queue)
            tasks.cancel_scope.cancel()
        await anyio.sleep(1.3)
        async with searching(two, topic) as found:
            await nothing_else(found)


async def test_topics_are_not_mixed_up(open_as, identity, searching, topic) -> None:
    boot = BootTopic("stable", topic.arch)
    other = type(topic)(topic.arch, topic.runtime + "-other")
    async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, other, lambda: [identity(1).address()], {})
        await tasks.start(one.advertise, boot, lambda: [identity(1).address()], {"http_port": "8080"})
        async with searching(two, topic) as found:
            await nothing_else(found)
        async with searching(two, boot) as found:
            assert (await found.receive()).properties == {"http_port": "8080"}
        tasks.cancel_scope.cancel()


async def test_addresses_outside_the_filter_are_not_found(open_as, identity, searching, topic) -> None:
    addresses = [identity(1).address(host="/ip4/203.0.113.9"), identity(1).address()]
    local = open_as(identity(2), allows=lambda ip: ip.startswith("127."))
    async with open_as(identity(1)) as one, local as two, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: addresses, {})
        async with searching(two, topic) as found:
            assert (await found.receive()).addresses == (identity(1).address(),)
        tasks.cancel_scope.cancel()


async def test_hostile_records_are_ignored_and_an_honest_node_is_found(open_as, identity, searching, topic) -> None:
    service = "_phase._tcp.local."
    honest = identity(1)

    def hostile(name: str, properties: dict[str, object]) -> zeroconf.ServiceInfo:
        return zeroconf.ServiceInfo(
            service, f"{name}.{service}", 1, properties=properties, server="evil.local.", addresses=[b"\x7f\0\0\1"]
        )

    parts = {"arch": topic.arch, "runtime": topic.runtime}
    bad = [
        hostile("nothing", {}),
        hostile("bytes", {b"\xff\xfe": b"\x00\x1b[2J", "peer": honest.peer}),
        hostile("nobody", parts | {"peer": "\x1b[31m", "addr0": honest.address()}),
        hostile("stolen", parts | {"peer": identity(9).peer, "addr0": honest.address()}),
        hostile("public", parts | {"peer": identity(9).peer, "addr0": "/dns4/example.org/tcp/1"}),
        hostile("large", parts | {"peer": identity(9).peer} | {f"k{n}": "x" * 200 for n in range(30)}),
        hostile("itself", parts | {"peer": identity(2).peer, "addr0": identity(2).address()}),
    ]
    evil = await anyio.to_thread.run_sync(lambda: zeroconf.Zeroconf(interfaces=["127.0.0.1"], use_asyncio=False))
    try:
        async with anyio.create_task_group() as registering:
            for info in bad:
                register = partial(evil.register_service, info, cooperating_responders=True)
                registering.start_soon(anyio.to_thread.run_sync, register)
        async with open_as(honest) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
            await tasks.start(one.advertise, topic, lambda: [honest.address()], {})
            async with searching(two, topic) as found:
                assert (await found.receive()).peer == honest.peer
                await nothing_else(found)
            tasks.cancel_scope.cancel()
    finally:
        await anyio.to_thread.run_sync(evil.close)


async def test_a_name_that_is_claimed_by_others_keeps_no_node_from_being_found(
    open_as, identity, searching, topic
) -> None:
    service = "_phase._tcp.local."
    claim = zeroconf.ServiceInfo(
        service, instance_name(topic, identity(1).peer), 1, server="evil.local.", addresses=[b"\x7f\0\0\1"]
    )
    evil = await anyio.to_thread.run_sync(lambda: zeroconf.Zeroconf(interfaces=["127.0.0.1"], use_asyncio=False))
    try:
        await anyio.to_thread.run_sync(lambda: evil.register_service(claim, cooperating_responders=True))
        async with open_as(identity(1)) as one, open_as(identity(2)) as two, anyio.create_task_group() as tasks:
            async with searching(two, topic) as found:
                await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
                assert (await found.receive()).peer == identity(1).peer
            tasks.cancel_scope.cancel()
    finally:
        await anyio.to_thread.run_sync(evil.close)


async def test_processes_find_each_other_within_two_seconds(open_as, identity, searching, topic) -> None:
    command = [sys.executable, str(PEER_PROCESS), "asyncio", "7", topic.runtime, "lo"]
    async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None) as process:
        assert process.stdout is not None
        assert await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100) == b"advertising"
        async with open_as(identity(2)) as two, searching(two, topic) as found:
            start = time.monotonic()
            assert (await found.receive()).peer == identity(7).peer
            assert time.monotonic() - start < 2
        process.terminate()


@pytest.mark.parametrize(
    ("setup", "interface"),
    [
        ("ip link set lo up", ""),
        (
            "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v0 addrgenmode none"
            " && ip link set v0 up && ip link set v1 up && ip addr add fe80::7/64 dev v0 nodad",
            "v0",
        ),
    ],
    ids=["loopback alone", "ipv6 alone"],
)
async def test_little_is_enough(anyio_backend_name: str, setup: str, interface: str) -> None:
    inside = ["unshare", "--net", "--map-root-user", "sh", "-c"]
    if (await anyio.run_process([*inside, setup], check=False)).returncode:
        pytest.skip("no such network namespaces here")
    script = f'{setup}; exec "$@"'
    peer = ["sh", sys.executable, str(PEER_PROCESS), anyio_backend_name, "7", "test", interface, "find"]
    done = await anyio.run_process([*inside, script, *peer], check=False)
    assert done.stdout.splitlines()[-1:] == [b"found"], done.stderr.decode()


async def test_an_interface_that_comes_up_later_is_used(open_as, identity, searching, topic, monkeypatch) -> None:
    usable = ["127.0.0.2"]
    monkeypatch.setattr("plasm_mdns.discovery.usable_interfaces", lambda chosen, allows: usable)
    late = open_as(identity(1), interface_poll_seconds=0.05)
    async with late as one, anyio.create_task_group() as tasks:
        await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
        usable = ["127.0.0.1"]
        await until(lambda: one._engine._zeroconf._interfaces == usable)
        monkeypatch.undo()
        async with open_as(identity(2)) as two, searching(two, topic) as found:
            assert (await found.receive()).peer == identity(1).peer
        tasks.cancel_scope.cancel()


async def test_what_the_body_raises_comes_out_as_it_is(open_as, identity) -> None:
    with pytest.raises(LookupError):
        async with open_as(identity(1)):
            raise LookupError


async def test_a_machine_without_multicast_is_told_what_mends_it() -> None:
    with pytest.raises(DiscoveryError, match="ip link set"):
        usable_interfaces(["no-such-interface"], lambda ip: True)
    with pytest.raises(DiscoveryError, match="ip link set"):
        usable_interfaces([], lambda ip: False)


async def test_closing_is_quick_even_while_advertising_and_searching(open_as, identity, searching, topic) -> None:
    async with open_as(identity(2)) as two, anyio.create_task_group() as others:
        await others.start(two.advertise, topic, lambda: [identity(2).address()], {})
        async with open_as(identity(1)) as one, anyio.create_task_group() as tasks:
            await tasks.start(one.advertise, topic, lambda: [identity(1).address()], {})
            async with searching(one, topic) as found:
                await found.receive()
                start = time.monotonic()
                tasks.cancel_scope.cancel()
        assert time.monotonic() - start < 5
        others.cancel_scope.cancel()
