"""Which C wins, and that the search is a search."""

from __future__ import annotations

import numpy as np
import pytest

from kronos_sc._methods.choose_c import HIGH, LOW, choose
from kronos_sc._methods.logistic import Problem, balanced_weight
from kronos_sc._methods.metrics import macro_f1


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    x = (rng.normal(size=(3, 40))[y] * 0.5 + rng.normal(size=(240, 40))).astype(np.float32)
    return x[:120], y[:120], x[120:], y[120:]


def run(data, **how):
    x, y, held, truth = data
    return choose(Problem(x, y, 3), held, truth, **{"C": None, "n_trials": 12, "rng": np.random.default_rng(0)} | how)


def test_a_grid_picks_what_an_exhaustive_loop_picks(data) -> None:
    grid = [1e-4, 1e-2, 1.0, 100.0]
    x, y, held, truth = data
    scores = [macro_f1(truth, Problem(x, y, 3).fit(C).decision(held).argmax(1)) for C in grid]
    found = run(data, C=grid)
    np.testing.assert_allclose(found.trials["macro_f1"], scores)
    assert max(scores) == scores[grid.index(found.C)]


def test_the_search_stays_in_range_and_is_seeded(data) -> None:
    one = run(data)
    same = run(data)
    other = run(data, rng=np.random.default_rng(1))
    assert len(one.trials) == 12
    assert one.trials["C"].between(LOW, HIGH).all()
    assert one.trials.equals(same.trials)
    assert not one.trials["C"].equals(other.trials["C"])
    assert one.trials["macro_f1"].max() == one.trials["macro_f1"][one.trials["C"] == one.C].iloc[0]


def test_ties_go_to_the_better_probabilities(data) -> None:
    """Far apart, every C separates the classes; a vanishing C says nothing about how sure it is."""
    x, y, held, truth = data
    apart = 30 * np.eye(3, 40, dtype=np.float32)
    problem = Problem(x + apart[y], y, 3, weight=balanced_weight(y, 3))
    found = choose(problem, held + apart[truth], truth, C=[1e-6, 1.0], n_trials=1, rng=np.random.default_rng(0))
    assert found.trials["macro_f1"].eq(1).all()
    assert found.C == 1.0


def test_optuna_is_left_as_talkative_as_it_was(data) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    run(data, n_trials=2)
    assert optuna.logging.get_verbosity() == before
