"""The user's TOML: which plugins with which options, and what the node takes from others."""

from __future__ import annotations

import ipaddress
import itertools
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from plasm import memory
from plasm.errors import PlasmError
from plasm.explaining import explain
from plasm.files import NotText, text_of
from plasm.identity import InvalidIdentity, parse_peer_id, peer_of_address
from plasm.ports import Limits, PeerId
from plasm.registry import PORTS

FILE_NAME: Final = "config.toml"
"""Read from the home where no other file is named."""

LARGEST_FILE: Final = 2**20
"""Bytes of a configuration file that are read at most."""

_LONGEST_ADDRESS = 512
_LARGEST_MEMORY_MB = 32768
_LONGEST_TIMEOUT = 3600
_LARGEST_NUMBER = 2**53
"""Of any other setting: what every reader of JSON keeps exactly."""


class ConfigError(PlasmError):
    """The configuration file cannot be read or is not what it should be."""


def _peers(named: str | tuple[str, ...]) -> frozenset[PeerId] | None:
    """The peers that are named, ``None`` for all. Raises :exc:`~plasm.identity.InvalidIdentity`."""
    if named == "anyone":
        return None
    return frozenset() if isinstance(named, str) else frozenset(map(parse_peer_id, named))


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[node]``: what this node takes from others.

    Sizes in bytes and times in seconds, unless named otherwise.
    """

    listen: tuple[str, ...] = ()
    """Multiaddrs to listen on."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs ending in ``/p2p/PEER`` of known peers."""
    allow: Literal["anyone", "nobody"] | tuple[str, ...] = "anyone"
    """Who may send jobs: everybody, nobody but this home's owner, or these peer IDs."""
    trust: Literal["anyone", "nobody"] | tuple[str, ...] = "nobody"
    """Whose jobs may run one after another in the same process, where a runtime's isolation is ``reused``."""
    slots: int | None = None
    """Jobs that run at once, and one more where those of its network were short lately; ``None`` for as many as there
    are cores."""
    compile_slots: int | None = None
    """Modules that are compiled at once, beside the jobs that run; ``None`` for half of `slots`, two at least. Not more
    than a runtime compiles at once."""
    max_queue: int = 256
    """Accepted jobs that wait at once. From there on each network gets an even share of as many, which may make up to
    four times as many jobs in all."""
    max_per_peer: int = 64
    """Accepted jobs of one peer that wait or run at once."""
    keep_seconds: int = 86400
    """How long a result can be asked for again."""
    max_kept_bytes: int = 2**30
    """Of all results that are kept: the oldest of whoever holds most make room for the next."""
    max_module_bytes: int = 64 * 2**20
    max_modules_bytes: int = 2 * 2**30
    """Of all modules that are kept."""
    max_input_bytes: int = 16 * 2**20
    """Of one job's standard input and input files together."""
    max_waiting_input_bytes: int = 2**30
    """Of the inputs of all jobs that have not ended."""
    max_output_bytes: int = 16 * 2**20
    """Of one job's stdout, stderr and files in ``/out`` together."""
    max_file_bytes: int = 256 * 2**20
    """What the files of one job may hold while it runs; it is in memory."""
    max_host_calls: int = 2**53 - 1
    """System calls that one job may ask for."""
    max_memory_mb: int | None = None
    """What one job may ask for, in MiB; ``None`` for half of the memory that this node may have, 32768 at most."""
    max_running_memory_mb: int | None = None
    """Of all jobs that run at once, in MiB; ``None`` for five eighths of the memory that this node may have."""
    max_timeout_seconds: int = _LONGEST_TIMEOUT
    """What one job may ask for."""
    transfer_seconds: int = 120
    """For receiving one job's module and input."""
    drain_seconds: int = 30
    """For running jobs to end after the node was told to stop."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and not 1 <= value <= _LARGEST_NUMBER:
                raise ValueError(f"{name}: expected a positive number, got {value}")
        for name, most in (("max_memory_mb", _LARGEST_MEMORY_MB), ("max_timeout_seconds", _LONGEST_TIMEOUT)):
            if (getattr(self, name) or 1) > most:
                raise ValueError(f"{name}: expected at most {most}, got {getattr(self, name)}")
        for address in self.listen:
            if (wrong := _wrong_with(address)) is not None:
                said = f"got {address[:80]!r}{wrong and f': {wrong}'}"
                raise ValueError(f"listen: expected multiaddrs such as /ip4/0.0.0.0/tcp/4001, {said}")
        try:
            for address in self.bootstrap:
                peer_of_address(address[: _LONGEST_ADDRESS + 1])
        except InvalidIdentity as error:
            raise ValueError(f"bootstrap: expected multiaddrs ending in /p2p/PEER: {error}") from None
        for name in ("allow", "trust"):
            try:
                _peers(getattr(self, name))
            except InvalidIdentity as error:
                raise ValueError(f"{name}: expected anyone, nobody or a list of peer IDs: {error}") from None

    @property
    def allowed_peers(self) -> frozenset[PeerId] | None:
        """The peers that may send jobs; ``None`` for all of them."""
        return _peers(self.allow)

    @property
    def trusted_peers(self) -> frozenset[PeerId] | None:
        """The peers whose jobs may share processes; ``None`` for all of them."""
        return _peers(self.trust)

    @property
    def run_slots(self) -> int:
        """`slots`, or the number of cores that this process may use."""
        if self.slots is not None:
            return self.slots
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0)) or 1
        return os.cpu_count() or 1

    @property
    def compilations(self) -> int:
        """`compile_slots`, or half of :attr:`run_slots`, two at least: one sender's module leaves room for others'."""
        return self.compile_slots if self.compile_slots is not None else max(2, self.run_slots // 2)

    @property
    def memory_mb(self) -> int:
        """What one job may ask for, in MiB: `max_memory_mb`, or half of what there is, and what fits into a run."""
        most = memory.usable_memory() // 2 if self.max_memory_mb is None else self.max_memory_mb * 2**20
        fits = self.running_memory_bytes - memory.memory_of(Limits(memory_bytes=0))
        own = memory.memory_of_one_process()
        fits = fits if own is None else min(fits, own // 2)
        return max(1, min(most, fits, _LARGEST_MEMORY_MB * 2**20) // 2**20)

    @property
    def running_memory_bytes(self) -> int:
        """`max_running_memory_mb`, or five eighths of what there is, in bytes."""
        if self.max_running_memory_mb is not None:
            return self.max_running_memory_mb * 2**20
        return memory.running_memory()


@dataclass(frozen=True)
class Config:
    """What the user's TOML says."""

    profile: str | None = None
    plugins: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Options by port and driver: the tables ``[transport.libp2p]``, ``[discovery.dht]`` and so on."""
    node: NodeSettings = field(default_factory=NodeSettings)
    path: Path | None = None
    """Where it was read; ``None`` where there is no file."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    profile: str | None = None
    plugins: tuple[str, ...] = ()
    node: NodeSettings = NodeSettings()
    signer: dict[str, dict[str, Any]] = {}
    store: dict[str, dict[str, Any]] = {}
    transport: dict[str, dict[str, Any]] = {}
    discovery: dict[str, dict[str, Any]] = {}
    runtime: dict[str, dict[str, Any]] = {}
    service: dict[str, dict[str, Any]] = {}


def _wrong_with(address: str) -> str | None:
    """What is wrong with a multiaddr, as far as no transport is needed to tell; ``None`` where nothing is."""
    if not address.startswith("/") or len(address) > _LONGEST_ADDRESS:
        return ""
    parts = address.split("/")[1:]
    for protocol, value in itertools.pairwise(parts):
        if protocol in ("ip4", "ip6"):
            try:
                ipaddress.IPv4Address(value) if protocol == "ip4" else ipaddress.IPv6Address(value)
            except ValueError:
                return f"{value!r} is no {protocol} address"
        if protocol in ("tcp", "udp") and not (value.isascii() and value.isdigit() and int(value[:6]) < 65536):
            return f"{value!r} is no port"
    return None


def load_config(path: Path | None, home: Path | None) -> Config:
    """The file at `path`, which must be there, else ``config.toml`` in `home`, if it is. Raises :exc:`ConfigError`."""
    required = path is not None
    if path is None:
        if home is None:
            return Config()
        path = home / FILE_NAME
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    # A home that is no folder has no file in it; whoever needs the home says what is wrong with it.
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise ConfigError(f"there is no file {path}", "name another with --config") from None
        return Config()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "name another with --config") from error
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path} is larger than 1 MiB", "name another with --config")
    try:
        text = text_of(raw)
    except NotText as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    return read_config(text, path)


def read_config(text: str, path: Path | None = None) -> Config:
    """What `text` (TOML) says; `path` is for messages. Raises :exc:`ConfigError`."""
    where = str(path) if path is not None else FILE_NAME
    try:
        # Deeply nested arrays exhaust the parser's stack.
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML: {error}") from error
    refuse_unknown_keys(document, _File.__struct_fields__, where)
    if isinstance(node := document.get("node"), dict):
        refuse_unknown_keys(node, NodeSettings.__struct_fields__, f"{where}: [node]")
    try:
        file = msgspec.convert(document, _File, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, _File)}") from error
    options = {port: getattr(file, port) for port in PORTS}
    return Config(file.profile, file.plugins, options, file.node, path)


def refuse_unknown_keys(table: Mapping[str, object], known: Sequence[str], where: str) -> None:
    """Raises :exc:`ConfigError` for the first key of `table` that is not one of `known`, and lists those."""
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            mend = f"did you mean {close[0]}?" if close else ""
            listed = ", ".join(sorted(known)) or "there are none"
            raise ConfigError(f"{where}: unknown key {key[:80]!r} (known: {listed})", mend)
