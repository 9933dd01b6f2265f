"""`import kronos_sc` is cheap: heavy packages wait for the namespace that needs them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "spatialdata", "scanpy", "squidpy", "anndata", "dask", "matplotlib.pyplot")
RUNS = 5
BUDGET = 0.3  # seconds of a processor, which other work on the machine does not add to, beyond numpy + pandas

_PROBE = f"""
import json, sys, time
import numpy, pandas
before = time.process_time()
import kronos_sc
seconds = time.process_time() - before
print(json.dumps({{"seconds": seconds, "loaded": [name for name in {HEAVY!r} if name in sys.modules]}}))
"""


@pytest.fixture(scope="module")
def imports() -> list[dict]:
    """What fresh interpreters say; the clock runs after numpy and pandas were loaded in the same process."""
    return [
        json.loads(subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, check=True).stdout)
        for _ in range(RUNS)
    ]


def test_nothing_heavy_is_loaded(imports) -> None:
    assert imports[0]["loaded"] == []


def test_it_takes_less_than_the_budget(imports) -> None:
    assert min(run["seconds"] for run in imports) < BUDGET


def test_namespaces_are_there_at_first_use() -> None:
    code = (
        "import sys, kronos_sc as ks; ks.markers.match; sys.exit('torch' in sys.modules or 'spatialdata' in "
        "sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
