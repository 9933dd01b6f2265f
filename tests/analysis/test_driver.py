import logging

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._core import results


@pytest.fixture
def adata() -> AnnData:
    return AnnData(np.zeros((2, 1), np.float32), obs=pd.DataFrame({"type": ["a", "b"]}, index=["x", "y"]))


def _complete(run: AnalysisRun) -> AnnData | None:
    run.announce("about to compute")
    run.store(
        params={"k": 1},
        tables={"scores": pd.DataFrame({"score": [0.5]})},
        obs={run.key: [1, 2]},
        obsm={f"{run.key}_proba": np.ones((2, 3))},
        index=np.array([4]),
    )
    return run.finish(f"added uns[{run.key!r}] ({run.elapsed})")


def test_writes_every_slot_of_the_result(adata):
    assert _complete(AnalysisRun(adata, "verb", "result", copy=False)) is None
    assert adata.obs["result"].tolist() == [1, 2]
    assert adata.obsm["result_proba"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert results.params(adata, "result", kind="verb") == {"k": 1}
    assert results.frame(adata, "result")["score"].tolist() == [0.5]
    assert results.array(adata, "result", "index").tolist() == [4]


def test_a_copy_leaves_the_original_alone(adata):
    before = adata.copy()
    copied = _complete(AnalysisRun(adata, "verb", "result", copy=True))
    assert copied is not adata
    assert "result" in copied.uns
    assert "result" not in adata.uns
    assert list(adata.obsm) == []
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_nothing_is_written_before_the_end(adata):
    """An error in the middle of the work leaves neither columns nor a record."""
    with pytest.raises(RuntimeError):
        _fail(adata)
    assert list(adata.obs) == ["type"]
    assert not adata.uns
    assert not adata.obsm


def _fail(adata: AnnData) -> None:
    run = AnalysisRun(adata, "verb", "result", copy=False)
    run.announce("about to fail")
    raise RuntimeError


def test_announces_and_says_what_was_added_and_how_long_it_took(adata, caplog):
    caplog.set_level(logging.INFO, logger="kronos_sc")
    _complete(AnalysisRun(adata, "verb", "result", copy=False))
    assert caplog.messages == ["about to compute", "added uns['result'] (0.0 s)"]


def test_the_clock_starts_with_the_announcement(adata, monkeypatch):
    times = iter([100.0, 200.0, 201.54])
    monkeypatch.setattr("kronos_sc._analysis.driver.perf_counter", lambda: next(times))
    run = AnalysisRun(adata, "verb", "result", copy=False)
    run.announce()
    assert run.elapsed == "1.5 s"


def test_a_key_that_the_call_reads_is_refused(adata):
    with pytest.raises(ValueError, match="what this call reads"):
        AnalysisRun(adata, "verb", "type", "type", copy=False)
