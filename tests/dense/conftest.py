"""The network of these tests is so small that a second thread costs more than it brings."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """For every module of this folder."""
