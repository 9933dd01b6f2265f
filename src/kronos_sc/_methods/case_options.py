"""Ways to tell groups of cases apart, as frozen parameters; `tl` hands them to users."""

from __future__ import annotations

from dataclasses import dataclass

from kronos_sc._core.checks import one_of, positive_integer, positive_number


@dataclass(frozen=True)
class Composition:
    """Nearest case by its shares of k-means clusters, as in the paper's case-level stratification :cite:p:`Shaban2025`.

    The units of the training cases are clustered, a case becomes the shares of its units in the clusters, and a test case gets the label
    of the training case with the most similar shares (Euclidean). Needs few cases and no tuning; sees what tissue is made of, not subtle
    changes within it.

    Parameters
    ----------
    n_clusters
        Clusters; the paper uses 4, 8 and 16. More of them describe finer tissue and need more training cases.
    fit_on
        `"train"` clusters the units of the training cases of each split. `"all"` clusters those of all cases once, as the paper does:
        faster, and the clusters have seen the test cases (not their labels).
    scale
        Bring features to one spread, by the units that are clustered. Where brightness differs between markers, the brightest would
        otherwise decide alone.
    max_per_case
        Units per case, drawn once for all splits; shares and clusters come from them. 500 give a share to within 2 percentage points.
        `None` takes all.
    max_features
        Wider representations are projected onto this many random directions first, which keeps distances within a few percent and keeps
        memory at cases × `max_per_case` × `max_features` × 4 bytes. `None` takes all features.
    """

    n_clusters: int = 8
    fit_on: str = "train"
    scale: bool = True
    max_per_case: int | None = 500
    max_features: int | None = 512

    def __post_init__(self) -> None:
        positive_integer(self.n_clusters, name="n_clusters")
        one_of(self.fit_on, ("train", "all"), name="fit_on")
        _caps(self.max_per_case, self.max_features)


@dataclass(frozen=True)
class Logistic:
    """Logistic regression on the mean vector of each case, reduced by PCA, as in the paper's patient stratification :cite:p:`Shaban2025`.

    The mean over a case's units is standardised, reduced and classified with an L2 penalty and balanced class weights; all three steps are
    fitted on training cases only. PCA runs on the whole vector (all markers side by side).

    Parameters
    ----------
    n_components
        Principal components, 64 or 256 in the paper. There are never more than training cases − 1, so with few cases a larger value
        changes nothing.
    C
        Inverse strength of the penalty; larger values trust the training cases more.
    """

    n_components: int = 64
    C: float = 1.0

    def __post_init__(self) -> None:
        positive_integer(self.n_components, name="n_components")
        positive_number(self.C, name="C")


@dataclass(frozen=True)
class MeanMLP:
    """A small neural network on the mean vector of each case, reduced by PCA.

    For several hundred cases, where a straight border no longer does; with few cases prefer :class:`Logistic`.

    Parameters
    ----------
    n_components
        Principal components, fitted on training cases; never more than training cases − 1.
    hidden
        Width of the hidden layer.
    dropout
        Share of hidden units left out at each step, 0 to below 1; more of it for fewer cases.
    epochs
        Passes over the training cases.
    learning_rate, weight_decay
        Of AdamW.
    validation
        Share of the training cases held back to choose the best epoch, 0 to below 1; 0 takes the last one. Worth its cases from about
        a hundred on.
    device
        Where torch computes; the CPU if left out, which is fastest for a network of this size.
    """

    n_components: int = 64
    hidden: int = 64
    dropout: float = 0.25
    epochs: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    validation: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        _network(self)


@dataclass(frozen=True)
class AttentionMIL:
    """Multiple instance learning with gated attention (Ilse et al. 2018): which units of a case matter is learnt.

    A case is a bag of units; the network weighs each and classifies the weighted mean. For labels that rest on a few units among many,
    and enough cases to learn them from; with a few dozen cases it rarely beats :class:`Logistic`.

    Parameters
    ----------
    n_components
        Principal components of the units, fitted on those of training cases.
    hidden, attention
        Widths of the projection and of the attention branch.
    dropout
        Share of hidden units left out at each step, 0 to below 1.
    epochs
        Passes over the training cases; each sees a new draw of `bag_size` units of every case.
    learning_rate, weight_decay
        Of AdamW.
    validation
        Share of the training cases held back to choose the best epoch, 0 to below 1; 0 takes the last one.
    bag_size
        Units per case and epoch. Predictions weigh all that `max_per_case` allows.
    max_per_case
        Units per case, drawn once for all splits and held in memory. `None` takes all.
    max_features
        Wider representations are projected onto this many random directions first. `None` takes all features.
    device
        Where torch computes; the CPU if left out, which is fastest for a network of this size.
    """

    n_components: int = 64
    hidden: int = 64
    attention: int = 32
    dropout: float = 0.25
    epochs: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    validation: float = 0.0
    bag_size: int = 128
    max_per_case: int | None = 500
    max_features: int | None = 512
    device: str | None = None

    def __post_init__(self) -> None:
        _network(self)
        positive_integer(self.attention, name="attention")
        positive_integer(self.bag_size, name="bag_size")
        _caps(self.max_per_case, self.max_features)


CaseMethod = Composition | Logistic | MeanMLP | AttentionMIL
BY_NAME: dict[str, type[CaseMethod]] = {"composition": Composition, "logistic": Logistic, "mlp": MeanMLP, "attention": AttentionMIL}


def _network(options: MeanMLP | AttentionMIL) -> None:
    for name in ("n_components", "hidden", "epochs"):
        positive_integer(getattr(options, name), name=name)
    positive_number(options.learning_rate, name="learning_rate")
    for name in ("dropout", "validation"):
        if not 0 <= getattr(options, name) < 1:
            msg = f"{name} must be at least 0 and below 1 (a share), got {getattr(options, name)!r}."
            raise ValueError(msg)


def _caps(max_per_case: int | None, max_features: int | None) -> None:
    for name, value in (("max_per_case", max_per_case), ("max_features", max_features)):
        if value is not None:
            positive_integer(value, name=name)
