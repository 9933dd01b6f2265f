"""One representation → one partition of its rows; shared by the verbs that cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kronos_sc._analysis.reduce import streamed_scaler, tell_memory
from kronos_sc._core.checks import one_of, positive_integer
from kronos_sc._core.rng import integer
from kronos_sc._methods.clustering import Clusters, by_size, kmeans, minibatch
from kronos_sc._methods.scaling import fit_scaler

if TYPE_CHECKING:
    import numpy as np

    from kronos_sc._core.representation import Representation

Method = Literal["auto", "kmeans", "minibatch", "leiden"]
MOST_IN_MEMORY = 100_000
"""Units up to which `"auto"` means k-means on all rows at once."""
_LEAST_FOR_A_GRAPH = 3


@dataclass(frozen=True)
class ClusterOptions:
    """How to cluster, as asked for.

    Parameters
    ----------
    method
        `"auto"`, `"kmeans"`, `"minibatch"` or `"leiden"`.
    n_clusters
        Number of clusters; None for Leiden.
    n_init
        Starts of k-means.
    resolution, n_neighbors
        Of Leiden.
    scale
        Whether to standardise features first.
    noun
        What clusters are called in messages, `n_` before it being the argument that sets their number.
    """

    method: Method = "auto"
    n_clusters: int | None = 8
    n_init: int = 10
    resolution: float = 1.0
    n_neighbors: int = 15
    scale: bool = False
    noun: str = "clusters"

    def __post_init__(self) -> None:
        one_of(self.method, ("auto", "kmeans", "minibatch", "leiden"), name="method")
        positive_integer(self.n_init, name="n_init")
        positive_integer(self.n_neighbors, name="n_neighbors")
        if self.method != "leiden":
            if self.n_clusters is None:
                msg = (
                    f"method={self.method!r} needs n_{self.noun}=. Give a number, or let method='leiden' choose it by "
                    "resolution=."
                )
                raise ValueError(msg)
            positive_integer(self.n_clusters, name=f"n_{self.noun}")
        elif not self.resolution > 0:
            msg = f"resolution must be above 0, got {self.resolution!r}; 1 is usual, larger values give more clusters."
            raise ValueError(msg)

    def resolved(self, rep: Representation, n: int) -> str:
        """Return the method that `"auto"` stands for, given `n` rows of a representation."""
        if self.method != "auto":
            return self.method
        return "kmeans" if rep.in_memory and n <= MOST_IN_MEMORY else "minibatch"

    def require(self, n: int, *, what: str) -> None:
        """Raise a ValueError unless `n` units can be clustered; `what` names them."""
        if self.method == "leiden" and n < _LEAST_FOR_A_GRAPH:
            msg = (
                f"{what} has {n:,} units, and a neighbour graph needs {_LEAST_FOR_A_GRAPH}. Leave it out, or take "
                "method='kmeans'."
            )
            raise ValueError(msg)
        if self.method != "leiden" and n < (self.n_clusters or 1):
            msg = (
                f"{what} has {n:,} units, too few for {self.n_clusters:,} {self.noun}. Ask for fewer with "
                f"n_{self.noun}=."
            )
            raise ValueError(msg)


def partition(rep: Representation, rows: np.ndarray, options: ClusterOptions, rng: np.random.Generator) -> Clusters:
    """Cluster rows (increasing row numbers) of a representation."""
    method = options.resolved(rep, len(rows))
    if method == "minibatch":
        scaler = streamed_scaler(rep, rows) if options.scale else None
        return minibatch(rep.rows, rows, int(options.n_clusters or 1), n_init=options.n_init, rng=rng, scaler=scaler)
    tell_memory(
        rep, len(rows), how=f"; tl.pca(adata, use_rep={rep.name!r}) makes it small, method='minibatch' reads blocks"
    )
    x = rep.rows(rows) if len(rows) < rep.n_units else rep.rows()
    if options.scale:
        x = fit_scaler(x).apply(x)
    if method == "leiden":
        return _leiden(x, options, rng)
    return kmeans(x, int(options.n_clusters or 1), n_init=options.n_init, rng=rng)


def _leiden(x: np.ndarray, options: ClusterOptions, rng: np.random.Generator) -> Clusters:
    """Return communities of the neighbour graph, by scanpy; the graph is of these rows alone and is not kept."""
    import scanpy as sc
    from anndata import AnnData

    graph = AnnData(obsm={"x": x})
    seed = integer(rng)
    sc.pp.neighbors(graph, n_neighbors=min(options.n_neighbors, len(x) - 1), use_rep="x", random_state=seed)
    sc.tl.leiden(
        graph, resolution=options.resolution, flavor="igraph", n_iterations=2, directed=False, random_state=seed
    )
    return Clusters(by_size(graph.obs["leiden"].cat.codes.to_numpy()), float("nan"))
