import numpy as np
import pytest

from kronos_sc._methods.agreement import agreement, silhouette


def test_ari_by_hand():
    # pairs together in both: {0,1}; in truth: {0,1}, {2,3}; found: {0,1}, {0,2}, {1,2}; of 6 pairs
    expected = 2 * 3 / 6
    by_hand = (1 - expected) / ((2 + 3) / 2 - expected)
    scored = agreement(np.array([0, 0, 1, 1]), np.array([5, 5, 5, 7]))
    assert scored["ari"] == pytest.approx(by_hand)
    assert agreement(np.array([0, 0, 1]), np.array([4, 4, 2])) == {"ari": 1.0, "nmi": pytest.approx(1.0)}


def test_silhouette_by_hand():
    x = np.array([[0.0], [1.0], [10.0], [12.0]])
    labels = np.array([0, 0, 1, 1])
    one = lambda a, b: (b - a) / max(a, b)  # noqa: E731
    by_hand = np.mean([one(1, 11), one(1, 10), one(2, 9.5), one(2, 11.5)])
    assert silhouette(x, labels) == pytest.approx(by_hand)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_silhouette_of_nothing_to_compare_is_missing(labels):
    assert np.isnan(silhouette(np.eye(3), np.array(labels)))
