"""Ways to tell groups of cases apart, as frozen parameters; `tl` hands them to users."""

from __future__ import annotations

from dataclasses import dataclass

from kronos_sc._core.checks import one_of, positive_integer, positive_number


@dataclass(frozen=True)
class Composition:
    """Nearest case by its shares of k-means clusters, after the paper's case-level stratification :cite:p:`Shaban2025`.

    The units of the training cases are clustered, a case becomes the shares of its units in the clusters, and a test
    case gets the label of the training case with the most similar shares (Euclidean). Where training cases of two
    labels are equally near, the next nearest case of each decides. Needs few cases and no tuning; sees what tissue is
    made of, not subtle changes within it.

    The paper clusters the units of all cases once, and says nothing of scaling, drawing or projecting. Here, unless
    told otherwise, the clusters come from training cases only (`fit_on`), features are standardised (`scale`), wide
    vectors are projected (`max_features`), and units are drawn, for the shares (`max_per_case`) and for the centres
    (`max_fit`). For what the paper describes: `Composition(fit_on="all", scale=False, max_per_case=None,
    max_features=None, max_fit=None)`.

    Parameters
    ----------
    n_clusters
        Clusters; the paper uses 4, 8 and 16. More of them describe finer tissue and need more training cases.
    fit_on
        `"train"` clusters the units of the training cases of each split. `"all"` clusters those of all cases once, as
        the paper does: faster, and the clusters have seen the test cases (not their labels).
    scale
        Bring features to one spread, by the units that are clustered. Where brightness differs between markers, the
        brightest would otherwise decide alone. In a representation that is projected, it is the directions that are
        brought to one spread, which changes little.
    max_fit
        Units from which k-means takes its centres, drawn among those it may see; each unit then goes to the nearest
        centre. More of them move the centres less than another draw of cases does, and take longer. `None` takes all.
    n_init
        Starts of k-means, of which the best is kept. If left out, 1 with `fit_on="train"`, where many splits average
        over the starts, and 10 with `fit_on="all"`, where one fit serves all splits.
    max_per_case
        Units per case, drawn once for all splits; shares and clusters come from them. 500 give a share to within 2
        percentage points. `None` takes all.
    max_features
        Wider representations are projected onto this many random directions first, which keeps distances within a few
        percent and keeps memory at cases × `max_per_case` × `max_features` × 4 bytes. `None` takes all features.
    """

    n_clusters: int = 8
    fit_on: str = "train"
    scale: bool = True
    max_fit: int | None = 4096
    n_init: int | None = None
    max_per_case: int | None = 500
    max_features: int | None = 512

    def __post_init__(self) -> None:
        one_of(self.fit_on, ("train", "all"), name="fit_on")
        _set(self, scale=bool(self.scale))
        if self.n_init is None:
            _set(self, n_init=10 if self.fit_on == "all" else 1)
        _whole(self, "n_clusters", "n_init")
        _whole_or_none(self, "max_fit", "max_per_case", "max_features")


@dataclass(frozen=True)
class Logistic:
    """Logistic regression on the mean vector of each case, reduced by PCA.

    After the paper's patient stratification :cite:p:`Shaban2025`. Scaling and PCA are fitted on units of the training
    cases, the mean over all units of each case is put on those components, and a regression with an L2 penalty and
    balanced class weights tells the training cases apart.

    The paper says that PCA reduces features to 64 or 256, and reports both for cohorts of 14 to 28 cases, so its PCA
    cannot be one of case means. It leaves open whether PCA sees all markers side by side, as here, or each marker by
    itself, which units it is fitted on, whether features are scaled, and which classifier follows.

    Parameters
    ----------
    n_components
        Principal components, 64 or 256 in the paper; at most `max_features`, and the drawn units of the training cases
        − 1. More of them keep finer differences between units, and with few cases more noise.
    C
        Inverse strength of the penalty; larger values trust the training cases more.
    max_per_case
        Units per case for scaling and PCA, drawn once for all splits. More of them settle the components and cost time
        once per call. `None` takes all. The mean of a case is always that of all its units.
    max_features
        Wider representations are projected onto this many random directions first: it keeps distances within a few
        percent, a fit within a tenth of a second or so, and memory at cases × `max_features`² × 4 bytes. It is the
        directions then that are scaled, not the features. `None` takes all features: exact, and slow and large beyond a
        few thousand.
    """

    n_components: int = 64
    C: float = 1.0
    max_per_case: int | None = 500
    max_features: int | None = 1024

    def __post_init__(self) -> None:
        _whole(self, "n_components")
        _set(self, C=positive_number(self.C, name="C"))
        _whole_or_none(self, "max_per_case", "max_features")


@dataclass(frozen=True)
class MeanMLP:
    """A small neural network on the mean vector of each case, reduced by PCA as in :class:`Logistic`.

    For several hundred cases, where a straight border no longer does; with few cases prefer :class:`Logistic`.

    Parameters
    ----------
    n_components
        Principal components, fitted on units of training cases; at most `max_features`, and those units − 1.
    hidden
        Width of the hidden layer.
    dropout
        Share of hidden units left out at each step, 0 to below 1; more of it for fewer cases.
    epochs
        Passes over the training cases.
    learning_rate, weight_decay
        Of AdamW.
    validation
        Share of the training cases held back to choose the best epoch, 0 to below 1; 0 takes the last one. Worth its
        cases from about a hundred on. The PCA sees the units of cases held back, not their labels.
    max_per_case, max_features
        As in :class:`Logistic`. For many hundred cases, lower `max_features`: memory is cases × its square × 4 bytes.
    device
        Where torch computes, a name or a `torch.device`; the CPU if left out, which is fastest for a network of this
        size.
    """

    n_components: int = 64
    hidden: int = 64
    dropout: float = 0.25
    epochs: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    validation: float = 0.0
    max_per_case: int | None = 500
    max_features: int | None = 1024
    device: str | None = None

    def __post_init__(self) -> None:
        _network(self)


@dataclass(frozen=True)
class AttentionMIL:
    """Multiple instance learning with gated attention (Ilse et al. 2018): which units of a case matter is learnt.

    A case is a bag of units; the network weighs each and classifies the weighted mean. For labels that rest on a few
    units among many, and enough cases to learn them from; with a few dozen cases it rarely beats :class:`Logistic`.

    Parameters
    ----------
    n_components
        Principal components of the units, fitted on those of training cases; at most `max_features`.
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
        Wider representations are projected onto this many random directions first; sums for PCA take cases ×
        `max_features`² × 4 bytes. `None` takes all features.
    device
        Where torch computes, a name or a `torch.device`; the CPU if left out, which is fastest for a network of this
        size.
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
        _whole(self, "attention", "bag_size")


CaseMethod = Composition | Logistic | MeanMLP | AttentionMIL
BY_NAME: dict[str, type[CaseMethod]] = {
    "composition": Composition,
    "logistic": Logistic,
    "mlp": MeanMLP,
    "attention": AttentionMIL,
}


def _set(options: CaseMethod, **values: object) -> None:
    """Set fields of a frozen object while it is made, so that it holds plain values, which a record can."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def _whole(options: CaseMethod, *names: str) -> None:
    _set(options, **{name: positive_integer(getattr(options, name), name=name) for name in names})


def _whole_or_none(options: CaseMethod, *names: str) -> None:
    _whole(options, *(name for name in names if getattr(options, name) is not None))


def _network(options: MeanMLP | AttentionMIL) -> None:
    _whole(options, "n_components", "hidden", "epochs")
    _whole_or_none(options, "max_per_case", "max_features")
    _set(options, learning_rate=positive_number(options.learning_rate, name="learning_rate"))
    for name in ("dropout", "validation"):
        if not 0 <= getattr(options, name) < 1:
            msg = f"{name} must be at least 0 and below 1 (a share), got {getattr(options, name)!r}."
            raise ValueError(msg)
    if not options.weight_decay >= 0:
        msg = f"weight_decay must be at least 0, got {options.weight_decay!r}."
        raise ValueError(msg)
    _set(options, **{name: float(getattr(options, name)) for name in ("dropout", "validation", "weight_decay")})
    if options.device is not None:
        _set(options, device=str(options.device))
