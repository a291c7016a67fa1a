import hashlib
import sqlite3
import time
from contextlib import asynccontextmanager, closing

import anyio

from plasm.ports import Corrupt, Entry, NotStored, StoreError, TooLarge


class Pieces(bytearray):
    async def write(self, piece):
        if len(self) + len(piece) > 2**26:
            raise TooLarge("this store takes 64 MiB at most")
        self += piece


class SqliteStore:
    writable = True

    def __init__(self, database):
        self.database, self.turn = database, anyio.CapacityLimiter(1)

    async def query(self, sql, *values):
        try:
            return await anyio.to_thread.run_sync(
                lambda: self.database.execute(sql, values).fetchall(), limiter=self.turn
            )
        except sqlite3.Error as error:
            raise StoreError(f"the database says {error}") from error

    async def has(self, digest):
        return bool(await self.query("SELECT 1 FROM held WHERE digest = ?", digest))

    async def get(self, digest, max_bytes):
        touch = "UPDATE held SET used = ? WHERE digest = ? RETURNING ifnull(substr(content, 1, ?), x'')"
        for (content,) in await self.query(touch, time.time(), digest, max_bytes + 1):
            if len(content) > max_bytes:
                raise TooLarge(f"more than {max_bytes} bytes")
            if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
                raise Corrupt("what is held has another digest")
            return content
        raise NotStored("there is no such row")

    @asynccontextmanager
    async def create(self, digest, size):
        pieces = Pieces()
        yield pieces
        if len(pieces) != size or "sha256:" + hashlib.sha256(pieces).hexdigest() != digest:
            raise Corrupt("what was written has another digest")
        await self.query("INSERT OR REPLACE INTO held VALUES (?, ?, ?)", digest, bytes(pieces), time.time())

    async def delete(self, digest):
        await self.query("DELETE FROM held WHERE digest = ?", digest)

    async def entries(self):
        for row in await self.query("SELECT digest, length(content), used FROM held"):
            yield Entry(*row)


@asynccontextmanager
async def open_store(path):
    with closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS held (digest TEXT PRIMARY KEY, content BLOB, used REAL)")
        yield SqliteStore(database)
