"""The tree against a model of it, one flat table of paths, and against calls with whatever arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from plasm_cell import wasi
from plasm_cell.wasi import errors
from plasm_cell.wasi.errors import NAMES

SCRATCH = 0x1000
FILE_BYTES = 60
STEPS = settings(max_examples=40, stateful_step_count=30, deadline=None)

Path = tuple[str, ...]
NAME = st.sampled_from(["a", "b", "c"])
PATH = st.lists(st.one_of(NAME, st.just("..")), min_size=1, max_size=4).map("/".join)
SLASH = st.sampled_from(["", "", "", "/"])
CONTENT = st.binary(max_size=12)


class Refused(Exception):
    pass


class Model:
    """What stands at each path below ``/tmp``: a directory, a link's target, or the number of a file."""

    def __init__(self) -> None:
        self.at: dict[Path, tuple[str, Any]] = {(): ("dir", None)}
        self.contents: dict[int, bytes] = {}
        self.files = 0

    def resolve(self, path: str, follow: bool) -> Path:
        here: Path = ()
        parts = path.split("/")
        hops = 0
        while True:
            part = parts.pop(0)
            if part == "..":
                if not here:
                    raise Refused("perm")
                here = here[:-1]
                if not parts:
                    return here
                continue
            kind, content = self.at.get((*here, part), ("none", None))
            if kind == "link" and (parts or follow):
                hops += 1
                if hops > 40:
                    raise Refused("loop")
                parts = content.split("/") + parts
            elif not parts:
                return (*here, part)
            elif kind == "none":
                raise Refused("noent")
            elif kind != "dir":
                raise Refused("notdir")
            else:
                here = (*here, part)

    def kind(self, path: Path) -> str:
        return self.at.get(path, ("none", None))[0]

    def below(self, path: Path) -> list[Path]:
        return [other for other in self.at if other[: len(path)] == path and other != path]

    def used(self) -> int:
        numbers = {content for kind, content in self.at.values() if kind == "file"}
        # Each link of the model has a number of its own: hard links of symbolic links are not made.
        return sum(len(self.contents[number]) for number in numbers) + sum(
            len(content) for kind, content in self.at.values() if kind == "link"
        )

    def make(self, path: Path, kind: str, content: Any) -> None:
        if kind == "link" and self.used() + len(content) > FILE_BYTES:
            raise Refused("nospc")
        self.at[path] = kind, content

    def mkdir(self, path: str) -> None:
        place = self.resolve(path, False)
        if place in self.at:
            raise Refused("exist")
        self.make(place, "dir", None)

    def symlink(self, target: str, path: str, slash: str) -> None:
        place = self.resolve(path, False)
        if place in self.at:
            raise Refused("exist")
        if slash:
            raise Refused("noent")
        self.make(place, "link", target)

    def link(self, old: str, new: str) -> None:
        source = self.resolve(old, True)
        if source not in self.at:
            raise Refused("noent")
        place = self.resolve(new, False)
        if place in self.at:
            raise Refused("exist")
        if self.kind(source) == "dir":
            raise Refused("perm")
        self.at[place] = self.at[source]

    def write(self, path: str, content: bytes) -> None:
        place = self.resolve(path, True)
        if self.kind(place) == "dir":
            raise Refused("isdir")
        if place not in self.at:
            self.files += 1
            self.at[place] = "file", self.files
            self.contents[self.files] = b""
        number = self.at[place][1]
        self.contents[number] = b""
        self.contents[number] = content[: FILE_BYTES - self.used()]

    def unlink(self, path: str, slash: str) -> None:
        place = self.resolve(path, False)
        if place not in self.at:
            raise Refused("noent")
        if self.kind(place) == "dir":
            raise Refused("isdir")
        if slash:
            raise Refused("notdir")
        del self.at[place]

    def rmdir(self, path: str) -> None:
        place = self.resolve(path, False)
        if place not in self.at:
            raise Refused("noent")
        if self.kind(place) != "dir":
            raise Refused("notdir")
        if path.endswith("..") or self.below(place):
            raise Refused("notempty")
        del self.at[place]

    def rename(self, old: str, new: str, slash: str) -> None:
        source, target = self.resolve(old, False), self.resolve(new, False)
        if old.endswith("..") or new.endswith(".."):
            raise Refused("inval")
        if source not in self.at:
            raise Refused("noent")
        if self.kind(source) != "dir" and slash:
            raise Refused("notdir")
        same = source == target or (self.kind(source) == "file" and self.at.get(target) == self.at[source])
        if same:
            return
        if self.kind(source) == "dir":
            if target[: len(source)] == source:
                raise Refused("inval")
            if self.kind(target) in ("file", "link"):
                raise Refused("notdir")
        elif self.kind(target) == "dir":
            raise Refused("isdir")
        if self.kind(target) == "dir" and self.below(target):
            raise Refused("notempty")
        for path in [source, *self.below(source)]:
            self.at[target + path[len(source) :]] = self.at.pop(path)


class Tree(RuleBasedStateMachine):
    make_program: Callable[..., Any]

    @initialize()
    def begin(self) -> None:
        self.program = self.make_program(file_bytes=FILE_BYTES, host_calls=1 << 30)
        self.model = Model()
        self.fd = self.program.open(b"tmp", 2)

    def check(self, error: int, change: Callable[..., None], *arguments: Any) -> bool:
        expected = "success"
        try:
            change(*arguments)
        except Refused as refused:
            expected = str(refused)
        assert NAMES[error] == expected
        return error == 0

    @rule(path=PATH, slash=SLASH)
    def mkdir(self, path: str, slash: str) -> None:
        self.check(self.program.path_create_directory(self.fd, (path + slash).encode()), self.model.mkdir, path)

    @rule(to=PATH, path=PATH, slash=SLASH)
    def symlink(self, to: str, path: str, slash: str) -> None:
        error = self.program.path_symlink(to.encode(), self.fd, (path + slash).encode())
        self.check(error, self.model.symlink, to, path, slash)

    @rule(old=PATH, new=PATH)
    def link(self, old: str, new: str) -> None:
        self.check(self.program.path_link(self.fd, 1, old.encode(), self.fd, new.encode()), self.model.link, old, new)

    @rule(path=PATH, content=CONTENT)
    def write(self, path: str, content: bytes) -> None:
        error = self.program.path_open(self.fd, 1, path.encode(), 1 | 8, 1 << 6, 0, 0, SCRATCH)
        if self.check(error, self.model.write, path, content):
            (fd,) = self.program.read_back("<I")
            assert self.program.write(fd, content)[0] in (errors.SUCCESS, errors.NOSPC)
            assert self.program.fd_close(fd) == 0

    @rule(path=PATH, slash=SLASH)
    def unlink(self, path: str, slash: str) -> None:
        error = self.program.path_unlink_file(self.fd, (path + slash).encode())
        self.check(error, self.model.unlink, path, slash)

    @rule(path=PATH)
    def rmdir(self, path: str) -> None:
        self.check(self.program.path_remove_directory(self.fd, path.encode()), self.model.rmdir, path)

    @rule(old=PATH, new=PATH, slash=SLASH)
    def rename(self, old: str, new: str, slash: str) -> None:
        error = self.program.path_rename(self.fd, old.encode(), self.fd, (new + slash).encode())
        self.check(error, self.model.rename, old, new, slash)

    @invariant()
    def the_tree_is_the_models(self) -> None:
        waiting: list[Path] = [()]
        found: dict[Path, str] = {}
        while waiting:
            path = waiting.pop()
            fd = self.program.open("/".join(path or (".",)).encode(), 2, fd=self.fd, follow=0)
            for name, kind, _ in self.program.list(fd)[2:]:
                below = (*path, name.decode())
                found[below] = {3: "dir", 4: "file", 7: "link"}[kind]
                if kind == 3:
                    waiting.append(below)
            assert self.program.fd_close(fd) == 0
        assert found == {path: kind for path, (kind, _) in self.model.at.items() if path}
        for path, (kind, number) in self.model.at.items():
            if kind == "file":
                fd = self.program.open("/".join(path).encode(), base=2, fd=self.fd)
                assert self.program.read(fd, 99) == self.model.contents[number]
                assert self.program.fd_close(fd) == 0

    @invariant()
    def what_is_free_is_what_nothing_takes(self) -> None:
        assert self.program.layer._volume.free_bytes == FILE_BYTES - self.model.used()


def test_the_tree_behaves_as_its_model(make_program: Callable[..., Any]) -> None:
    run_state_machine_as_test(type("Bound", (Tree,), {"make_program": staticmethod(make_program)}), settings=STEPS)


NUMBER = st.one_of(
    st.integers(0, 8),
    st.sampled_from([0x1000, 0x2000, 0x8000, 0xFFFC, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 31]),
    st.integers(0, (1 << 64) - 1),
)
TEXT = st.sampled_from(
    [b"tmp/a", b"tmp/b", b"tmp/d", b"tmp/d/x", b"out/a", b"data/in.txt", b"dev/zero", b".", b"..", b"tmp/a/../b"]
)
CALL = st.tuples(st.sampled_from(sorted(set(wasi.FUNCTIONS) - {"proc_exit"})), st.lists(NUMBER, min_size=9, max_size=9))


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXT, min_size=4, max_size=4), calls=st.lists(CALL, min_size=1, max_size=30))
def test_whatever_is_passed_the_answer_is_an_error_number(
    texts: list[bytes], calls: list[tuple[str, list[int]]]
) -> None:
    layer = wasi.Wasi(
        args=[b"m"],
        env=[],
        stdin=b"in",
        output_bytes=1 << 30,
        host_calls=100,
        clock=wasi.VirtualClock(b""),
        random=wasi.SeededRandom(b""),
        inputs={"data/in.txt": b"input"},
        file_bytes=10_000,
    )
    memory = bytearray(1 << 16)
    for index, text in enumerate(texts):
        memory[0x1000 * (index + 1) : 0x1000 * (index + 1) + len(text)] = text
    layer.memory = memoryview(memory)
    for function, values in calls:
        kinds = wasi.FUNCTIONS[function]
        parameters = [value & (0xFFFFFFFF if kind == "i" else ~0) for kind, value in zip(kinds, values, strict=False)]
        assert wasi.call(layer, getattr(wasi.Wasi, function), parameters) in NAMES
    assert len(memory) == 1 << 16
