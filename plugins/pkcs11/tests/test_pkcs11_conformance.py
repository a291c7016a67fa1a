from __future__ import annotations

import dataclasses

import pytest
from plasm_pkcs11.hooks import Pkcs11Options, open_pkcs11

from plasm.testing import SignerSuite, make_scope


class TestPkcs11(SignerSuite):
    @pytest.fixture
    def make(self, softhsm):
        async def ask(question: str) -> str:
            return "314159"

        softhsm.add_token("release")
        scope = dataclasses.replace(make_scope(), ask=ask)
        return lambda: open_pkcs11(scope, Pkcs11Options(uri="pkcs11:token=release;object=key", create="missing"))
