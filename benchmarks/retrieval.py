"""Exact search: seconds, memory and answers of `tl.retrieve`'s search beside scikit-learn's brute force and faiss.

Each runs in a process of its own on the same simulated embeddings, clusters whose spread `--spread` sets: the smaller,
the closer are neighbours compared with their distance from the mean, and the less can be ruled out in bfloat16. Memory
is the peak of the process during the search beyond what it held before: inputs are not counted. Compilation is not
timed; it happens once per installation.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

NAMES = {"ours": "ours", "float32": "ours, float32", "sklearn": "scikit-learn brute", "faiss": "faiss IndexFlatL2"}


def simulate(references: int, queries: int, width: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Return references and queries (float32): 30 clusters, unequal in size, away from the origin."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, width)) + 2
    sizes = rng.dirichlet(np.full(30, 0.7))
    rows = np.empty((references + queries, width), np.float32)
    for start in range(0, len(rows), 10_000):
        part = rows[start : start + 10_000]
        part[:] = centres[rng.choice(30, len(part), p=sizes)] + spread * rng.normal(size=part.shape)
    return rows[:references], rows[references:]


def search(
    method: str, references: np.ndarray, queries: np.ndarray, k: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and index."""
    if method in ("ours", "float32"):
        from kronos_sc._methods.neighbours import top_k

        return top_k(references, queries, k, metric=metric, precision="auto" if method == "ours" else "float32")
    if method == "sklearn":
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(references).kneighbors(queries)
    import faiss

    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references)
    return index.search(queries, k)


def child(options: argparse.Namespace) -> None:
    """Time one method and leave what it found in the folder."""
    import kronos_sc

    kronos_sc.settings.progress = False
    references, queries = simulate(options.references, options.queries, options.width, options.spread)
    # libraries loaded, loops compiled
    search(options.child, references[:2000], queries[:64], options.k, options.metric)
    if options.child == "ours":
        from kronos_sc._methods.neighbours import top_k

        top_k(references[:2000], queries[:64], options.k, metric=options.metric, precision="bfloat16")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    distance, index = search(options.child, references, queries, options.k, options.metric)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.savez(Path(options.folder) / f"{options.child}.npz", distance=distance, index=index)
    print(json.dumps({"seconds": seconds, "megabytes": peak / 1024}))


def measure(method: str, options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Run one method in a process of its own."""
    sizes = [
        f"--{name}={getattr(options, name)}" for name in ("references", "queries", "width", "k", "metric", "spread")
    ]
    command = [sys.executable, __file__, *sizes, f"--child={method}", f"--folder={folder}"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])


def agreement(folder: Path, method: str, options: argparse.Namespace) -> str:
    """Say how many answers are ours, and whether the others ever found a nearer one, measured in float64."""
    ours, theirs = (np.load(folder / f"{name}.npz")["index"] for name in ("ours", method))
    if (ours == theirs).all():
        return "the same answers"
    references, queries = simulate(options.references, options.queries, options.width, options.spread)
    differ = np.flatnonzero((ours != theirs).any(axis=1))
    shown = differ[:: -(-len(differ) // 2000)]

    def distances(index: np.ndarray) -> np.ndarray:
        rows = references[index].astype(float)
        query = queries[shown, None].astype(float)
        if options.metric == "cosine":
            rows, query = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (rows, query))
        return np.sort(np.linalg.norm(rows - query, axis=-1), axis=1)

    our_distances = distances(ours[shown])
    their_distances = distances(theirs[shown])
    further = (their_distances > our_distances * (1 + 1e-12)).any(axis=1)
    nearer = (their_distances < our_distances * (1 - 1e-12)).any(axis=1)
    return (
        f"{(ours == theirs).mean():.4%} the same answers; of {len(shown)} queries that differ, theirs are further in "
        f"{further.sum()}, nearer in {nearer.sum()}, the same in another order in the rest"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=35_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--k", type=int, default=5)
    parser.add_argument("--metric", choices=["euclidean", "cosine"], default="euclidean")
    parser.add_argument(
        "--spread", type=float, default=0.5, help="of a cluster, relative to the distance of their centres"
    )
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    methods = ["ours", "float32", "sklearn"]
    try:
        import faiss  # noqa: F401
    except ImportError:
        print("faiss is not installed: pip install faiss-cpu")
    else:
        if options.metric == "euclidean":
            methods.append("faiss")
    print(
        f"{options.queries:,} queries × {options.references:,} references × {options.width} features, k = {options.k}, "
        f"{options.metric}"
    )
    with tempfile.TemporaryDirectory() as folder:
        measured = {}
        for method in methods:
            measured[method] = min(
                (measure(method, options, folder) for _ in range(options.repeat)), key=lambda run: run["seconds"]
            )
            print(
                f"{NAMES[method]:<20}{measured[method]['seconds']:8.2f} s   peak memory beyond the inputs "
                f"{measured[method]['megabytes']:7.0f} MB"
            )
        for method in methods[1:]:
            ratio = measured[method]["seconds"] / measured["ours"]["seconds"]
            print(f"{NAMES[method]:<20}{ratio:8.2f} × our time   {agreement(Path(folder), method, options)}")


if __name__ == "__main__":
    main()
