"""Exact nearest neighbours, against a double loop in float64."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods import neighbours
from kronos_sc._methods.neighbours import top_k
from kronos_sc._methods.screen import _range, bfloat16_shift


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_loop(references, queries, k, metric="euclidean"):
    """Every pair in float64; of equal distances the lower number."""
    references = references.astype(float)
    queries = queries.astype(float)
    if metric == "cosine":
        with np.errstate(invalid="ignore"):
            references, queries = (
                np.nan_to_num(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (references, queries)
            )
    distance = np.empty((len(queries), len(references)))
    for i, query in enumerate(queries):
        for j, reference in enumerate(references):
            square = np.sum((query - reference) ** 2)
            nowhere = not query.any() or not reference.any()
            distance[i, j] = np.sqrt(square) if metric == "euclidean" else 1.0 if nowhere else square / 2
    index = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, index, axis=1), index


def data(kind, rng):
    """References (401) and queries (25)."""
    shape = (426, 19)
    x = rng.normal(size=shape)
    if kind == "clustered":
        x = 10 * rng.normal(size=(8, 19))[rng.integers(0, 8, 426)] + 0.01 * x
    elif kind == "far from zero":
        x += 1e4
    elif kind == "many equal":
        x = x[rng.integers(0, 12, 426)]
    elif kind == "ties":
        x = rng.integers(0, 2, size=(426, 5))
    elif kind == "all equal":
        x = np.ones(shape)
    elif kind == "huge and tiny":
        x *= 10.0 ** rng.integers(-6, 6, size=(426, 1))
    elif kind == "one feature":
        x = x[:, :1]
    x = x.astype(np.float32)
    return x[:401], x[401:]


KINDS = ("random", "clustered", "far from zero", "many equal", "ties", "all equal", "huge and tiny", "one feature")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_euclidean_is_that_of_a_double_loop(kind, precision, rng):
    references, queries = data(kind, rng)
    expected, order = by_loop(references, queries, 7)
    distance, index = top_k(references, queries, 7, precision=precision)
    assert distance.dtype == np.float32
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-6)


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_needs_no_instructions_for_it(has, rng, monkeypatch):
    asked = []
    monkeypatch.setattr(neighbours, "_has", lambda *names: asked.append(names) or has)
    references, queries = data("clustered", rng)
    expected, order = by_loop(references, queries, 7)
    distance, index = top_k(references, queries, 7, precision="bfloat16")
    assert asked
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-6)


@pytest.mark.parametrize("spread", [0.3, 0.05, 0.003])
def test_bfloat16_loses_no_neighbour_of_many(spread, rng):
    """Enough references for scores to be counted from a level that moves, at several distances for their lengths."""
    centres = 3 + rng.normal(size=(5, 48))
    rows = (centres[rng.integers(0, 5, 9200)] + spread * rng.normal(size=(9200, 48))).astype(np.float32)
    expected = top_k(rows[:9000], rows[9000:], 6, precision="float32")
    for got, wanted in zip(top_k(rows[:9000], rows[9000:], 6, precision="bfloat16"), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    some = rows[9000:9010].astype(float)
    squares = ((some[:, None] - rows[None, :9000]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(expected[1][:10], np.argsort(squares, axis=1)[:, :6])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["random", "clustered", "far from zero"])
def test_cosine_is_that_of_a_double_loop(kind, precision, rng):
    references, queries = data(kind, rng)
    expected, order = by_loop(references, queries, 7, "cosine")
    distance, index = top_k(references, queries, 7, metric="cosine", precision=precision)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(distance, expected, rtol=1e-6)


def test_a_row_of_zeros_has_no_direction(rng):
    references = rng.normal(size=(20, 4)).astype(np.float32)
    references[[2, 5]] = 0
    distance, index = top_k(references, np.zeros((1, 4), np.float32), 20, metric="cosine")
    assert (distance == 1).all()
    np.testing.assert_array_equal(index[0], np.arange(20))
    distance, index = top_k(references, references[:1], 20, metric="cosine")
    assert set(distance[0, np.isin(index[0], [2, 5])]) == {1.0}


def test_agrees_with_scikit_learn(rng):
    from sklearn.neighbors import NearestNeighbors

    references, queries = data("random", rng)
    for metric in ("euclidean", "cosine"):
        theirs, order = (
            NearestNeighbors(n_neighbors=3, metric=metric, algorithm="brute")
            .fit(references.astype(float))
            .kneighbors(queries.astype(float))
        )
        ours, index = top_k(references, queries, 3, metric=metric)
        np.testing.assert_array_equal(index, order)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_itself_is_at_distance_zero_and_comes_first(rng):
    references, _ = data("far from zero", rng)
    distance, index = top_k(references, references, 2)
    np.testing.assert_array_equal(index[:, 0], np.arange(len(references)))
    assert (distance[:, 0] == 0).all()
    assert (distance[:, 1] > 0).all()


@pytest.mark.parametrize("sizes", [(7, 50), (1000, 13), (64, 401)])
def test_blocks_do_not_matter(sizes, rng, monkeypatch):
    references, queries = data("ties", rng)
    expected = top_k(references, queries, 9)
    monkeypatch.setattr(neighbours, "_QUERIES", sizes[0])
    monkeypatch.setattr(neighbours, "_REFERENCES", sizes[1])
    monkeypatch.setattr(neighbours, "_FIRST", sizes[1] // 4)
    for got, wanted in zip(top_k(references, queries, 9), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    parts = ((np.arange(s, min(s + sizes[1], 401)), references[s : s + sizes[1]]) for s in range(0, 401, sizes[1]))
    for got, wanted in zip(top_k(parts, queries, 9), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_row_numbers_of_blocks_are_given_back(rng):
    references, queries = data("random", rng)
    rows = np.sort(rng.choice(10_000, 401, replace=False))
    _, index = top_k(iter([(rows[:100], references[:100]), (rows[100:], references[100:])]), queries, 4)
    np.testing.assert_array_equal(index, rows[top_k(references, queries, 4)[1]])


def test_no_queries_and_empty_blocks(rng):
    references, queries = data("random", rng)
    assert top_k(references, queries[:0], 4)[1].shape == (0, 4)
    parts = [(np.arange(401), references), (np.arange(0), references[:0])]
    np.testing.assert_array_equal(top_k(iter(parts), queries, 4)[1], top_k(references, queries, 4)[1])


def test_order_of_queries_does_not_matter(rng):
    references, queries = data("clustered", rng)
    order = rng.permutation(len(queries))
    for got, wanted in zip(top_k(references, queries[order], 5), top_k(references, queries, 5), strict=True):
        np.testing.assert_array_equal(got, wanted[order])


def test_bfloat16_gives_way_where_it_cannot_tell(rng, monkeypatch):
    """Neighbours closer to each other than bfloat16 resolves: after the first queries the product is in float32."""
    references = (5 * rng.normal(size=(1, 24)) + 1e-3 * rng.normal(size=(3000, 24))).astype(np.float32)
    references[0] = 100  # so that the centre is elsewhere
    monkeypatch.setattr(neighbours, "_QUERIES", 16)
    kinds = []
    product = neighbours._product
    monkeypatch.setattr(
        neighbours, "_product", lambda query, *rest: (kinds.append(type(query).__name__), product(query, *rest))[1]
    )
    _, index = top_k(references, references[1:65], 3, precision="bfloat16")
    assert kinds == sorted(kinds)  # "Tensor" first, then "ndarray" to the end
    assert set(kinds) == {"Tensor", "ndarray"}
    np.testing.assert_array_equal(index, by_loop(references, references[1:65], 3)[1])


def test_no_rounding_escapes_the_bound():
    """Scores of at least the level lie in the range of patterns, for float32 and, rounded, for bfloat16.

    Few others do.
    """
    import torch

    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=2000), [0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38]]).astype(np.float32)
    cell = np.empty(1, np.float32)
    half = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16).astype(np.int64)
    for level in [-np.inf, -2.5, -1e-31, 0.0, 1e-31, 0.7, *rng.normal(size=50)]:
        for patterns, shift, spare in ((values.view(np.uint32).astype(np.int64), 0, 1e-5), (half, 16, 0.02)):
            base, span = _range(level, cell, shift)
            inside = (patterns - base) % (1 << (32 - shift)) <= span
            assert inside[values >= level].all()
            assert not inside[values < level - spare * max(abs(level), 1e-6) - 1e-35].any()


def test_shift_of_bfloat16_is_that_of_torch(rng):
    import torch

    rows = (rng.normal(size=(300, 9)) * 10.0 ** rng.integers(-8, 8, size=(300, 9))).astype(np.float32)
    rows[7] = 0
    moved = np.linalg.norm(rows[:, :6] - torch.from_numpy(rows[:, :6]).bfloat16().float().numpy(), axis=1)
    shares = moved / np.maximum(np.linalg.norm(rows[:, :6], axis=1), 1e-30)
    assert bfloat16_shift(rows, 6) == pytest.approx(1.001 * shares.max(), rel=1e-4)
    assert shares.max() <= 2.0**-8


def test_errors_name_what_to_change(rng):
    references, queries = data("random", rng)
    with pytest.raises(ValueError, match="k=402 neighbours were asked for, and there are 401 references"):
        top_k(references, queries, 402)
    with pytest.raises(ValueError, match="there are 401 references"):
        top_k(iter([(np.arange(401), references)]), queries, 402)
    with pytest.raises(ValueError, match="metric='manhattan' is not a choice"):
        top_k(references, queries, 1, metric="manhattan")
    with pytest.raises(ValueError, match="both need the same"):
        top_k(references, queries[:, :5], 2)
    queries[3] = np.nan
    with pytest.raises(ValueError, match="1 queries have fewer than 2 references at a finite distance"):
        top_k(references, queries, 2)
