"""``plasm plugins --check``: what can be opened here, and what would mend the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plasm.cli import main
from plasm.drivers import DriverUnavailable
from plasm.registry import Registry
from tests.toolkit.conftest import Plugins, driver


def unavailable() -> None:
    raise DriverUnavailable("no card reader", "plug one in")


def gone() -> None:
    import a_library_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401


def crashes() -> None:
    raise RuntimeError("two\nlines")


def leaves() -> None:
    raise SystemExit(0)


def check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], registry: Registry
) -> tuple[dict[str, Any], int]:
    """The rows of the registry by name, and the exit code."""
    monkeypatch.setattr("plasm.registry.load_registry", lambda: registry)
    code = main(["plugins", "--check", "--json"])
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)["drivers"]}, code


@pytest.mark.parametrize(
    ("facts", "problem", "mend"),
    [
        ({"check": unavailable}, "no card reader", "plug one in"),
        (
            {"check": gone},
            "No module named 'a_library_that_is_not_there'",
            "install the distribution plasm-card 1.0 anew",
        ),
        ({"check": crashes}, "RuntimeError: two lines", "install a later version of the distribution plasm-card"),
        ({"check": leaves}, "SystemExit: 0", "install a later version of the distribution plasm-card than 1.0"),
        ({"needs": frozenset({"store:tape"})}, "it needs store:tape, which is not installed", ""),
        (
            {"needs": frozenset({"transport:libp2p"})},
            "it needs transport:libp2p,",
            "install the distribution plasm-lib",
        ),
        ({"needs": frozenset({"store"})}, "it needs a store, and none is installed", "install a plugin"),
    ],
)
def test_a_driver_that_cannot_be_opened_says_what_would_mend_it(
    plugins: Plugins,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    facts: dict[str, Any],
    problem: str,
    mend: str,
) -> None:
    plugins.add("plasm-card", {"signer": [driver("card", **facts), driver("fine", check=lambda: None)]})
    rows, code = check(monkeypatch, capsys, plugins.registry())
    assert code == 1
    assert rows["fine"]["ok"]
    assert not rows["card"]["ok"]
    assert rows["card"]["problem"].startswith(problem)
    assert rows["card"]["mend"].startswith(mend)


def test_where_everything_can_be_opened_the_answer_is_yes(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = driver("card", check=lambda: None)
    plugins.add("plasm-card", {"signer": [card], "store": [driver("s", needs=frozenset({"signer:card"}))]})
    rows, code = check(monkeypatch, capsys, plugins.registry())
    assert code == 0
    assert (rows["card"]["ok"], rows["card"]["problem"], rows["card"]["mend"]) == (True, "", "")


def test_a_driver_without_a_check_is_not_called_fit(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins.add("plasm-card", {"signer": [driver("card")]})
    rows, code = check(monkeypatch, capsys, plugins.registry())
    assert (rows["card"]["ok"], rows["card"]["problem"], code) == (None, "", 0)
    assert main(["plugins", "--check"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("not checked")


def test_a_need_whose_plugin_is_broken_says_how(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins.add("plasm-card", {"signer": [driver("card", needs=frozenset({"store:tape"}))]})
    plugins.add_missing("plasm-tape", "a_module_that_is_not_there")
    rows, _ = check(monkeypatch, capsys, plugins.registry())
    assert rows["card"]["problem"].startswith("it needs store:tape, and plasm-tape 1.0 is broken: ModuleNotFound")
    assert rows["card"]["mend"] == "install the distribution plasm-tape 1.0 anew, with all that it needs"


def test_the_table_says_the_same_in_words(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins.add("plasm-card", {"signer": [driver("card", check=unavailable)]})
    plugins.add_missing("plasm-bad", "a_module_that_is_not_there")
    registry = plugins.registry()
    monkeypatch.setattr("plasm.registry.load_registry", lambda: registry)
    assert main(["plugins", "--check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PORT", "NAME", "DISTRIBUTION", "VERSION", "STATE"]
    assert lines[1].endswith("no card reader; plug one in")
    assert lines[2].split()[:4] == ["broken", "bad", "plasm-bad", "1.0"]


def test_without_any_plugin_the_list_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plasm.registry.load_registry", Registry)
    assert main(["plugins"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "pip install" in captured.err
