"""Files of a job on the command line: ``--input PATH=FILE`` reads them, ``--out DIR`` takes what came back."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from plasm.cli.files import InputUnusable, read_file
from plasm.cli.inputs import walk
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_INPUT_FILES
from plasm.jobs.paths import InvalidPath, check_path, is_folder

MAX_LOCAL_FILES: Final = 65536
"""Input files and empty folders of a program that runs here for nobody else: their names go to it in one piece."""


@dataclass(frozen=True)
class InputBounds:
    """How much input is taken: files, empty folders among them, and bytes of all that they hold."""

    files: int = MAX_INPUT_FILES
    size: int = MAX_INPUT_BYTES


def read_inputs(texts: Sequence[str], bounds: InputBounds = InputBounds()) -> dict[str, bytes]:
    """The files that ``PATH=FILE`` name, by their paths in the program's file system.

    A folder brings all that is in it. Empty folders are there with a slash at the end of their paths. Raises
    :exc:`InputUnusable`, or :exc:`click.BadParameter` for what is not ``PATH=FILE``.
    """
    files: dict[str, bytes] = {}
    left = bounds.size
    for text in texts:
        path, equals, source = text.partition("=")
        path = path.strip("/")
        if not equals or not path or not source:
            raise click.BadParameter(f"{text!r} is not PATH=FILE", param_hint="--input")
        for name, content in _contents(path, source, left):
            try:
                check_path(name.removesuffix("/"))
            except InvalidPath as error:
                raise InputUnusable(f"the input {name!r} cannot be named so: {error}") from None
            if name in files and not is_folder(name):
                raise InputUnusable(f"the input {name!r} is given twice")
            if len(files) == bounds.files:
                raise InputUnusable(f"these are more than {bounds.files} input files", "pack them into one")
            files[name] = content
            left -= len(content)
    # Where two folders are mounted at one place the empty one adds nothing.
    filled = {name[: at + 1] for name in files for at in range(len(name) - 1) if name[at] == "/"}
    return {name: content for name, content in files.items() if name not in filled}


def _contents(path: str, source: str, most: int) -> Iterator[tuple[str, bytes]]:
    if not os.path.isdir(source):
        yield path, read_file(Path(source), most)
        return
    for found in walk(source):
        name = f"{path}/{found.path}" if found.path else path
        if found.descriptor is None:
            yield f"{name}/", b""
            continue
        with os.fdopen(found.descriptor, "rb", closefd=False) as file:
            try:
                content = file.read(most + 1)
            except OSError as error:
                raise InputUnusable(f"{source}/{found.path} cannot be read: {error.strerror or error}") from None
        if len(content) > most:
            raise InputUnusable(f"{source}/{found.path} is larger than the {most} bytes that are left for input")
        most -= len(content)
        yield name, content


def write_outputs(folder: Path, files: Mapping[str, bytes]) -> Sequence[str]:
    """Write `files` (path → content) below `folder`, which is made where it is missing; each appears whole.

    No symbolic link inside the folder is followed. What is hidden and was there already is not changed, since hidden
    files steer other programs (``.git/hooks``, ``.envrc``): the paths that were left out for it are returned. Raises
    :exc:`InputUnusable`.
    """
    shown = str(folder)
    made: set[str] = set()
    left_out = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, content in files.items():
                shown = str(folder / path)
                if not _write(root, path.split("/"), content, made):
                    left_out.append(path)
        finally:
            os.close(root)
    except OSError as error:
        raise InputUnusable(f"{shown} cannot be written: {error.strerror or error}") from None
    return left_out


def _write(root: int, components: Sequence[str], content: bytes, made: set[str]) -> bool:
    """Whether it was written; `made` are the hidden paths that this command made itself."""
    directory = os.dup(root)
    try:
        for depth, component in enumerate(components):
            if component.startswith("."):
                hidden = "/".join(components[: depth + 1])
                if hidden not in made and _is_there(component, directory):
                    return False
                made.add(hidden)
            if depth == len(components) - 1:
                break
            with contextlib.suppress(FileExistsError):
                os.mkdir(component, dir_fd=directory)
            inner = os.open(component, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = inner
        temporary = f".{secrets.token_hex(8)}.partial"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=directory), "wb") as file:
                file.write(content)
            os.replace(temporary, components[-1], src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            raise
    finally:
        os.close(directory)
    return True


def _is_there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
