"""The user's TOML: what it may say, and what is said about anything else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm.config import LARGEST_FILE, ConfigError, NodeSettings, load_config, read_config
from plasm.identity import peer_id

PEER = peer_id(b"p" * 32)


def test_all_that_a_file_can_say_is_kept() -> None:
    config = read_config(
        f"""
        profile = "local"
        plugins = ["mdns", "store:fs"]
        [node]
        listen = ["/ip4/0.0.0.0/tcp/4001"]
        bootstrap = ["/ip4/10.0.0.1/tcp/4001/p2p/{PEER}"]
        allow = ["{PEER}"]
        slots = 3
        [discovery.dht]
        provide_seconds = 60
        [service.gateway]
        port = 80
        """
    )
    assert config.profile == "local"
    assert config.plugins == ("mdns", "store:fs")
    assert config.options["discovery"]["dht"] == {"provide_seconds": 60}
    assert config.options["service"]["gateway"] == {"port": 80}
    assert config.node.allowed_peers == {PEER}
    assert config.node.run_slots == 3


def test_an_empty_file_means_the_defaults() -> None:
    assert read_config("").node == NodeSettings()


def test_who_may_send_jobs_is_everybody_nobody_or_a_list() -> None:
    assert NodeSettings().allowed_peers is None
    assert NodeSettings(allow="nobody").allowed_peers == frozenset()


def test_what_is_left_open_follows_the_machine() -> None:
    assert NodeSettings().run_slots >= 1
    assert 1 <= NodeSettings().memory_mb <= 32768
    assert NodeSettings(max_memory_mb=7).memory_mb == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profil = 'x'", r"unknown key 'profil' \(known: .*profile.*\); did you mean profile\?"),
        ("[node]\nslot = 1", r"\[node\]: unknown key 'slot' \(known: .*slots.*\); did you mean slots\?"),
        ("[node]\nslots = '2'", r"toml: \[node\] slots: expected a whole number, got a text in quotes$"),
        ("[node]\nslots = 0", r"\[node\] slots: expected a positive number, got 0"),
        ("[node]\nslots = true", r"\[node\] slots: expected a whole number, got true or false"),
        ("[node]\nslots = 1.5", r"\[node\] slots: expected a whole number, got a number"),
        ("[node]\nmax_queue = -1", r"\[node\] max_queue: expected a positive number"),
        ("[node]\nkeep_seconds = 99999999999999999", r"\[node\] keep_seconds: expected a positive number"),
        ("[node]\nmax_timeout_seconds = 3601", r"\[node\] max_timeout_seconds: expected at most 3600"),
        ("[node]\nmax_memory_mb = 32769", r"\[node\] max_memory_mb: expected at most 32768"),
        ("[node]\nallow = 'everyone'", r"\[node\] allow: expected \"anyone\", \"nobody\" or a list, got 'everyone'"),
        ("[node]\nallow = 3", r"\[node\] allow: expected \"anyone\", \"nobody\" or a list, got a whole number"),
        ("[node]\nallow = ['nobody']", r"\[node\] allow: expected anyone, nobody or a list of peer IDs"),
        ("[node]\nlisten = ['0.0.0.0:4001']", r"\[node\] listen: expected multiaddrs such as .*, got '0.0.0.0:4001'$"),
        ("[node]\nlisten = ['/ip4/1.2.3/tcp/1']", r"\[node\] listen: .*: '1.2.3' is no ip4 address"),
        ("[node]\nlisten = ['/ip6/::1/tcp/66000']", r"\[node\] listen: .*: '66000' is no port"),
        ("[node]\nlisten = ['/ip4/1.2.3.4/udp/x']", r"\[node\] listen: .*: 'x' is no port"),
        ("[node]\nlisten = [3]", r"an entry of \[node\] listen: expected a text in quotes, got a whole number"),
        ("[node]\nbootstrap = ['/ip4/10.0.0.1/tcp/1']", r"\[node\] bootstrap: .*p2p"),
        ("node = 3", r"toml: node: expected a table, got a whole number"),
        ("profile = 3", r"toml: profile: expected a text in quotes, got a whole number"),
        ("plugins = 'dht'", r"plugins: expected a list, got a text in quotes"),
        ("plugins = [1]", r"an entry of plugins: expected a text in quotes, got a whole number"),
        ("[discovery]\ndht = 3", r"an entry of discovery: expected a table, got a whole number"),
        ("profile = ", r"config\.toml is not TOML"),
    ],
)
def test_anything_else_is_refused_with_the_key_and_what_is_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(text)
    assert "\n" not in str(caught.value)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ConfigError):
        read_config("plugins = " + "[" * 5000 + "]" * 5000)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        read_config(text)


def test_the_file_in_the_home_is_read_if_it_is_there(tmp_path: Path) -> None:
    assert load_config(None, tmp_path).path is None
    (tmp_path / "config.toml").write_text("profile = 'local'")
    assert load_config(None, tmp_path).profile == "local"


def test_a_file_that_is_named_comes_before_the_one_in_the_home(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("profile = 'local'")
    (tmp_path / "other.toml").write_text("profile = 'private'")
    assert load_config(tmp_path / "other.toml", tmp_path).profile == "private"


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load_config(tmp_path / "missing.toml", tmp_path)


@pytest.mark.parametrize("content", [b"#" * (LARGEST_FILE + 1), b"\xff"])
def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(None, tmp_path)


def test_a_byte_order_mark_is_passed_over_and_utf_16_is_named(tmp_path):
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbf[node]\r\nslots = 3\r\n")
    assert load_config(None, tmp_path).node.slots == 3
    (tmp_path / "config.toml").write_bytes("[node]\nslots = 3\n".encode("utf-16"))
    with pytest.raises(ConfigError, match="it is UTF-16: save it as UTF-8"):
        load_config(None, tmp_path)
