"""Which clusters take a larger share of the cases of one group than of another."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd


def compare_shares(a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
    """Compare shares of clusters between two groups of cases (cases × clusters each), one row per cluster.

    Two-sided Mann–Whitney U test per cluster, exact for small groups without ties; Benjamini–Hochberg over the
    clusters. `statistic` is U of `a`; `effect` is the rank-biserial correlation 2 U / (n_a n_b) − 1: 1 where every case
    of `a` has more than every case of `b`, -1 the other way round.
    """
    from scipy.stats import false_discovery_control, mannwhitneyu

    tests = []
    for x, y in zip(a.T, b.T, strict=True):
        if np.ptp(np.append(x, y)) == 0:  # nothing to rank: scipy has no p for it
            tests.append((len(x) * len(y) / 2, 1.0))
        else:
            tests.append(mannwhitneyu(x, y, alternative="two-sided"))
    statistic, p = np.array(tests, float).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "n_a": len(a),
            "n_b": len(b),
            "mean_a": a.mean(axis=0),
            "mean_b": b.mean(axis=0),
            "median_a": np.median(a, axis=0),
            "median_b": np.median(b, axis=0),
            "statistic": statistic,
            "p_value": p,
            "p_adjusted": false_discovery_control(p),
            "effect": 2 * statistic / (len(a) * len(b)) - 1,
        }
    )


def smallest_p(n_a: int, n_b: int) -> float:
    """Return the smallest two-sided p that the test can give with so many cases.

    It is that of groups which do not overlap.
    """
    return min(1.0, 2 / comb(n_a + n_b, n_a))
