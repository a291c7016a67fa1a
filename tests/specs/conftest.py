from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

SPECS = Path(__file__).parents[2] / "specs"


@pytest.fixture(scope="session")
def specs() -> Path:
    return SPECS


@pytest.fixture(scope="session")
def text() -> Callable[[str], str]:
    """The text of a file of the specifications."""
    return lambda name: (SPECS / name).read_text()


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], dict[str, Any]]:
    return lambda name: json.loads((SPECS / "vectors" / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def schema() -> Callable[..., jsonschema.Draft202012Validator]:
    """A validator of a schema, or of one of its definitions."""

    def load(name: str, definition: str = "") -> jsonschema.Draft202012Validator:
        document = json.loads((SPECS / "schemas" / f"{name}.json").read_text())
        if definition:
            document = {"$schema": document["$schema"], "$defs": document["$defs"], "$ref": f"#/$defs/{definition}"}
        return jsonschema.Draft202012Validator(document)

    return load
