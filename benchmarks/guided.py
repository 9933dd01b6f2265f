"""The paper's human-guided benchmark against a loop over scikit-learn.

It has 20 images × 4 numbers of shots × 100 repeats.
"""

import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

from kronos_sc._methods.guided import benchmark, draw
from kronos_sc._methods.scaling import fit_scaler

IMAGES = 20
CELLS = 2000
FEATURES = 4608
CLASSES = 9
SHOTS = (1, 5, 10, 20)
REPEATS = 100
LOOPED = 3


def image(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and classes of one image.

    Classes, unequal in size, lie in a space of 60 dimensions that the features mix.
    """
    rng = np.random.default_rng(seed)
    share = 0.04 + 0.64 * rng.dirichlet(np.full(CLASSES, 3.0))
    y = rng.choice(CLASSES, CELLS, p=share / share.sum())
    hidden = (0.6 * rng.normal(size=(CLASSES, 60))[y] + rng.normal(size=(CELLS, 60))).astype(np.float32)
    mix = rng.normal(size=(60, FEATURES)).astype(np.float32) / np.sqrt(np.arange(1, 61, dtype=np.float32))[:, None]
    return np.tanh(hidden @ mix) + 0.5 * rng.normal(size=(CELLS, FEATURES)).astype(np.float32), y


def loop(x: np.ndarray, y: np.ndarray, repeats: int, **kwargs: float) -> np.ndarray:
    """Return balanced accuracy (repeats × shots) of one scikit-learn model at a time.

    On the draws that the benchmark makes.
    """
    rows_drawn = draw(y, max(SHOTS), repeats, np.random.default_rng(0))
    accuracy = np.empty((repeats, len(SHOTS)))
    for r in range(repeats):
        test = np.setdiff1d(np.arange(len(y)), rows_drawn[r])
        for i, shot in enumerate(SHOTS):
            rows = rows_drawn[r, :shot].ravel()
            model = LogisticRegression(C=1.0, **kwargs).fit(x[rows], y[rows])
            accuracy[r, i] = recall_score(y[test], model.predict(x[test]), average="macro")
    return accuracy


def main() -> None:
    x, y = image(0)
    x = fit_scaler(x).apply(x)
    start = time.perf_counter()
    loop(x, y, LOOPED)
    reference = (time.perf_counter() - start) * REPEATS / LOOPED * IMAGES
    exact = loop(x.astype(np.float64), y, LOOPED, tol=1e-8, max_iter=10_000)
    ours = benchmark(x, y, shots=SHOTS, repeats=LOOPED, rng=np.random.default_rng(0))
    seconds = 0.0
    for seed in range(IMAGES):
        raw, y = image(seed)
        start = time.perf_counter()
        benchmark(fit_scaler(raw).apply(raw), y, shots=SHOTS, repeats=REPEATS, rng=np.random.default_rng(0))
        seconds += time.perf_counter() - start
    print(
        f"{IMAGES} images × {len(SHOTS)} shots × {REPEATS} repeats ({CELLS} cells × {FEATURES} features, {CLASSES} "
        f"classes): kronos_sc {seconds:.0f} s; scikit-learn {reference:.0f} s, extrapolated from {LOOPED} repeats on "
        f"one image; ratio {reference / seconds:.0f}; balanced accuracy apart by at most "
        f"{np.abs(ours - exact).max():.4f} from scikit-learn run to tol=1e-8"
    )


if __name__ == "__main__":
    main()
