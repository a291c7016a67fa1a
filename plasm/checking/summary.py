"""What came of checking a receipt, as a signed in-toto verification summary.

Predicate https://slsa.dev/verification_summary/v1, in the JSON form of the in-toto attestation repository's ``vsa``
predicate, in a DSSE envelope. Stock tools read it; ``specs/checking.md``, section 4, says what each member holds.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from plasm.identity import did_key
from plasm.jobs.manifest import canonical_json, sha256
from plasm.jobs.receipt import STATEMENT_TYPE, claimed_node, sign_payload
from plasm.ports import PeerId, Signer

SUMMARY_TYPE: Final = "https://slsa.dev/verification_summary/v1"
_HELD = "PHASE_RESULT_REPRODUCED"
"""Not one of SLSA's levels: SLSA leaves every name that does not begin with its own to others."""
_FAILED = "FAILED"


@dataclass(frozen=True)
class Policy:
    """By which rule a receipt was checked: a URI that names all of it."""

    uri: str


def reexecution(engine: str) -> Policy:
    """The job was run again on `engine`, and had to give the same result digest."""
    return Policy(f"urn:phase:policy:reexec:1?={_query(engine=engine)}")


def quorum(replicas: int, quorum: int) -> Policy:
    """Of `replicas` nodes `quorum` had to give the same result digest as the receipt."""
    return Policy(f"urn:phase:policy:quorum:1?={_query(replicas=replicas, quorum=quorum)}")


def make_summary(
    receipt: bytes,
    *,
    passed: bool,
    policy: Policy,
    against: Sequence[bytes] = (),
    signer: Signer,
    verifier: PeerId,
    verified: datetime.datetime,
) -> bytes:
    """The summary about `receipt`, which was held `against` other receipts, signed by `verifier`.

    `passed` says whether the results are the same; where they cannot be compared there is nothing to sum up. The
    caller has verified the receipts. `verified` is an aware datetime. Raises
    :exc:`~plasm.jobs.receipt.ReceiptRefused` for what is no receipt, and :exc:`~plasm.ports.SignerError`.
    """
    statement = {
        "_type": STATEMENT_TYPE,
        "predicate": {
            "inputAttestations": [_descriptor(each) for each in (receipt, *against)],
            "policy": {"uri": policy.uri},
            "resourceUri": _descriptor(receipt)["uri"],
            "timeVerified": verified.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "verificationResult": "PASSED" if passed else "FAILED",
            "verifiedLevels": [_HELD if passed else _FAILED],
            "verifier": {"id": did_key(verifier)},
        },
        "predicateType": SUMMARY_TYPE,
        "subject": [{"digest": {"sha256": _hex(receipt)}, "name": "receipt"}],
    }
    return sign_payload(canonical_json(statement), signer, verifier)


def _descriptor(receipt: bytes) -> dict[str, Any]:
    digest = _hex(receipt)
    return {"digest": {"sha256": digest}, "uri": f"urn:phase:receipt:1:{claimed_node(receipt)}:{digest}"}


def _hex(receipt: bytes) -> str:
    return sha256(receipt).removeprefix("sha256:")


def _query(**parameters: str | int) -> str:
    from urllib.parse import urlencode

    return urlencode(parameters)
