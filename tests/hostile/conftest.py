from __future__ import annotations

from tests.jobs.fixtures import anyio_backend as anyio_backend
from tests.jobs.fixtures import reconnects_at_once as reconnects_at_once
from tests.jobs.fixtures import world as world
