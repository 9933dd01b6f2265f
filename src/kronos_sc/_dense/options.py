"""Choices of a dense probe, and what its presets stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_sc._analysis.probe import CSearch
from kronos_sc._core.checks import one_of, positive_integer, positive_number
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from collections.abc import Sequence

PRESETS = ("region", "artifact")
WINDOW = 256  # pixels; the paper's regions


@dataclass(frozen=True)
class DenseOptions:
    """How :func:`dense_probe` reads images, fits and evaluates.

    Parameters
    ----------
    overlap
        Share of a window that its neighbour repeats, 0 to below 1; rounded to whole tokens. More overlap gives every
        token more surroundings and smoother maps, and costs more passes.
    n_folds
        Folds of the evaluation, at most the number of groups that hold the rarest class.
    C
        Inverse strength of the penalty: a value, a grid to choose from, or None for Bayesian optimisation over 1e-10 to
        1e5.
    n_trials
        Fits of the optimisation, for each fold and each representation; 25 in the paper (cell phenotyping). The later
        ones start from solutions nearby: with 5,000 tokens per class, 25 cost 2 to 3 seconds of a core more than 12, of
        3 (one marker, three classes) to 47 (three markers, two classes) for a search. Irrelevant if `C` is given.
    max_tokens
        Most tokens per class, drawn evenly over its regions (one of each at least); None for all. Training and
        evaluation see these.
    baseline
        Evaluate raw intensities (means over squares of 16 pixels) on the same regions and folds, too. Scores then count
        the regions that hold a token of both; where these are too few, raw intensities are left out with a warning.
    require_nuclear
        Insist on a nuclear stain among the channels; KRONOS was never trained without one.
    max_value
        Raw value that becomes 1; that of the number format if left out.
    nan
        `"error"`, or `"zero"` to take pixels without a value (NaN, infinite, chunk not stored) as zero.
    precision
        Of the network: `"float32"`, `"bfloat16"`, or `"auto"` for the faster one that the hardware offers.
    positive
        Of two classes the one whose own F1 and average precision are scored; the paper has both for tumour and
        non-tumour. The second if left out: the later in the order of the categories, or of the alphabet.
    """

    overlap: float = 0.5
    n_folds: int = 4
    C: float | Sequence[float] | None = None
    n_trials: int = 25
    max_tokens: int | None = 5000
    baseline: bool = True
    require_nuclear: bool = True
    max_value: float | None = None
    nan: str = "error"
    precision: str = "auto"
    positive: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            msg = (
                f"overlap must be at least 0 and below 1 (a share of the window), got {self.overlap!r}. 0.5 moves by "
                "half a window."
            )
            raise ValueError(msg)
        if positive_integer(self.n_folds, name="n_folds") < 2:
            msg = (
                f"n_folds must be at least 2, got {self.n_folds!r}: what is tested must not have been trained on. The "
                "paper has 4."
            )
            raise ValueError(msg)
        if self.max_tokens is not None:
            positive_integer(self.max_tokens, name="max_tokens")
        if self.max_value is not None:
            positive_number(self.max_value, name="max_value")
        one_of(self.nan, ("error", "zero"), name="nan")
        one_of(self.precision, placement.PRECISIONS, name="precision")
        # refuses a C or a number of trials that is none
        self.search()

    def search(self) -> CSearch:
        """Return how C is chosen; a ValueError for what is no choice."""
        return CSearch(self.C, self.n_trials)
