"""One thread for torch, everywhere in this room: the networks are tiny."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    return one_thread
