"""How far apart staining conditions lie in an embedding: the pairwise protocol of the paper."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import usable_in
from kronos_sc._analysis.reduce import tell_memory
from kronos_sc._core import results
from kronos_sc._core.checks import listed, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.rng import Seed, integer, seed, start
from kronos_sc._core.target import ClassColumn, target
from kronos_sc._core.warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from tqdm.std import tqdm

    from kronos_sc._methods.pairwise_pca import PairComponents

_SHOWN = 2_000  # units per condition whose coordinates are kept, for each kept pair


def batch_silhouette(
    adata: AnnData,
    batch_key: str,
    *,
    use_rep: str | Sequence[str] | None = None,
    n_components: int = 2,
    n_clusters: int = 2,
    max_per_batch: int | None = None,
    keep: Sequence[tuple[str, str]] | None = None,
    n_init: int = 5,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score how far apart every two conditions lie in an embedding :cite:p:`Shaban2025`.

    By silhouette and adjusted Rand index. For sections of one tissue that were stained, fixed or imaged differently:
    whatever tells them apart is a batch effect. Each pair of conditions is pooled and projected onto its first two
    principal components (centred, not scaled); the silhouette asks whether a patch lies closer to patches of its own
    condition than to those of the other. The adjusted Rand index compares the conditions with clusters found on all
    features. Mean marker expression is scored beside the embedding. **Lower is better** for both: 0 means well mixed, 1
    apart. Low scores are worth something only if the embedding still tells tissues apart: one that says nothing mixes
    everything.

    This is the plain silhouette of scikit-learn over pairs of conditions, as in the paper. It is not scIB's batch
    silhouette, which runs within labels and is rescaled so that higher is better: that one is in :func:`batch_metrics`.

    Parameters
    ----------
    adata
        Units (patches of 256 pixels in the paper) with embeddings.
    batch_key
        Column of `obs` with the condition. Units without a value are left out.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is always added.
    n_components
        Principal components the silhouette is computed on.
    n_clusters
        Clusters for the adjusted Rand index.
    max_per_batch
        At most so many units of a condition, drawn at random, the same for all representations. Silhouettes take time
        with the square of it; 2,000 are plenty for a mean over many pairs.
    keep
        Pairs of conditions whose coordinates are kept for :func:`kronos_sc.pl.batch_pairs`. If left out, the pairs with
        the lowest, the middle and the highest silhouette in the first representation. At most 2,000 units per condition
        are kept.
    n_init
        Starts of k-means per pair; the best one counts.
    rng
        Seed or generator of k-means and of what is drawn at random.
    key_added
        Name of the result; `"{batch_key}_silhouette"` if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{batch_key}_silhouette' | key_added]`
        Tables `scores` (one row per representation and pair: `batch_a`, `batch_b`, `silhouette`, `ari`, `n_a`, `n_b`,
        and `pc1`, `pc2`, …: share of the variance), `summary` (mean and standard deviation over pairs; pairs share
        conditions, so the interval `low` to `high` is too narrow) and `coordinates` (of the kept pairs:
        `representation`, `batch_a`, `batch_b`, `unit`, `batch`, `pc1`, `pc2`, …).

    Raises
    ------
    KeyError
        No such column or representation, or `keep` names a condition that does not exist.
    ValueError
        Fewer than two conditions, a condition with too few units, or fewer features than components.

    Warns
    -----
    UserWarning
        Some units have NaN in a representation: they are left out of all.

    Notes
    -----
    All pairs are computed together: they share one subspace that grows until the components of each pair are exact to
    about 0.001 radian, so that silhouettes agree with those on exact components to 0.001, and mostly to 0.000001. Where
    many directions vary alike, as in pure noise of thousands of features, the plane itself is arbitrary; a log line
    then says for how many pairs it is approximate. k-means starts run in that subspace, and the best one is finished on
    all features. Needs one copy of the embedding in memory.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=2, n_batches=2)["table"]
    >>> ks.tl.batch_silhouette(cells, "batch", use_rep="X")
    >>> list(ks.get.result(cells, "batch_silhouette", table="summary")["metric"])
    ['silhouette', 'ari']
    """
    run = AnalysisRun(adata, "batch_silhouette", key_added or f"{batch_key}_silhouette", copy=copy)
    n_components = positive_integer(n_components, name="n_components")
    n_clusters = positive_integer(n_clusters, name="n_clusters")
    positive_integer(n_init, name="n_init")
    most = None if max_per_batch is None else positive_integer(max_per_batch, name="max_per_batch")
    batch = target(adata, batch_key, argument="batch_key")
    reps = representations(adata, use_rep)
    _require_width(reps, n_components)
    batch = batch.keep(usable_in(reps, batch))  # all are scored on the same units
    _require_units(batch, max(2, n_components + 1, n_clusters), most)
    kept_pairs = None if keep is None else _numbers(batch, keep)
    pairs = np.array(list(combinations(range(len(batch.classes)), 2)))
    seeds = [integer(child) for child in start(rng).spawn(3)]
    options = _PairOptions(n_components, n_clusters, n_init, *seeds)
    rows = _rows(batch, most, options.draw_seed)

    run.announce(
        f"{len(pairs):,} pair{'s' * (len(pairs) > 1)} of {len(batch.classes)} conditions, {sum(map(len, rows)):,} "
        f"units, {listed(rep.label for rep in reps)}"
    )
    scores = []
    coordinates = []
    with bar(total=4 * len(reps), description="batch effect", unit="step") as shown:
        for rep in reps:
            table, components = _scored(rep, rows, batch, pairs, options, shown)
            if kept_pairs is None:
                kept_pairs = _typical(table["silhouette"].to_numpy())
            scores.append(table)
            coordinates += [_coordinates(adata, rep, components, rows, batch, pair, options) for pair in kept_pairs]

    every = pd.concat(scores, ignore_index=True)
    summary = results.summary(every, by="representation", metrics=["silhouette", "ari"])
    kept = pd.concat(coordinates, ignore_index=True) if coordinates else _no_coordinates(n_components)
    params = {
        "batch_key": batch_key,
        "use_rep": [rep.name for rep in reps],
        "n_components": n_components,
        "n_clusters": n_clusters,
        "max_per_batch": most,
        "n_init": n_init,
        "rng": seed(rng),
    }
    run.store(params=params, tables={"scores": every, "summary": summary, "coordinates": kept})
    for line in summary[summary["metric"] == "silhouette"].itertuples():
        spread = f" ± {line.sd:.4f} over {line.n} pairs" if line.n > 1 else ""
        info(f"{line.representation}: silhouette {line.mean:.4f}{spread} (lower is better)")
    return run.finish(f"added uns[{run.key!r}] ({run.elapsed})")


@dataclass(frozen=True)
class _PairOptions:
    """What is asked for, and seeds.

    Seeds are the same for each representation, so that none depends on which others were named.
    """

    n_components: int
    n_clusters: int
    n_init: int
    draw_seed: int
    start_seed: int
    cluster_seed: int

    @property
    def axes(self) -> list[str]:
        """Names of the components."""
        return [f"pc{i + 1}" for i in range(self.n_components)]


def _require_width(reps: list[Representation], n_components: int) -> None:
    narrow = [f"{rep.name} ({rep.width})" for rep in reps if rep.width < n_components]
    if narrow:
        msg = (
            f"n_components={n_components}, but these representations have fewer features: {listed(narrow)}. Choose a "
            "smaller n_components."
        )
        raise ValueError(msg)


def _require_units(batch: ClassColumn, least: int, most: int | None) -> None:
    few = [f"{name} ({n})" for name, n in zip(batch.classes, batch.counts, strict=True) if n < least]
    if few:
        msg = (
            f"These conditions of {batch.name!r} have fewer than {least} units: {listed(few)}. "
            f"Leave them out, as in adata[~adata.obs[{batch.name!r}].isin([...])], or join them with others."
        )
        raise ValueError(msg)
    if most is not None and most < least:
        msg = (
            f"max_per_batch={most} leaves fewer than the {least} units per condition that are needed. Choose a larger "
            "max_per_batch."
        )
        raise ValueError(msg)


def _numbers(batch: ClassColumn, keep: Sequence[tuple[str, str]]) -> list[int]:
    """Return the numbers of named pairs."""
    codes = {str(name): code for code, name in enumerate(batch.classes)}
    order = {pair: number for number, pair in enumerate(combinations(range(len(codes)), 2))}
    numbers = []
    for pair in keep:
        if isinstance(pair, str) or len(pair) != 2 or str(pair[0]) == str(pair[1]):
            msg = f"keep has {pair!r}; pairs of two different conditions are needed, as in keep=[{tuple(codes)[:2]!r}]."
            raise ValueError(msg)
        if unknown := [name for name in pair if str(name) not in codes]:
            msg = (
                f"keep names {listed(unknown)}, which {batch.name!r} does not have; it has {listed(codes)}. Choose "
                "pairs of these."
            )
            raise KeyError(msg)
        numbers.append(order[tuple(sorted(codes[str(name)] for name in pair))])
    return list(dict.fromkeys(numbers))


def _rows(batch: ClassColumn, most: int | None, draw_seed: int) -> list[np.ndarray]:
    """Return the rows of each condition, at most so many."""
    rows = [np.flatnonzero(batch.codes == code) for code in range(len(batch.classes))]
    if most is None:
        return rows
    children = np.random.default_rng(draw_seed).spawn(len(rows))
    return [
        np.sort(child.choice(r, most, replace=False)) if len(r) > most else r
        for r, child in zip(rows, children, strict=True)
    ]


def _typical(silhouettes: np.ndarray) -> list[int]:
    """Return the pairs with the lowest, the middle and the highest silhouette."""
    order = np.argsort(silhouettes, kind="stable")
    return list(dict.fromkeys(int(order[place]) for place in (0, (len(order) - 1) // 2, -1)))


def _scored(
    rep: Representation,
    rows: list[np.ndarray],
    batch: ClassColumn,
    pairs: np.ndarray,
    options: _PairOptions,
    shown: tqdm,
) -> tuple[pd.DataFrame, PairComponents]:
    """Return the scores of all pairs in one representation, and their components."""
    from kronos_sc._methods.pairwise_kmeans import adjusted_rand, pairwise_kmeans
    from kronos_sc._methods.pairwise_pca import centred, pairwise_pca
    from kronos_sc._methods.silhouette import silhouettes

    tell_memory(rep, sum(map(len, rows)), how=", one condition at a time; max_per_batch= bounds it")
    groups = centred(rep.rows(index) for index in rows)
    shown.update()
    components = pairwise_pca(groups, pairs, options.n_components, rng=np.random.default_rng(options.start_seed))
    shown.update()
    n_a, n_b = groups.counts[pairs].T
    silhouette = silhouettes((components.coordinates(number), int(n)) for number, n in enumerate(n_a))
    shown.update()
    clusters = pairwise_kmeans(
        groups, components, options.n_clusters, n_init=options.n_init, rng=np.random.default_rng(options.cluster_seed)
    )
    shown.update()
    if flat := int(np.isnan(components.share[:, 0]).sum()):
        warn(
            f"{rep.label}: all units are alike in {flat} of {len(pairs)} pairs; their silhouette is 0, which says "
            "nothing. Check the values."
        )
    if unsettled := int((~components.settled).sum()):
        info(
            f"{rep.label}: in {unsettled} of {len(pairs)} pairs many directions vary alike; their components are "
            "approximate"
        )
    table = pd.DataFrame(
        {"representation": rep.label, "batch_a": batch.classes[pairs[:, 0]], "batch_b": batch.classes[pairs[:, 1]]}
    )
    table = table.assign(silhouette=silhouette, ari=adjusted_rand(clusters.counts), n_a=n_a, n_b=n_b)
    table[options.axes] = components.share
    return table, components


def _coordinates(
    adata: AnnData,
    rep: Representation,
    components: PairComponents,
    rows: list[np.ndarray],
    batch: ClassColumn,
    number: int,
    options: _PairOptions,
) -> pd.DataFrame:
    """Return the coordinates of one pair, of at most `_SHOWN` units per condition."""
    a, b = components.pairs[number]
    units = np.concatenate([rows[a], rows[b]])
    member = np.repeat([a, b], [len(rows[a]), len(rows[b])])
    chosen = np.concatenate([_thinned(np.flatnonzero(member == code), options.draw_seed) for code in (a, b)])
    frame = pd.DataFrame(components.coordinates(number)[chosen], columns=options.axes)
    names = {"representation": rep.label, "batch_a": batch.classes[a], "batch_b": batch.classes[b]}
    frame = frame.assign(**names, unit=adata.obs_names[units[chosen]].astype(str), batch=batch.classes[member[chosen]])
    return frame[["representation", "batch_a", "batch_b", "unit", "batch", *options.axes]]


def _thinned(places: np.ndarray, draw_seed: int) -> np.ndarray:
    if len(places) <= _SHOWN:
        return places
    return np.sort(np.random.default_rng(draw_seed).choice(places, _SHOWN, replace=False))


def _no_coordinates(n_components: int) -> pd.DataFrame:
    axes = {f"pc{i + 1}": np.empty(0, np.float32) for i in range(n_components)}
    return pd.DataFrame({name: [] for name in ("representation", "batch_a", "batch_b", "unit", "batch")}).assign(**axes)
