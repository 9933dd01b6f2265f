"""Small simulated studies, made once."""

from __future__ import annotations

import pytest

from kronos_sc._core.settings import settings
from kronos_sc.datasets import tissue


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    before = settings.progress, settings.verbosity
    settings.progress = False
    settings.verbosity = 1
    yield
    settings.progress, settings.verbosity = before


@pytest.fixture(scope="module")
def one():
    """One image of the default panel."""
    return tissue(shape=(420, 480), rng=3)


@pytest.fixture(scope="module")
def study():
    """Eight small images: four donors, two groups, two batches."""
    return tissue(shape=(300, 300), channels=["DAPI", "CD8", "CYTOKERATIN"], n_images=8, n_donors=4, n_batches=2, rng=5)
