"""``repository.toml``: who is to sign what, how long it holds, and where this machine has its keys. No secrets.

It says what a publisher wants. What holds is what was signed: drafts are made where the two differ.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from plasm.errors import PlasmError
from plasm.files import text_of
from plasm.identity import InvalidIdentity, public_key
from plasm_trust import layout
from plasm_trust.whole_files import read_capped, write_whole

FILE: Final = "repository.toml"
MAX_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 32
"""Of one role."""
MAX_CHANNELS: Final = 64
MAX_URI: Final = 4096
MAX_DAYS: Final = 36_500


class SettingsError(PlasmError):
    """``repository.toml`` cannot be used as it is."""


class RoleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One role: its keys by did:key, and how long what they sign holds."""

    keys: tuple[str, ...]
    threshold: int = 1
    """How many of them must sign."""
    valid_days: int
    warning_days: int
    """How long before it expires it is time to sign anew."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a repository's."""

    version: int = 1
    artifacts: str = ""
    """A plain folder that has the artifacts; empty where they are in ``targets`` of the repository itself."""
    keys: Mapping[str, str]
    """did:key → URI under which this machine opens it; empty for one that it only knows by name."""
    roles: Mapping[str, RoleSettings]
    """Of ``root``, ``targets``, ``snapshot`` and ``timestamp``."""
    channels: Mapping[str, RoleSettings] = {}

    def role(self, name: str) -> RoleSettings:
        """The settings of a top-level role or a channel. Raises :exc:`KeyError`."""
        return self.roles[name] if name in layout.ROLES else self.channels[name]


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DAYS: Final = {"root": (365, 30), "targets": (365, 30), "snapshot": (30, 7), "timestamp": (7, 2)}
_CHANNEL_DAYS: Final = (90, 14)


def role_settings(name: str, keys: tuple[str, ...], threshold: int = 1) -> RoleSettings:
    """What a role begins with."""
    valid, warning = _DAYS.get(name, _CHANNEL_DAYS)
    return RoleSettings(keys=keys, threshold=threshold, valid_days=valid, warning_days=warning)


def check(settings: Settings) -> Settings:
    """`settings`, where a repository can be made of them. Raises :exc:`SettingsError`."""
    if settings.version != 1:
        raise SettingsError(f"{FILE} is of version {settings.version}, and this is version 1")
    if set(settings.roles) != layout.ROLES:
        raise SettingsError(f"{FILE} must have the roles {', '.join(sorted(layout.ROLES))}")
    if len(settings.channels) > MAX_CHANNELS:
        raise SettingsError(f"{FILE} has more than {MAX_CHANNELS} channels")
    for name in settings.channels:
        if not layout.is_channel(name):
            raise SettingsError(f"{FILE}: {name[:80]!r} is not the name of a channel")
    for name, role in (*settings.roles.items(), *settings.channels.items()):
        _check_role(name, role)
    for did, uri in settings.keys.items():
        _check_did(did)
        if not uri.isprintable() or len(uri) > MAX_URI:
            raise SettingsError(f"{FILE}: the URI of {did} is not printable, or longer than {MAX_URI} characters")
        if "?" in uri:
            # The folder is handed around: whoever opens a key by it must not load its module, or read its PIN.
            raise SettingsError(
                f"{FILE}: the URI of {did} has a part after a question mark, such as a PIN or a module",
                "leave it out, and name them where the key is: PLASM_PIN_FILE, PLASM_PKCS11_MODULE",
            )
    return settings


def load(folder: Path) -> Settings:
    """What stands in the ``repository.toml`` of `folder`. Raises :exc:`SettingsError`."""
    path = folder / FILE
    try:
        return check(msgspec.convert(tomllib.loads(text_of(read_capped(path, MAX_BYTES))), Settings))
    except FileNotFoundError:
        raise SettingsError(f"there is no repository of ours in {folder}", "plasm repo init makes one") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise SettingsError(f"{path}: {error}") from None


def save(folder: Path, settings: Settings) -> None:
    """Put `settings` into `folder`. Raises :exc:`SettingsError` or :exc:`OSError`."""
    check(settings)
    lines = [f"version = {settings.version}"]
    if settings.artifacts:
        lines.append(f"artifacts = {_text(settings.artifacts)}")
    lines += ["", "[keys]", *(f"{_text(did)} = {_text(uri)}" for did, uri in settings.keys.items())]
    for table, roles in (("roles", settings.roles), ("channels", settings.channels)):
        for name, role in roles.items():
            lines += [
                "",
                f"[{table}.{name if _BARE.fullmatch(name) else _text(name)}]",
                f"keys = [{', '.join(map(_text, role.keys))}]",
                f"threshold = {role.threshold}",
                f"valid_days = {role.valid_days}",
                f"warning_days = {role.warning_days}",
            ]
    write_whole(folder / FILE, "\n".join([*lines, ""]).encode())


def _check_role(name: str, role: RoleSettings) -> None:
    if len(set(role.keys)) != len(role.keys) or not 1 <= len(role.keys) <= MAX_KEYS:
        raise SettingsError(f"{FILE}: {name} needs 1 to {MAX_KEYS} keys, each once")
    if not 1 <= role.threshold <= len(role.keys):
        raise SettingsError(f"{FILE}: {name} has {len(role.keys)} keys, and {role.threshold} of them must sign")
    if not 1 <= role.valid_days <= MAX_DAYS or not 0 <= role.warning_days < role.valid_days:
        raise SettingsError(f"{FILE}: {name} must hold for 1 to {MAX_DAYS} days, and warn within that time")
    for did in role.keys:
        _check_did(did)


def _check_did(text: str) -> None:
    try:
        if text.startswith("did:key:"):
            public_key(text)
            return
    except InvalidIdentity:
        pass
    raise SettingsError(f"{FILE}: {text[:80]!r} is not the did:key of an Ed25519 key")


def _text(text: str) -> str:
    # A JSON string is a basic string of TOML where nothing in it needs an escape that only JSON has.
    return json.dumps(text, ensure_ascii=False)
