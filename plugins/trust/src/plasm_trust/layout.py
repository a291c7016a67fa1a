"""Names: channels, architectures, artifacts, target paths, and the folders and URLs that are made of them.

``specs/boot-repository.md``, section 1. Whatever comes from outside goes through these functions before it becomes
part of a path or a URL.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from plasm_fetching.artifact import Artifact

METADATA: Final = "metadata"
HOME_TRUST: Final = "boot/trust"
"""The folder of a home in which whatever boots or mirrors finds the root that its user pinned."""
TARGETS: Final = "targets"
MANIFESTS: Final = "manifests"
MANIFEST: Final = "manifest.json"

ARCHES: Final = ("x86_64", "arm64")
ROLES: Final = frozenset({"root", "timestamp", "snapshot", "targets"})
"""TUF's top-level roles; every other role is a channel's."""
KINDS: Final = ("kernel", "initramfs", "rootfs", "dtb")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ALIASES: Final = {"aarch64": "arm64"}
_NOT_CHANNELS: Final = ROLES | {METADATA, MANIFESTS, "sha256", "health", "status", "metrics", MANIFEST}
_METADATA_FILE = re.compile(r"(?:timestamp|[1-9][0-9]{0,9}\.[a-z0-9][a-z0-9._-]{0,62})\.json")


class BadName(ValueError):
    """The text is not a name of that sort; the message says of which."""


class TargetPath(NamedTuple):
    """``CHANNEL/ARCH/NAME``, taken apart."""

    channel: str
    arch: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)


def channel_name(text: str) -> str:
    """`text`, where it can name a channel. Raises :exc:`BadName`."""
    if not is_channel(text):
        raise BadName(f"{text[:80]!r} is not the name of a channel")
    return text


def is_channel(text: str) -> bool:
    """Whether `text` can name a channel."""
    return bool(_NAME.fullmatch(text)) and text not in _NOT_CHANNELS


def arch_name(text: str) -> str:
    """``x86_64`` or ``arm64``; ``aarch64`` is the latter. Raises :exc:`BadName`."""
    name = _ALIASES.get(text, text)
    if name not in ARCHES:
        raise BadName(f"{text[:80]!r} is not an architecture: {' or '.join(ARCHES)}")
    return name


def artifact_name(text: str) -> str:
    """`text`, where it can name an artifact. Raises :exc:`BadName`."""
    if not _NAME.fullmatch(text) or text == MANIFEST:
        raise BadName(f"{text[:80]!r} is not the name of an artifact")
    return text


def target_path(text: str) -> TargetPath:
    """``CHANNEL/ARCH/NAME`` with the architecture's own name. Raises :exc:`BadName`."""
    parts = text.split("/") if len(text) < 256 else ()
    if len(parts) != 3:
        raise BadName(f"{text[:80]!r} is not CHANNEL/ARCH/NAME")
    return TargetPath(channel_name(parts[0]), arch_name(parts[1]), artifact_name(parts[2]))


def metadata_file(text: str) -> str:
    """`text`, where it can name a file below ``metadata/``. Raises :exc:`BadName`."""
    if not _METADATA_FILE.fullmatch(text):
        raise BadName(f"{text[:80]!r} is not the name of a metadata file")
    return text


def kind_of(name: str) -> str:
    """The kind that an artifact's name tells: ``kernel``, ``initramfs``, ``rootfs``, ``dtb``, or ``""``."""
    if name in KINDS:
        return name
    return "dtb" if name.endswith(".dtb") else ""


def hashed_name(artifact: Artifact) -> str:
    """The consistent target path of TUF: ``CHANNEL/ARCH/HASH.NAME``."""
    channel, arch, name = artifact.path.split("/")
    return f"{channel}/{arch}/{artifact.sha256}.{name}"


def artifact_file(targets: Path, artifact: Artifact) -> Path | None:
    """The file in the folder `targets` that should hold `artifact`: its size is right, its content is not checked.

    In a repository it is ``CHANNEL/ARCH/HASH.NAME``; in a plain folder ``CHANNEL/ARCH/NAME``, and a folder
    ``aarch64`` is as good as ``arm64``. ``None`` where there is none, or only one behind a symbolic link.
    """
    for relative in _candidates(artifact):
        folder = targets
        *folders, name = relative.split("/")
        try:
            for part in folders:
                folder = folder / part
                if not stat.S_ISDIR(folder.lstat().st_mode):
                    raise FileNotFoundError
            facts = (folder / name).lstat()
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode) and facts.st_size == artifact.size:
            return folder / name
    return None


def _candidates(artifact: Artifact) -> Iterator[str]:
    yield hashed_name(artifact)
    yield artifact.path
    channel, arch, name = artifact.path.split("/")
    for alias, meant in _ALIASES.items():
        if meant == arch:
            yield f"{channel}/{alias}/{name}"


def metadata_url(base_url: str) -> str:
    """Where a provider at `base_url` has its metadata, with a slash at the end."""
    return f"{_with_slash(base_url)}{METADATA}/"


def artifact_url(base_url: str, artifact: Artifact) -> str:
    """Where a provider at `base_url` has exactly this artifact."""
    return f"{_with_slash(base_url)}{TARGETS}/{hashed_name(artifact)}"


def manifest_url(base_url: str, channel: str, arch: str) -> str:
    """Where a provider at `base_url` has the manifest of `channel` for `arch`."""
    return f"{_with_slash(base_url)}{channel}/{arch}/{MANIFEST}"


def split_manifest_url(url: str) -> tuple[str, str, str]:
    """The base URL, channel and architecture in ``BASE/CHANNEL/ARCH/manifest.json``. Raises :exc:`BadName`."""
    head, _, last = url.rpartition("/")
    head, _, arch = head.rpartition("/")
    base, _, channel = head.rpartition("/")
    if last != MANIFEST or "://" not in base:
        raise BadName(f"{url[:200]!r} is not BASE/CHANNEL/ARCH/{MANIFEST}")
    return f"{base}/", channel_name(channel), arch_name(arch)


def _with_slash(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"
