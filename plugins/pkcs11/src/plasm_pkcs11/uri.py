"""PKCS#11 URIs (RFC 7512), strictly: what is not understood is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from plasm.errors import printable
from plasm.ports import SignerError

LONGEST_URI: Final = 4096
"""Characters."""

_SCHEME = "pkcs11:"
_EXAMPLE = "pkcs11:token=TOKEN;object=KEY"
# pk11-pchar and pk11-qchar of RFC 7512, section 2.3.
_PATH_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})+")
_QUERY_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=/?|]|%[0-9A-Fa-f]{2})+")
_PATH = frozenset({"token", "manufacturer", "serial", "model", "object", "id", "type"})
_QUERY = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True)
class KeyUri:
    """What a URI says about a token and a key in it; ``None`` for what it does not say."""

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None
    module_path: Path | None = None
    pin_source: Path | None = None

    @property
    def key(self) -> str:
        """The key, in words."""
        if self.object is None:
            return f"with the id {(self.id or b'').hex()}"
        return f"{self.object!r}" + (f" with the id {self.id.hex()}" if self.id is not None else "")


def parse_uri(text: str) -> KeyUri:
    """What `text` says. It must name the key by ``object`` or ``id``.

    Raises :exc:`SignerError`, whose message never holds the value of an attribute, which may be a PIN.
    """
    if not text.startswith(_SCHEME) or len(text) > LONGEST_URI:
        raise SignerError(f"a key in a token is named by a URI of at most {LONGEST_URI} characters: {_EXAMPLE}")
    path, _, query = text.removeprefix(_SCHEME).partition("?")
    said = _attributes(path, ";", _PATH_VALUE, _PATH)
    asked = _attributes(query, "&", _QUERY_VALUE, _QUERY) if query else {}
    if "object" not in said and "id" not in said:
        raise SignerError(f"the URI names no key by object or id: {_EXAMPLE}")
    if said.get("type", "private") != "private":
        raise SignerError("a signer needs a private key; leave type out of the URI")
    return KeyUri(
        **{
            name: _text(said[name], name)
            for name in ("token", "manufacturer", "serial", "model", "object") & said.keys()
        },
        id=unquote_to_bytes(said["id"]) if "id" in said else None,
        module_path=_path(asked["module-path"], "module-path") if "module-path" in asked else None,
        pin_source=_path(asked["pin-source"], "pin-source") if "pin-source" in asked else None,
    )


def without_pin_source(text: str) -> str:
    """The URI `text` without where its PIN is."""
    path, _, query = text.partition("?")
    kept = "&".join(each for each in query.split("&") if not each.startswith("pin-source="))
    return f"{path}?{kept}" if kept else path


def _attributes(part: str, separator: str, value_form: re.Pattern[str], known: frozenset[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for attribute in part.split(separator):
        name, equals, value = attribute.partition("=")
        if name == "pin-value":
            raise SignerError("a PIN does not belong into a URI, which others see; name a file: ?pin-source=file:/PATH")
        if not equals or name not in known:
            listed = ", ".join(sorted(known))
            raise SignerError(f"the URI has something other than {listed}: {printable(name[:40])!r}")
        if name in found:
            raise SignerError(f"the URI says {name} twice")
        if not value_form.fullmatch(value):
            raise SignerError(f"{name} in the URI is empty or not percent-encoded as RFC 7512 has it")
        found[name] = value
    return found


def _text(value: str, name: str) -> str:
    try:
        text = unquote(value, errors="strict")
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        raise SignerError(f"{name} in the URI is not printable UTF-8")
    return text


def _path(value: str, name: str) -> Path:
    """An absolute path, or a ``file:`` URI (RFC 8089) with one."""
    text = _text(value, name)
    if text.startswith("file:"):
        text = re.sub(r"\A//(localhost)?(?=/)", "", text.removeprefix("file:"))
    if not text.startswith("/") or text.startswith("//"):
        raise SignerError(f"{name} in the URI is not file: and an absolute path")
    return Path(text)
