"""What must not change the result.

Chunks, blocks, batches, threads, the order of rows, who else is embedded, where features go.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kronos_sc as ks


@pytest.fixture(scope="module")
def expected(make, tiny):
    sdata = make((80, 100))
    ks.tl.embed(sdata, model=tiny, precision="float32", features=["marker", "cls"])
    table = sdata["table"]
    return {
        name: (m, c)
        for name, m, c in zip(table.obs_names, table.obsm["X_kronos"], table.obsm["X_kronos_cls"], strict=True)
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunk=st.tuples(st.integers(1, 5), st.integers(15, 110), st.integers(15, 110)),
    label_chunk=st.tuples(st.integers(9, 110), st.integers(9, 110)),
    memory=st.sampled_from([1, 30_000, 10**9]),
    batch=st.sampled_from([None, 1, 3, 7, 500]),
    threads=st.sampled_from([1, 4]),
    order=st.randoms(use_true_random=False),
    keep=st.integers(1, 99),
    on_disk=st.booleans(),
)
def test_features_do_not_depend_on_how_they_are_computed(
    make, tiny, expected, tmp_path_factory, chunk, label_chunk, memory, batch, threads, order, keep, on_disk
):
    sdata = make((80, 100), chunks=chunk, label_chunks=label_chunk)
    rows = list(range(sdata["table"].n_obs))
    order.shuffle(rows)
    sdata.tables["table"] = sdata["table"][rows[:keep]].copy()
    before = ks.settings.block_memory, ks.settings.read_threads, ks.settings.verbosity
    ks.settings.block_memory, ks.settings.read_threads, ks.settings.verbosity = memory, threads, 1
    try:
        store = tmp_path_factory.mktemp("store") / "x.zarr" if on_disk else None
        ks.tl.embed(sdata, model=tiny, precision="float32", batch_size=batch, features=["marker", "cls"], store=store)
        features = {slot: np.asarray(sdata["table"].obsm[slot]) for slot in ("X_kronos", "X_kronos_cls")}
    finally:
        ks.settings.block_memory, ks.settings.read_threads, ks.settings.verbosity = before
    table = sdata["table"]
    for kind, slot in enumerate(("X_kronos", "X_kronos_cls")):
        np.testing.assert_allclose(
            features[slot], np.stack([expected[name][kind] for name in table.obs_names]), atol=1e-5
        )


def test_bfloat16_is_close(make, tiny):
    sdata = make((80, 100))
    ks.tl.embed(sdata, model=tiny, precision="float32", key_added="full")
    ks.tl.embed(sdata, model=tiny, precision="bfloat16", key_added="half")
    full, half = sdata["table"].obsm["X_full"], sdata["table"].obsm["X_half"]
    assert half.dtype == np.float32
    assert ks.get.record(sdata, key="half")["precision"] == "bfloat16"
    cosine = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999
    assert np.abs(full - half).max() < 0.1 * full.std() * 5


def test_repeated_calls_give_the_same_bytes(make, tiny):
    sdata = make((80, 100))
    ks.tl.embed(sdata, model=tiny)
    first = sdata["table"].obsm["X_kronos"].copy()
    ks.tl.embed(sdata, model=tiny)
    np.testing.assert_array_equal(first, sdata["table"].obsm["X_kronos"])
