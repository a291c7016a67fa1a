"""Over TLS the same deadlines hold, and nobody is believed to be who they are not."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from plasm_fetching.http import Connection, Unreachable, parse_url, read
from plasm_fetching.sockets import tls_context

LONG = 1000.0
Answer = Callable[[ssl.SSLSocket], None]
Serve = Callable[[Answer], str]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1, with its key."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, None)
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def serve(certificate: Path) -> Iterator[Serve]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with contextlib.ExitStack() as stack:

        def start(answer: Answer) -> str:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def run() -> None:
                with contextlib.suppress(OSError):
                    opened, _ = listener.accept()
                    with context.wrap_socket(opened, server_side=True) as secured:
                        secured.recv(65536)
                        answer(secured)

            threading.Thread(target=run, daemon=True).start()
            return f"https://127.0.0.1:{listener.getsockname()[1]}/file"

        yield start


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    context = tls_context()
    context.load_verify_locations(certificate)
    return context


def test_a_file_comes_whole(serve: Serve, trusting: ssl.SSLContext):
    body = bytes(range(256)) * 2000
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection = Connection(parse_url(serve(lambda secured: secured.sendall(head + body))), tls=trusting)
    assert connection.read(max_bytes=len(body), timeout=LONG) == body


def test_the_deadline_holds_against_one_that_sends_bit_by_bit(serve: Serve, trusting: ssl.SSLContext):
    def answer(secured: ssl.SSLSocket) -> None:
        secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            secured.sendall(b"x")
            threading.Event().wait(0.01)

    connection = Connection(parse_url(serve(answer)), tls=trusting)
    with pytest.raises(Unreachable, match="timed out"):
        connection.read(max_bytes=10**6, timeout=0.5)


def test_a_certificate_of_nobody_known_is_refused(serve: Serve):
    with pytest.raises(Unreachable, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        read(serve(lambda secured: secured.sendall(b"HTTP/1.1 200 OK\r\n\r\nx")), max_bytes=1, timeout=LONG)


def test_one_that_takes_no_part_in_the_handshake_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(Unreachable, match="timed out"):
            read(url, max_bytes=1, timeout=0.3)


def test_abort_ends_the_handshake():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = Connection(parse_url(f"https://127.0.0.1:{listener.getsockname()[1]}/"))
        over = threading.Event()

        def abort() -> None:
            opened, _ = listener.accept()
            with opened:
                opened.recv(1)
                connection.abort()
                over.wait()

        threading.Thread(target=abort, daemon=True).start()
        try:
            with pytest.raises(Unreachable, match="given up"):
                connection.read(max_bytes=1, timeout=LONG)
        finally:
            over.set()
