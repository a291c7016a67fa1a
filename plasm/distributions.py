"""How to get the distributions that drivers come in: the one place for those words.

Plasm's own come from a checkout of its repository. Their names on a package index are nobody's, or somebody else's, so
no advice may lead there: a command names every folder that the installer would otherwise look for on the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FOLDERS: Final[Mapping[str, str]] = {
    "plasm": ".",
    "plasm-boot": "boot",
    "plasm-cells": "plugins/cells",
    "plasm-fetching": "plugins/fetching",
    "plasm-finding": "plugins/finding",
    "plasm-fs": "plugins/fs",
    "plasm-http": "plugins/http",
    "plasm-keys": "plugins/keys",
    "plasm-libp2p": "plugins/libp2p",
    "plasm-mdns": "plugins/mdns",
    "plasm-pkcs11": "plugins/pkcs11",
    "plasm-provider": "plugins/provider",
    "plasm-trust": "plugins/trust",
    "plasm-wasm3": "plugins/wasm3",
    "plasm-wasmer": "plugins/wasmer",
    "plasm-wasmtime": "plugins/wasmtime",
}
"""Plasm's own distributions, and where each of them is in its repository."""

_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("plasm-wasm3", "plasm-wasmer", "plasm-wasmtime"), ("plasm-cells",)),
    "plasm-boot": ("plasm-fetching", "plasm-finding", "plasm-trust"),
    "plasm-http": ("plasm-fetching", "plasm-finding"),
    "plasm-provider": ("plasm-fetching", "plasm-finding", "plasm-trust"),
    "plasm-trust": ("plasm-fetching",),
}
"""Those of our own that one needs besides plasm itself."""

BRINGS: Final[Mapping[str, str]] = {
    "dht": "plasm-libp2p",
    "encrypted": "plasm-keys",
    "ephemeral": "plasm-keys",
    "file": "plasm-keys",
    "fs": "plasm-fs",
    "http": "plasm-http",
    "internet": "plasm-boot",
    "libp2p": "plasm-libp2p",
    "local": "plasm-boot",
    "mdns": "plasm-mdns",
    "memory": "plasm-fs",
    "pkcs11": "plasm-pkcs11",
    "private": "plasm-boot",
    "provider": "plasm-provider",
    "wasm3": "plasm-wasm3",
    "wasmer": "plasm-wasmer",
    "wasmtime": "plasm-wasmtime",
}
"""Which of our own brings a driver or profile, for where it is missing or too broken to say so itself."""


def install(distribution: str) -> str:
    """What to do where `distribution`, one of our own, is missing."""
    where = f"which is {FOLDERS[distribution]} of Plasm's repository"
    return f"install the distribution {distribution}, {where}: {_command(distribution)} in a checkout"


def install_all() -> str:
    """What to do where nothing is installed."""
    return "install Plasm's own: pip install . ./boot ./plugins/* in a checkout of its repository"


def install_anew(distribution: str, version: str) -> str:
    """What to do where `distribution` lacks something that it needs."""
    if distribution in FOLDERS:
        command = _command(distribution, "--force-reinstall ")
        return f"install the distribution {distribution} anew: {command} in a checkout of Plasm's repository"
    return f"install the distribution {distribution} {version} anew, with all that it needs"


def upgrade(distribution: str, version: str) -> str:
    """What to do where `version` of `distribution` does not do what it should."""
    if distribution in FOLDERS:
        where = f"{_command(distribution)} in an up-to-date checkout of Plasm's repository"
        return f"install a later {distribution} than {version}, or report it: {where}"
    return f"install a later version of the distribution {distribution} than {version}, or tell its authors"


def _command(distribution: str, options: str = "") -> str:
    folders = [
        ".",
        *(f"./{FOLDERS[each]}" for each in (*_NEEDS.get(distribution, ()), distribution) if each != "plasm"),
    ]
    return f"pip install {options}{' '.join(folders)}"
