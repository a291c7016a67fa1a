"""Writes the test vectors: ``python specs/vectors/generate.py [FOLDER]``, by default into this folder.

The output is the same on every run. Whoever changes a format on purpose runs it and looks at the difference.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from boot_manifest_vectors import boot_manifests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from evidence_vectors import evidence
from message_vectors import messages
from receipt_vectors import receipts

from plasm.identity import base58_encode, did_key, peer_id
from plasm.jobs.framing import MAX_FRAME, encode_frame
from plasm.jobs.manifest import Job, Manifest, canonical_json, input_files, job_id, result_digest, sha256
from plasm.jobs.receipt import input_digest
from plasm.ports import Digest, PeerId

SEEDS = {
    "RFC 8032, section 7.1, test 1": "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "the Ed25519 key of the libp2p peer ID specification": (
        "7e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
    ),
    "32 zero bytes": "00" * 32,
    "32 bytes of 01, the node of the receipts": "01" * 32,
    "32 bytes of 02, the client of the receipts": "02" * 32,
}
NO_KEYS = {
    "0100000000000000000000000000000000000000000000000000000000000000": "order 1",
    "0100000000000000000000000000000000000000000000000000000000000080": "order 1, with the sign of an x that is 0",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": "order 2",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": "order 2, with the sign of an x that is 0",
    "0000000000000000000000000000000000000000000000000000000000000000": "order 4",
    "0000000000000000000000000000000000000000000000000000000000000080": "order 4",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": "order 8",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85": "order 8",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": "order 8",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa": "order 8",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": "y is p: order 4, in its longer form",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": "y is p + 1: order 1, in its longer form",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": "y is p + 3: a longer form of another point",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": "y is p + 18: a longer form of another point",
}
"""Public keys for which anybody can sign, and such as have a shorter encoding (RFC 8032, section 5.1.3)."""
EMPTY = sha256(b"")
NO_PATHS = {
    "": "an input file without a path",
    "/a": "an input file's path that is absolute",
    "a//": "an input file's path that ends in two slashes",
    "/": "a slash as an input file's path",
    "a//b": "an empty component in an input file's path",
    "../a": "an input file's path that goes up",
    "a/./b": "a dot in an input file's path",
    "a\0b": "a NUL in an input file's path",
    "x" * 256: "a component of 256 bytes",
    "x/" * 512 + "x": "a path of 1025 bytes",
    "tmp/a": "an input file in /tmp",
    "tmp/": "an empty folder at /tmp",
    "out": "an input file at /out",
}


def identities() -> dict[str, Any]:
    valid = []
    for name, seed in SEEDS.items():
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
        public = key.public_key().public_bytes_raw()
        peer = peer_id(public)
        valid.append(
            {
                "name": name,
                "seed": seed,
                "public_key": public.hex(),
                "peer_id": peer,
                "did_key": did_key(peer),
                "private_key_pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            }
        )
    first = valid[0]
    name, did, raw = first["peer_id"], first["did_key"], bytes.fromhex(first["public_key"])
    prefix = bytes.fromhex("002408011220")
    invalid = [
        ("", "empty"),
        (name[1:], "the leading 1, a zero byte, is missing"),
        ("1" + name, "one zero byte too many in front"),
        (name + " ", "a space is no base58 digit"),
        (name[:-1] + "0", "0 is no base58 digit"),
        (name[:-1], "cut short"),
        (name + "1" * 64, "longer than any name of a key"),
        (base58_encode(prefix + raw[:-1]), "a key of 31 bytes"),
        (base58_encode(prefix + raw + b"\0"), "a key of 33 bytes"),
        (base58_encode(bytes.fromhex("002508021221") + b"\2" + raw), "a secp256k1 key"),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "the hash of a key (RSA), not a key"),
        ("bafzaajaiaejca4syrpdu6gdx4wsdnokxkprgzxf4wrstuc34gxw5k5jrag2so5gk", "the CID form of a peer ID"),
        (did.removeprefix("did:key:"), "a did:key without its scheme"),
        (did.replace("did:key:z", "did:key:"), "a did:key without its multibase letter"),
        (did + "#" + did.removeprefix("did:key:"), "a did:key with a fragment"),
        ("did:key:z" + base58_encode(b"\xe7\x01\x02" + raw), "the did:key of a secp256k1 key"),
        ("did:key:z" + base58_encode(b"\xed\x01" + raw[:-1]), "a did:key of 31 bytes"),
        ("did:web:example.org", "another DID method"),
        (raw.hex(), "the public key in hexadecimal"),
    ]
    invalid += [(base58_encode(prefix + bytes.fromhex(key)), why) for key, why in NO_KEYS.items()]
    invalid.append(("did:key:z" + base58_encode(b"\xed\x01\1" + bytes(31)), "the did:key of a key of order 1"))
    good = [f"/ip4/127.0.0.1/tcp/4001/p2p/{name}", f"/ip6/::1/tcp/4001/p2p/{name}"]
    bad = [
        ("/ip4/127.0.0.1/tcp/4001", "names no peer"),
        (f"/ip4/127.0.0.1/tcp/4001/p2p/{name}/", "ends in a slash"),
        (f"ip4/127.0.0.1/tcp/4001/p2p/{name}", "does not begin with a slash"),
        (f"/p2p/{name}", "names no place"),
        (f"/ip4/127.0.0.1/tcp/4001/p2p/{did}", "names its peer by a did:key"),
        ("/ip4/127.0.0.1/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "names no Ed25519 key"),
    ]
    return {
        "valid": valid,
        "invalid": [{"text": text, "why": why} for text, why in invalid],
        "addresses": {
            "valid": [{"address": address, "peer_id": name} for address in good],
            "invalid": [{"address": address, "why": why} for address, why in bad],
        },
    }


def frames() -> dict[str, Any]:
    bodies = {
        "an empty body": [b""],
        "one byte": [b"\x2a"],
        "the longest body with a prefix of one byte": [bytes(127)],
        "the shortest body with a prefix of two bytes": [bytes(128)],
        "three frames one after another": [b"first", b"", b"third"],
    }
    invalid = [
        ("8000", "0 in two bytes: not the shortest form"),
        ("ff00" + "00" * 127, "127 in two bytes: not the shortest form"),
        ("80808000", "0 in four bytes: not the shortest form"),
        ("80808080", "a prefix of more than four bytes"),
        ("ffffffffffffffff0f", "a claim of 2^60 bytes and more: a prefix of more than four bytes"),
        ("818024", f"{MAX_FRAME + 1} bytes: one more than the cap, to be refused before any body arrives"),
        ("ffffff7f", "268435455 bytes: over the cap"),
    ]
    incomplete = [
        ("80", "half a prefix"),
        ("05616263", "three of five bytes"),
        ("808024", f"the prefix of a frame of {MAX_FRAME} bytes, the largest"),
        ("0161" + "02", "one whole frame, then a prefix alone"),
    ]
    return {
        "largest": MAX_FRAME,
        "valid": [
            {"name": name, "hex": b"".join(map(encode_frame, each)).hex(), "bodies": [body.hex() for body in each]}
            for name, each in bodies.items()
        ],
        "invalid": [{"hex": text, "why": why} for text, why in invalid],
        "incomplete": [{"hex": text, "why": why} for text, why in incomplete],
    }


def jobs() -> dict[str, Any]:
    module = sha256(b"\0asm\1\0\0\0")
    plain = Job(manifest=Manifest(module_hash=module))
    rich = Job(
        manifest=Manifest(
            module_hash=module,
            cpu_cores=2,
            memory_mb=64,
            timeout_seconds=5,
            output_bytes=0,
            file_bytes=0,
            fuel=2**53 - 1,
            host_calls=1,
            capabilities=("random", "clock"),
        ),
        args=("-v", "", 'quote " backslash \\ slash /', "tab\tline\nbell\x07del\x7f", "Grüße, 世界 🌍"),
        # By UTF-8 bytes, as here, U+FF3A stands before U+1F600; by UTF-16 units it stands after it.
        env={"😀": "2", "Ｚ": "1", "b": "", "a": "x=y", "B": "0"},
        stdin=sha256(b"Hello, World"),
        inputs=input_files({"data/b.csv": b"1,2\n", "a": b"", "data/Grüße": b"x", "Ｚ": b"1", "😀": b"2"}),
    )
    escapes = Job(
        manifest=Manifest(module_hash=module),
        args=("<script>&amp;</script>", "\u2028\u2029", "\u007f\u0080\u00ad\ufeff", "\x1f\x0b", "/"),
        env={"<&>": "\u2028"},
    )
    folders = Job(
        manifest=Manifest(module_hash=module),
        inputs=input_files({"a.b": b"", "a/": b"", "data/a": b"", "data/b/": b""}),
    )
    valid = [
        {
            "name": name,
            "job": as_json(job),
            "canonical": job.canonical().decode(),
            "digest": job.digest(),
            "input_digest": input_digest(job),
        }
        for name, job in {
            "all defaults": plain,
            "everything set": rich,
            "texts that some encoders of JSON write as escapes: < > & U+2028 U+2029": escapes,
            "empty folders": folders,
        }.items()
    ]
    good: dict[str, Any] = as_json(plain)
    manifest = good["manifest"]
    file = {"path": "data/a", "digest": EMPTY, "size": 0}
    second = file | {"path": "data/b"}
    invalid = [
        (good | {"args": ["a\0b"]}, "a NUL in an argument"),
        (good | {"env": {"": "x"}}, "a variable without a name"),
        (good | {"env": {"a=b": "x"}}, "an equals sign in a variable's name"),
        (good | {"args": [""] * 257}, "257 arguments"),
        (good | {"stdin": None}, "standard input is named by a digest"),
        *((good | {"inputs": [file | {"path": path}]}, why) for path, why in NO_PATHS.items()),
        (good | {"inputs": [second, file]}, "input files that are not sorted"),
        (good | {"inputs": [file, file]}, "an input file twice"),
        (good | {"inputs": [file | {"path": "data"}, file]}, "an input file where another one needs a folder"),
        (good | {"inputs": [file | {"path": "data/"}, file]}, "an empty folder in which there is a file"),
        (good | {"inputs": [file, file | {"path": "data/a/"}]}, "a file and an empty folder of one name"),
        (good | {"inputs": [file | {"path": "a/", "size": 1}]}, "an empty folder with content"),
        (good | {"inputs": [file | {"path": "a/", "digest": module}]}, "an empty folder with the digest of something"),
        (good | {"inputs": [file | {"size": 2**26}, second | {"size": 1}]}, "input files of more than 64 MiB"),
        (good | {"inputs": [file | {"mode": 0}]}, "an unknown member of an input file"),
        (good | {"manifest": manifest | {"file_bytes": 2**30 + 1}}, "more than a GiB of files"),
        (good | {"extra": 1}, "an unknown member"),
        (good | {"manifest": manifest | {"extra": 1}}, "an unknown member of the manifest"),
        (good | {"manifest": manifest | {"version": 2}}, "a manifest of another version"),
        (good | {"manifest": manifest | {"module_hash": module.upper()}}, "a digest in capitals"),
        (good | {"manifest": manifest | {"module_hash": module[7:]}}, "a digest that does not name its algorithm"),
        (good | {"manifest": manifest | {"cpu_cores": 65}}, "more than 64 cores"),
        (good | {"manifest": manifest | {"memory_mb": 0}}, "no memory"),
        (good | {"manifest": manifest | {"memory_mb": 32769}}, "more than 32768 MiB"),
        (good | {"manifest": manifest | {"timeout_seconds": 3601}}, "more than an hour"),
        (good | {"manifest": manifest | {"timeout_seconds": 1.5}}, "a number that is no integer"),
        (good | {"manifest": manifest | {"fuel": 2**53}}, "a number that not every JSON reader keeps"),
        (good | {"manifest": manifest | {"capabilities": ["network"]}}, "an unknown capability"),
        (good | {"manifest": manifest | {"capabilities": ["clock", "clock"]}}, "a capability named twice"),
    ]
    ids = []
    for seed, nonce in (("02" * 32, bytes(16)), ("02" * 32, bytes(range(16))), ("00" * 32, bytes(16))):
        client = _peer(seed)
        digest = Digest(plain.digest())
        ids.append(
            {"client": client, "nonce": nonce.hex(), "job_digest": digest, "job_id": job_id(client, nonce, digest)}
        )
    results = []
    plain_outputs = {"stderr": EMPTY, "stdout": sha256(b"dlroW ,olleH")}
    # By UTF-8 bytes: out/ stands before stderr, and U+FF3A before U+1F600.
    many = {"out/a/b": EMPTY, "out/Ｚ": EMPTY, "out/😀": EMPTY} | plain_outputs
    for verdict, code, outputs in (
        ("exited", 0, plain_outputs),
        ("exited", 3, plain_outputs),
        ("timed_out", None, plain_outputs),
        ("exited", 0, many),
    ):
        document = {
            "exitCode": code,
            "outputs": [list(pair) for pair in outputs.items()],
            "type": "urn:phase:result:1",
            "verdict": verdict,
        }
        results.append(
            {
                "verdict": verdict,
                "exit_code": code,
                "outputs": outputs,
                "canonical": canonical_json(document).decode(),
                "digest": result_digest(verdict, code, outputs),
            }
        )
    return {
        "valid": valid,
        "invalid": [{"job": job, "why": why} for job, why in invalid],
        "job_ids": ids,
        "results": results,
    }


def as_json(job: Job) -> Any:
    import msgspec

    return json.loads(msgspec.json.encode(job))


def _peer(seed: str) -> PeerId:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    return peer_id(key.public_key().public_bytes_raw())


def main(folder: Path) -> None:
    """Write all vectors into `folder`."""
    for make in (identities, frames, messages, jobs, receipts, evidence, boot_manifests):
        text = json.dumps(make(), indent=2, ensure_ascii=True) + "\n"
        (folder / f"{make.__name__.replace('_', '-')}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
