"""Trees of minimal Debian releases, and commands that are typed into them as on a machine of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("python3", "python3-venv", "git", "ca-certificates")
"""All that is there beside what every Debian has: neither a compiler nor headers."""
_TREE_SECONDS = 600.0
_OF_THE_NETWORK = ("_PROXY", "_INDEX_URL", "_DEFAULT_INDEX")
"""How the variables end that say where packages come from."""


def missing() -> list[str]:
    """What this machine lacks to make such trees."""
    lacks = [tool for tool in ("mmdebstrap", "unshare", "chroot", "git") if shutil.which(tool) is None]
    return lacks if os.geteuid() == 0 else [*lacks, "root"]


def make_tree(release: str, tree: Path) -> None:
    """The release as it is right after its installation, at `tree`."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, str(tree)]
    subprocess.run(command, check=True, timeout=_TREE_SECONDS)
    # The network, and whom this machine believes there, are not what is tried.
    for file in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        shutil.copyfile(Path("/") / file, tree / file)


def clone(repository: Path, tree: Path) -> None:
    """A clone of `repository` in root's home of the tree."""
    subprocess.run(["git", "clone", "--quiet", str(repository), str(tree / "root/plasm")], check=True, timeout=60)


def typed(tree: Path, line: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """What comes of `line`, typed into a shell in the clone, with devices and processes of its own."""
    environment = {
        "HOME": "/root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "TERM": "dumb",
    } | {name: value for name, value in os.environ.items() if name.upper().endswith(_OF_THE_NETWORK)}
    (tree / "root/typed.sh").write_text(f"cd /root/plasm\n{line}\n")
    mounts = 'mount --rbind /dev "$0/dev" && mount --rbind /sys "$0/sys" && mount -t tmpfs tmpfs "$0/tmp"'
    command: Sequence[str] = ("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={tree}/proc")
    return subprocess.run(
        [*command, "bash", "-c", f'{mounts} && exec chroot "$0" bash /root/typed.sh', str(tree)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
