import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import shortest_path

from kronos_sc._methods.neighbourhood import aggregate, layout, rings


def path(n):
    """Units in a row, each joined to the next."""
    ones = np.ones(n - 1, np.float32)
    return sparse.csr_matrix(sparse.diags([ones, ones], [-1, 1]), dtype=np.float32)


def random_graph(n, density, seed):
    """A graph with directions, without loops."""
    graph = sparse.random(n, n, density, format="csr", random_state=seed, dtype=np.float32)
    graph.data[:] = 1
    graph.setdiag(0)
    graph.eliminate_zeros()
    return graph


def by_loop(x, graph, hops, stats, usable):
    """The same from shortest paths, one unit at a time."""
    distance = shortest_path(graph, unweighted=True)
    out = []
    for i in range(len(x)):
        parts = []
        for hop in hops:
            ring = x[(distance[i] == hop) & usable]
            parts += [x[i]] if hop == 0 else [_stat(ring, stat, x[i]) for stat in stats]
        out.append(np.concatenate(parts))
    return np.array(out)


def _stat(ring, stat, own):
    if not len(ring):
        return own if stat == "mean" else np.zeros_like(own)
    return ring.mean(0) if stat == "mean" else ring.var(0)


def run(x, graph, hops, stats, *, rows=None, usable=None, most=10**6):
    usable = np.ones(len(x), bool) if usable is None else usable
    rows = np.arange(len(x)) if rows is None else rows
    return aggregate(
        lambda index: x[index].astype(np.float32),
        graph,
        rows,
        usable=usable,
        slots=layout(x.shape[1], hops, stats),
        most=most,
    )


def test_rings_by_hand():
    first, second = rings(path(5), np.array([0, 2]), 2)
    assert first.toarray().tolist() == [[0, 1, 0, 0, 0], [0, 1, 0, 1, 0]]
    assert second.toarray().tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 1]]


def test_a_chain_by_hand():
    x = np.array([[1.0], [2.0], [4.0], [8.0]])
    values, empty = run(x, path(4), (0, 1, 2), ("mean", "var"))
    np.testing.assert_allclose(values, [[1, 2, 0, 4, 0], [2, 2.5, 2.25, 8, 0], [4, 5, 9, 1, 0], [8, 4, 0, 2, 0]])
    assert not empty.any()


def test_columns_are_where_the_layout_says():
    slots = layout(3, (0, 2), ("mean", "var"))
    assert [(s.hop, s.stat, s.start, s.stop) for s in slots] == [
        (0, "value", 0, 3),
        (2, "mean", 3, 6),
        (2, "var", 6, 9),
    ]


@pytest.mark.parametrize("hops", [(0, 1, 2, 3), (1,), (0, 3)])
@pytest.mark.parametrize("stats", [("mean", "var"), ("var",)])
def test_it_agrees_with_shortest_paths(hops, stats):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4)) + 100
    graph = random_graph(60, 0.03, 1)
    usable = rng.random(60) > 0.1
    rows = np.flatnonzero(usable)
    values, empty = run(x, graph, hops, stats, rows=rows, usable=usable)
    np.testing.assert_allclose(
        values, by_loop(x.astype(np.float32).astype(float), graph, hops, stats, usable)[rows], rtol=1e-5, atol=1e-5
    )
    distance = shortest_path(graph, unweighted=True)
    bare = sum((~((distance == hop) & usable).any(1)).astype(int) for hop in hops if hop)
    np.testing.assert_array_equal(empty, bare[rows])


def test_an_isolated_unit_is_surrounded_by_its_like():
    x = np.array([[3.0, 5.0], [1.0, 1.0], [2.0, 2.0]])
    graph = sparse.csr_matrix(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32))
    values, empty = run(x, graph, (0, 1), ("mean", "var"))
    assert values[0].tolist() == [3, 5, 3, 5, 0, 0]
    assert empty.tolist() == [1, 0, 0]


@pytest.mark.parametrize("most", [1, 7, 30])
def test_parts_give_the_same(most):
    x = np.random.default_rng(2).normal(size=(80, 3))
    graph = random_graph(80, 0.05, 3)
    whole, bare = run(x, graph, (0, 1, 2), ("mean", "var"))
    parts, bare_parts = run(x, graph, (0, 1, 2), ("mean", "var"), most=most)
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_array_equal(bare, bare_parts)


def test_the_order_of_units_does_not_matter():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 3))
    graph = random_graph(50, 0.06, 5)
    order = rng.permutation(50)
    before, _ = run(x, graph, (0, 1, 2), ("mean", "var"))
    after, _ = run(x[order], sparse.csr_matrix(graph[order][:, order]), (0, 1, 2), ("mean", "var"))
    np.testing.assert_allclose(after, before[order], atol=1e-5)


def test_small_variances_beside_large_means_keep_their_digits():
    x = 5000 + np.random.default_rng(6).normal(size=(200, 2)).astype(np.float32)
    graph = random_graph(200, 0.2, 7)
    values, _ = run(x, graph, (1,), ("var",))
    expected = np.array([x[graph[i].indices].astype(float).var(0) for i in range(200)])
    np.testing.assert_allclose(values, expected, rtol=1e-4)
