from plasm.drivers import Driver
from plasm.hookspecs import hookimpl


def open_sqlite(scope, options):
    from plasm_sqlite.store import open_store

    return open_store(scope.home / "store.sqlite")


@hookimpl
def plasm_stores():
    return (Driver(name="sqlite", open=open_sqlite, offers=frozenset({"writes-disk"}), summary="one SQLite file"),)
