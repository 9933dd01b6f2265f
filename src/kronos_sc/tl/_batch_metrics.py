"""The batch metrics of scIB, under their own names."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kronos_sc._analysis.driver import AnalysisRun
from kronos_sc._analysis.groups import usable_in
from kronos_sc._core import results
from kronos_sc._core.checks import listed, one_of, positive_integer
from kronos_sc._core.log import info
from kronos_sc._core.progress import bar
from kronos_sc._core.representation import Representation, representations
from kronos_sc._core.rng import Seed, seed, start
from kronos_sc._core.target import ClassColumn, target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anndata import AnnData

_NEIGHBOURS = {
    "graph_connectivity": 15,
    "kbet": 50,
    "kbet_per_label": 50,
    "ilisi": 90,
}  # as scib_metrics' own Benchmarker
_COMPONENTS = 50  # of principal component regression


def batch_metrics(
    adata: AnnData,
    batch_key: str,
    *,
    label_key: str | None = None,
    use_rep: str | Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    max_units: int | None = 10_000,
    rng: Seed = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Score how well batches mix in an embedding with the metrics of scIB (Luecken et al. 2022).

    They are computed by scib-metrics. For comparison with single-cell work, and wherever cells have types: metrics that
    look within a type do not mistake a batch with other cells for a batch effect. The paper's own protocol is
    :func:`batch_silhouette`; its numbers and these cannot be compared.

    Parameters
    ----------
    adata
        Units with embeddings.
    batch_key
        Column of `obs` with the batch.
    label_key
        Column of `obs` with the cell type or region. Without it, metrics that need labels are left out.
    use_rep
        Entries of `obsm`, or `"X"`; all embeddings on record if left out. Mean marker expression is always added.
    metrics
        Which ones; all but `"kbet_per_label"` if left out, which takes minutes.

        - `"silhouette_batch"` (labels): 1 − the absolute silhouette of the batches within each label, 0 to 1, higher
          is better. Not the score of :func:`batch_silhouette`.
        - `"bras"` (labels): the same with cosine distances to all other batches instead of the nearest one; higher is
          better.
        - `"graph_connectivity"` (labels): share of a label's units that hang together in the graph of 15 neighbours;
          higher is better.
        - `"ilisi"`: how many batches there are among 90 neighbours, 0 (one) to 1 (all); higher is better.
        - `"kbet"`: share of units whose 50 neighbours have the batches in their overall proportions; higher is better.
        - `"kbet_per_label"` (labels): the same within each label, over diffusion distances; higher is better.
        - `"pcr"`: share of the variance of the first 50 principal components that the batch explains; **lower** is
          better.
    max_units
        At most so many units, drawn at random, the same for all representations; `None` for all. Distances between all
        of them are computed, so time grows with the square.
    rng
        Seed or generator of the draw.
    key_added
        Name of the result; `"{batch_key}_metrics"` if left out.
    copy
        Return a new AnnData instead of adding to this one.

    Returns
    -------
    `None`, or a new `AnnData` if `copy=True`. Sets:

    `uns['{batch_key}_metrics' | key_added]`
        Tables `scores` (`representation`, `metric`, `value`, `better`: `"higher"` or `"lower"`) and `summary` (the same
        values as means of one, without a spread, for :func:`kronos_sc.pl.scores`); `params`.

    Raises
    ------
    ImportError
        scib-metrics is not installed: `pip install "kronos-sc[batch]"`.
    KeyError
        No such column or representation.
    ValueError
        Fewer than two batches, an unknown metric, one that needs labels without `label_key`, or no label that occurs in
        two batches.

    Warns
    -----
    UserWarning
        Some units have NaN in a representation: they are left out of all.

    Examples
    --------
    >>> import kronos_sc as ks
    >>> cells = ks.datasets.tissue(shape=(128, 128), n_images=2, n_batches=2)["table"]
    >>> ks.tl.batch_metrics(cells, "batch", use_rep="X", metrics=["kbet"])
    >>> list(ks.get.result(cells, "batch_metrics").columns)
    ['representation', 'metric', 'value', 'better']
    """
    run = AnalysisRun(adata, "batch_metrics", key_added or f"{batch_key}_metrics", copy=copy)
    chosen = _chosen(metrics, label_key)
    most = None if max_units is None else positive_integer(max_units, name="max_units")
    batch = target(adata, batch_key, argument="batch_key")
    label = None if label_key is None else target(adata, label_key, argument="label_key", least=1)
    reps = representations(adata, use_rep)
    units = _units(batch, label, reps, most, start(rng))
    _require_mixed(batch, label, units, chosen)
    _require_scib()

    run.announce(
        f"{listed(chosen)} on {len(units):,} units of {len(batch.classes)} batches, {listed(rep.label for rep in reps)}"
    )
    lines = []
    with bar(total=len(reps) * len(chosen), description="batch metrics", unit="score") as shown:
        for rep in reps:
            label_codes = None if label is None else label.codes[units]
            view = _View(rep.rows(units), batch.codes[units], label_codes)
            for name in chosen:
                # numbers of a warning from inside JAX or UMAP tell a user of scores nothing
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    value = float(_METRICS[name].compute(view))
                lines.append(
                    {"representation": rep.label, "metric": name, "value": value, "better": _METRICS[name].better}
                )
                shown.update()

    params = {
        "batch_key": batch_key,
        "label_key": label_key,
        "use_rep": [rep.name for rep in reps],
        "metrics": chosen,
        "max_units": most,
        "n_units": len(units),
        "rng": seed(rng),
    }
    scores = pd.DataFrame(lines)
    wide = scores.pivot(index="representation", columns="metric", values="value")
    wide = wide.loc[[rep.label for rep in reps]].reset_index()
    tables = {"scores": scores, "summary": results.summary(wide, by="representation", metrics=chosen)}
    run.store(params=params, tables=tables)
    return run.finish(f"added uns[{run.key!r}] ({run.elapsed})")


@dataclass(frozen=True)
class _View:
    """One representation of the units to score, with batch and label as numbers."""

    values: np.ndarray
    batch: np.ndarray
    label: np.ndarray | None

    @cached_property
    def _nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances and numbers of the nearest units, itself first."""
        from sklearn.neighbors import NearestNeighbors

        k = min(max(_NEIGHBOURS.values()), len(self.values))
        return NearestNeighbors(n_neighbors=k, algorithm="brute").fit(self.values).kneighbors(self.values)

    def neighbours(self, metric: str) -> Any:
        """Return as many neighbours as a metric looks at, in the form of scib-metrics."""
        from scib_metrics.nearest_neighbors import NeighborsResults

        distances, indices = self._nearest
        k = min(_NEIGHBOURS[metric], indices.shape[1])
        return NeighborsResults(indices=indices[:, :k], distances=distances[:, :k])


@dataclass(frozen=True)
class _Metric:
    """A metric of scib-metrics: how it is called, whether it needs labels, and which way is better."""

    compute: Callable[[_View], float]
    labels: bool = False
    better: str = "higher"


def _scib() -> Any:
    import scib_metrics

    return scib_metrics


def _pcr(view: _View) -> float:
    most = min(_COMPONENTS, *(size - 1 for size in view.values.shape)) or 1
    return _scib().utils.principal_component_regression(view.values, view.batch, categorical=True, n_components=most)


_METRICS = {
    "silhouette_batch": _Metric(lambda v: _scib().silhouette_batch(v.values, v.label, v.batch), labels=True),
    "bras": _Metric(lambda v: _scib().bras(v.values, v.label, v.batch), labels=True),
    "graph_connectivity": _Metric(
        lambda v: _scib().graph_connectivity(v.neighbours("graph_connectivity"), v.label), labels=True
    ),
    "ilisi": _Metric(lambda v: _scib().ilisi_knn(v.neighbours("ilisi"), v.batch)),
    "kbet": _Metric(lambda v: _scib().kbet(v.neighbours("kbet"), v.batch)[0]),
    "kbet_per_label": _Metric(
        lambda v: _scib().kbet_per_label(v.neighbours("kbet_per_label"), v.batch, v.label), labels=True
    ),
    "pcr": _Metric(_pcr, better="lower"),
}
_SLOW = {"kbet_per_label"}


def _chosen(metrics: Sequence[str] | None, label_key: str | None) -> list[str]:
    """Return the names of the metrics to compute."""
    if metrics is None:
        return [
            name
            for name, metric in _METRICS.items()
            if name not in _SLOW and (label_key is not None or not metric.labels)
        ]
    named = list(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics))
    for name in named:
        one_of(name, _METRICS, name="metrics")
    if not named:
        msg = f"metrics is empty; it can hold {listed(_METRICS)}. Leave it out for all that apply."
        raise ValueError(msg)
    if label_key is None and (wanting := [name for name in named if _METRICS[name].labels]):
        msg = (
            f"{listed(wanting)} look within labels, and none are named. Name a column of obs with label_key=, or leave "
            "them out of metrics."
        )
        raise ValueError(msg)
    return named


def _require_scib() -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # umap says at import that it has no Tensorflow
            _scib()
    except ImportError as error:
        msg = (
            f"The batch metrics of scIB need the package scib-metrics ({error}). "
            'Install it with: pip install "kronos-sc[batch]"'
        )
        raise ImportError(msg) from error


def _units(
    batch: ClassColumn,
    label: ClassColumn | None,
    reps: list[Representation],
    most: int | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the rows to score: with batch, label and values in all representations, at most so many."""
    known = batch if label is None else batch.keep(label.labelled)
    units = np.flatnonzero(known.labelled & usable_in(reps, known))
    if most is None or len(units) <= most:
        return units
    info(f"{most:,} of {len(units):,} units are drawn at random; max_units=None takes all")
    return np.sort(rng.choice(units, most, replace=False))


def _require_mixed(batch: ClassColumn, label: ClassColumn | None, units: np.ndarray, chosen: list[str]) -> None:
    """Raise unless there are two batches, and, for metrics within labels, a label that occurs in two of them."""
    if len(present := np.unique(batch.codes[units])) < 2:
        msg = (
            f"Of {batch.name!r} only {listed(batch.classes[present])} has units with values; at least 2 are needed. "
            "Choose another batch_key or use_rep."
        )
        raise ValueError(msg)
    if label is None or not any(_METRICS[name].labels for name in chosen):
        return
    within = pd.Series(batch.codes[units]).groupby(label.codes[units]).nunique()
    if not (within > 1).any():
        msg = (
            f"No class of {label.name!r} occurs in two batches of {batch.name!r}, so nothing can be compared within "
            "labels. Leave label_key out."
        )
        raise ValueError(msg)
