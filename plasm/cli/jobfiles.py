"""Files of a job on the command line: ``--input PATH=FILE`` reads them, ``--out DIR`` takes what came back."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from plasm.cli.files import InputUnusable, read_file
from plasm.jobs.manifest import MAX_INPUT_BYTES, MAX_INPUT_FILES
from plasm.jobs.paths import InvalidPath, check_path


def read_inputs(texts: Sequence[str]) -> dict[str, bytes]:
    """The files that ``PATH=FILE`` name, by their paths in the program's file system; a folder brings all its files.

    Raises :exc:`InputUnusable`, or :exc:`click.BadParameter` for what is not ``PATH=FILE``.
    """
    files: dict[str, bytes] = {}
    left = MAX_INPUT_BYTES
    for text in texts:
        path, equals, source = text.partition("=")
        path = path.strip("/")
        if not equals or not path or not source:
            raise click.BadParameter(f"{text!r} is not PATH=FILE", param_hint="--input")
        for below, file in _files(Path(source)):
            name = f"{path}/{below}" if below else path
            try:
                check_path(name)
            except InvalidPath as error:
                raise InputUnusable(f"the input {name!r} cannot be named so: {error}") from None
            if name in files:
                raise InputUnusable(f"the input {name!r} is given twice")
            if len(files) == MAX_INPUT_FILES:
                raise InputUnusable(f"these are more than {MAX_INPUT_FILES} input files", "pack them into one")
            files[name] = read_file(file, left)
            left -= len(files[name])
    return files


def _files(source: Path) -> Iterator[tuple[str, Path]]:
    """Path below `source` and file; one with an empty path for a file. Links inside a folder are not followed."""
    if not source.is_dir():
        yield "", source
        return
    for folder, folders, names in os.walk(source, onerror=_unreadable):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if not stat.S_ISREG(file.lstat().st_mode):
                raise InputUnusable(f"{file} is not a regular file", "leave it out of the folder")
            yield file.relative_to(source).as_posix(), file


def _unreadable(error: OSError) -> None:
    raise InputUnusable(f"{error.filename} cannot be read: {error.strerror}")


def write_outputs(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (path → content) below `folder`, which is made where it is missing; each appears whole.

    No symbolic link inside the folder is followed. Raises :exc:`InputUnusable`.
    """
    shown = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path, content in files.items():
                shown = str(folder / path)
                _write(root, path.split("/"), content)
        finally:
            os.close(root)
    except OSError as error:
        raise InputUnusable(f"{shown} cannot be written: {error.strerror or error}") from None


def _write(root: int, components: Sequence[str], content: bytes) -> None:
    directory = os.dup(root)
    try:
        for component in components[:-1]:
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
