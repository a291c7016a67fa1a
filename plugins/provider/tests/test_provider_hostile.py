"""Hostile clients, and hostile contents of a folder. An honest client's download completes meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import time
from collections.abc import Iterator

import pytest

SECRET = b"not for anybody"
TRAVERSALS = [
    "/../secret",
    "/../../../../../../etc/passwd",
    "/stable/x86_64/../../secret",
    "/stable/x86_64/..%2f..%2fsecret",
    "/stable/x86_64/..%2F..%2Fsecret",
    "/%2e%2e/secret",
    "/%2e%2e%2fsecret",
    "/%252e%252e%252fsecret",
    "/%c0%ae%c0%ae/secret",
    "/%e0%80%ae%e0%80%ae/secret",
    "/stable/x86_64/%2e%2e",
    "/stable/x86_64/..\\..\\secret",
    "/stable/x86_64/..%5c..%5csecret",
    "/stable/x86_64/....//....//secret",
    "/stable/x86_64/..;/secret",
    "/stable/x86_64/kernel%00",
    "/stable/x86_64/%00",
    "/stable/x86_64/kernel/..",
    "/stable/x86_64//etc/passwd",
    "//etc/passwd",
    "/metadata/../repository.toml",
    "/metadata/..%2frepository.toml",
    "/metadata/%2e%2e%2frepository.toml",
    "/metadata/.lock",
    "/targets/../metadata/1.root.json",
    "/targets/stable/x86_64/../../../repository.toml",
    "/targets/stable/..%2f..%2frepository.toml/x",
    "/sha256/../metadata/1.root.json",
    "/file:///etc/passwd",
    "/stable/x86_64/kernel%20",
    "/stable/x86_64/KERNEL",
    "/stable/x86_64/.kernel",
    "/stable/x86_64/kernel.",
    "/stable/X86_64/kernel",
    "/stable/x86_64/kernel%0a",
    "/stable/x86_64/kérnel",
    "http://127.0.0.1/../secret",
]


@contextlib.contextmanager
def many_sockets(served, count: int) -> Iterator[list[socket.socket]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * count + 500
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(served.connect()) for _ in range(count)]


def ends(connection: socket.socket) -> bytes:
    """What a server still says before it ends the connection."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            said += data
    return said


@pytest.mark.parametrize("target", TRAVERSALS)
def test_no_path_leads_out_of_what_is_signed(served, target: str) -> None:
    answered = served.say(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answered.split()[1] in (b"400", b"404")
    assert SECRET not in answered
    assert "error" in json.loads(answered.partition(b"\r\n\r\n")[2])


def test_traversals_disturb_nobody(served, downloading) -> None:
    with downloading(served):
        for target in TRAVERSALS:
            served.say(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


def test_a_symbolic_link_in_the_place_of_an_artifact_is_not_followed(own, publisher, downloading) -> None:
    for kernel in publisher.folder.glob("targets/stable/x86_64/*kernel"):
        elsewhere = kernel.with_name(f"{kernel.name}.elsewhere")
        elsewhere.write_bytes(kernel.read_bytes())
        kernel.unlink()
        kernel.symlink_to(elsewhere)
    with downloading(own):
        answer = own.get("/stable/x86_64/kernel")
    assert answer.status == 404


def test_a_symbolic_link_in_the_place_of_a_folder_is_not_followed(own, publisher) -> None:
    arch = publisher.folder / "targets/stable/x86_64"
    elsewhere = arch.with_name("elsewhere")
    arch.rename(elsewhere)
    arch.symlink_to(elsewhere)
    assert own.get("/stable/x86_64/kernel").status == 404


def test_a_fifo_in_the_place_of_an_artifact_holds_nobody(own, publisher, downloading) -> None:
    for kernel in publisher.folder.glob("targets/stable/x86_64/*kernel"):
        kernel.unlink()
        os.mkfifo(kernel)
    with downloading(own):
        assert own.get("/stable/x86_64/kernel").status == 404


def test_a_head_that_comes_too_slowly_is_given_up(served_with) -> None:
    served = served_with(head_seconds=0.3)
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert ends(connection).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_comes_byte_by_byte_is_given_up(served_with) -> None:
    served = served_with(head_seconds=0.3)
    with served.connect() as connection:
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < began + 20:
                connection.sendall(b"X")
                time.sleep(0.02)
        assert time.monotonic() < began + 20


def test_a_connection_without_a_word_is_ended(served_with) -> None:
    served = served_with(head_seconds=0.2)
    with served.connect() as connection:
        assert ends(connection) == b""


def test_a_connection_that_was_answered_is_ended_when_it_rests(served_with) -> None:
    served = served_with(idle_seconds=0.2)
    with served.connect() as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ends(connection).startswith(b"HTTP/1.1 200 ")


def slow_reader(served, buffer: int = 4096) -> socket.socket:
    """One that asks for ten megabytes and takes none of them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((served.host, served.port))
    connection.sendall(b"GET /stable/x86_64/rootfs HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def test_a_client_that_reads_nothing_is_given_up(served_with) -> None:
    served = served_with(pace_seconds=0.3)
    with slow_reader(served) as connection:
        served.until("/metrics", lambda answer: b"plasm_provider_connections 1.0\n" in answer.body)
        assert len(ends(connection)) < 10_000_000


def test_a_client_that_reads_slowly_but_does_is_served(served_with) -> None:
    served = served_with(pace_seconds=0.05, least_rate=1000)
    with slow_reader(served, 256 * 1024) as connection:
        taken = 0
        while data := connection.recv(128 * 1024):
            taken += len(data)
            time.sleep(0.01)
            if taken > 10_000_000:
                break
    assert taken > 10_000_000


def test_slow_readers_keep_nobody_from_a_download(served, downloading) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(slow_reader(served))
        with downloading(served):
            assert served.get("/health").status == 200


def test_slow_heads_keep_nobody_from_a_download(served, downloading) -> None:
    with many_sockets(served, 100) as connections:
        for connection in connections:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        with downloading(served):
            assert served.get("/health").status == 200


def test_500_idle_connections_keep_nobody_from_a_download(served, downloading) -> None:
    with many_sockets(served, 500), downloading(served):
        assert served.get("/health").status == 200


def test_idle_connections_make_room(served_with) -> None:
    served = served_with(connections=20, connections_per_client=20)
    with many_sockets(served, 100):
        assert served.get("/stable/x86_64/rootfs").status == 200


def test_a_client_with_too_many_downloads_is_told_so(served_with) -> None:
    served = served_with(connections_per_client=2)
    with slow_reader(served) as first, slow_reader(served) as second:
        for connection in (first, second):
            assert connection.recv(8) == b"HTTP/1.1"
        answer = served.get("/health")
    assert (answer.status, answer.fields["retry-after"]) == (503, "5")


def test_every_byte_as_its_own_range_is_answered_as_one(served, downloading) -> None:
    ranges = ",".join(f"{n}-{n}" for n in range(2000))
    with downloading(served):
        answer = served.get("/stable/x86_64/rootfs", {"Range": f"bytes={ranges}"})
    assert (answer.status, len(answer.body)) == (206, 2000)


def test_ranges_all_over_a_file_are_refused(served, downloading) -> None:
    ranges = ",".join(f"{n}-{n}" for n in range(0, 2_000_000, 1000))
    with downloading(served):
        answer = served.get("/stable/x86_64/rootfs", {"Range": f"bytes={ranges}"})
    assert answer.status == 416


def test_the_same_range_a_thousand_times_is_answered_once(served, downloading) -> None:
    with downloading(served):
        answer = served.get("/stable/x86_64/kernel", {"Range": "bytes=" + ",".join(["0-9999"] * 1000)})
    assert (answer.status, len(answer.body)) == (206, 10_000)


def test_a_client_that_goes_away_in_the_middle_takes_nothing_along(served, downloading) -> None:
    with downloading(served):
        for _ in range(20):
            with served.connect() as connection:
                connection.sendall(b"GET /stable/x86_64/rootfs HTTP/1.1\r\nHost: x\r\n\r\n")
                connection.recv(1000)
    served.until("/metrics", lambda answer: b"plasm_provider_connections 1.0\n" in answer.body)
