"""A trained probe of tokens: what is needed to draw maps with it, how well it did, and a file that holds it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from kronos_sc._core.checks import listed
from kronos_sc._core.record import freeze
from kronos_sc._dense import tables
from kronos_sc._storage.files import write_whole

_FORMAT = 1
_ARRAYS = ("coef", "intercept", "mean", "scale")
_FRAMES = ("panel", "scores", "per_class", "regions")
_PLAIN = ("classes", "model", "patch_size", "overlap", "preset", "C", "max_value", "params", "mpp")


@dataclass(frozen=True, eq=False, repr=False)
class DenseProbe:
    """A linear classifier of token features, made by :func:`dense_probe` and drawn over images by :func:`predict_map`.

    :func:`kronos_sc.pl.scores`, :func:`kronos_sc.pl.class_scores`, :func:`kronos_sc.pl.roc` and
    :func:`kronos_sc.pl.confusion` draw it as they draw results of a table: `pl.scores(probe)`.
    :func:`kronos_sc.get.result` returns what they draw, fold by fold and in the columns of :func:`linear_probe`:
    `scores`, `summary`, `per_class`, `confusion`, `roc`, `regions`.

    Parameters
    ----------
    classes
        Names, in the order of the map's channels; label `i + 1` of the class map is `classes[i]`.
    coef, intercept
        Weights (classes × features of a token) and one number per class, of standardised features.
    mean, scale
        Of each feature over the training tokens.
    panel
        Markers read, in order: `channel`, `marker`, `id`, `mean`, `std`, `role`, `how`.
    model
        Name, sha256 and blocks of the encoder whose tokens these are.
    patch_size, overlap
        Edge of the windows in pixels, and the share that neighbours repeat.
    preset
        `"region"`, `"artifact"` or "".
    C
        Inverse strength of the penalty that was chosen for the final fit.
    max_value
        Raw value that becomes 1, if it was given.
    scores
        One row per representation and fold, and one with `fold` "all" over the regions of all folds: `n_regions`,
        `n_tokens` (training), `C`, `n_groups`, `balanced_accuracy`, `macro_f1`, `macro_ap`, `auroc` (mean over the
        classes, each against the rest) and its 95 % interval `auroc_low`, `auroc_high` (bootstrap over groups; NaN for
        fewer than 5. Draws that lack a class do not count for it), `auroc_ovo` (mean over pairs of classes, the paper's
        for more than two; the same as `auroc` for two), and of two classes `f1` and `average_precision` of the
        `positive` one; NaN for more classes.
    per_class
        Over all folds, one row per representation and class: `n_regions`, `precision`, `recall`, `f1`,
        `average_precision`, `auroc` of the class against the rest, `auroc_low`, `auroc_high`.
    regions
        One row per representation and region: `image`, `shapes`, `region` (index in the shapes), `group`, `fold`,
        `n_tokens`, `scored` (False where the other representation has no token: not counted in the scores), `true`,
        `predicted`, and the probability of each class by the probe that did not see the region's fold.
    params
        Further arguments of the call.
    mpp
        Micrometres per pixel of the training images (their median), None if none records it.
    """

    classes: tuple[str, ...]
    coef: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    panel: pd.DataFrame
    model: dict[str, Any]
    patch_size: int
    overlap: float
    preset: str
    C: float
    max_value: float | None
    scores: pd.DataFrame
    per_class: pd.DataFrame
    regions: pd.DataFrame
    params: dict[str, Any] = field(default_factory=dict)
    mpp: float | None = None

    @property
    def positive(self) -> str | None:
        """The positive one of two classes, whose `f1` and `average_precision` are in the scores.

        None for more classes.
        """
        return self.params.get("positive") or tables.positive_class(self.classes, None)

    @property
    def summary(self) -> pd.DataFrame:
        """Mean and standard deviation (n − 1) of each score over the folds, and the 95 % interval of that mean.

        One row per `representation` and `metric`: `mean`, `sd`, `n` (folds), `low`, `high`; to be put beside the
        paper's mean ± sd.
        """
        return tables.summary(self.scores)

    def as_result(self) -> dict[str, Any]:
        """Return what a table would hold of it in `uns`: `kind`, `params`, and frames by name.

        Plots and `get.result` read this.
        """
        frames = tables.tables(self.scores, self.regions, self.classes, self.positive)
        return {"kind": "dense_probe", "params": freeze(self.params), "main": "scores"} | frames

    @property
    def markers(self) -> list[str]:
        """Markers that it reads, in order."""
        return [str(marker) for marker in self.panel["marker"]]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the probe to one file (`.npz`): numbers and text, no code, no path of this machine.

        Parameters
        ----------
        path
            Of the file; an existing one is replaced once the new one is on the disk, and stays if writing fails.
        """
        plain = {name: getattr(self, name) for name in _PLAIN}
        frames = {
            name: json.loads(getattr(self, name).to_json(orient="split", double_precision=15)) for name in _FRAMES
        }
        text = json.dumps({"format": _FORMAT, "frames": frames} | plain, default=_as_json)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        buffer = BytesIO()
        np.savez_compressed(buffer, meta=np.frombuffer(text.encode(), np.uint8), **arrays)

        # beside its place first, so that a full disk or a crash leaves the old file as it is
        target = Path(path)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        write_whole(part, buffer.getvalue())
        try:
            part.replace(target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a probe that :meth:`save` wrote; a ValueError for any other file.

        Files of versions that had fewer scores are read, and the scores computed from the regions they hold.

        Parameters
        ----------
        path
            Of the file.
        """
        fix = "Write one with probe.save(path), or train one with tl.dense_probe."
        # no pickles: a file from somewhere else may run no code
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
                meta = json.loads(file["meta"].tobytes().decode())
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, OSError, EOFError) as error:
            msg = f"{Path(path).name!r} holds no dense probe ({type(error).__name__}: {error}). {fix}"
            raise ValueError(msg) from error
        if meta.get("format") != _FORMAT:
            msg = (
                f"{Path(path).name!r} has the format {meta.get('format')!r}; this version reads {_FORMAT}. Train the "
                "probe again with tl.dense_probe."
            )
            raise ValueError(msg)

        frames = {
            name: pd.read_json(StringIO(json.dumps(meta["frames"][name])), orient="split", dtype=False)
            for name in _FRAMES
        }
        plain = {name: meta[name] for name in _PLAIN}
        probe = cls(**arrays, **frames, **plain | {"classes": tuple(plain["classes"])})
        return replace(
            probe, scores=tables.with_later_scores(probe.scores, probe.regions, probe.classes, probe.positive)
        )

    def record(self) -> dict[str, Any]:
        """Return what a map remembers of the probe, in a form that `uns` can hold."""
        return freeze(
            {
                "model": self.model,
                "panel": self.panel,
                "classes": list(self.classes),
                "patch_size": self.patch_size,
                "overlap": self.overlap,
                "preset": self.preset,
                "C": self.C,
                "max_value": self.max_value,
                "mpp": self.mpp,
            }
        )

    def __repr__(self) -> str:
        preset = f"; preset {self.preset!r}" if self.preset else ""
        lines = [
            f"DenseProbe of {len(self.classes)} classes ({listed(self.classes)}) on tokens of {self.model['name']!r}",
            f"    markers: {', '.join(self.markers)}; windows of {self.patch_size} pixels, overlap {self.overlap:g}"
            f"{preset}",
        ]
        for row in self.scores[self.scores["fold"] == "all"].itertuples():
            interval = ""
            few = ", too few for an interval"
            if np.isfinite(row.auroc_low):
                interval = f" [{row.auroc_low:.3f}, {row.auroc_high:.3f}]"
                few = ""
            lines.append(
                f"    {row.representation}: balanced accuracy {row.balanced_accuracy:.3f}, AUROC "
                f"{row.auroc:.3f}{interval}, {row.n_regions} regions in {row.n_groups} groups{few}"
            )
        if self.positive is not None:
            lines.append(
                f"    F1 and average precision of {self.positive!r} are in probe.scores, mean and sd over folds in "
                "probe.summary"
            )
        return "\n".join(lines)


def _as_json(value: Any) -> Any:
    """Return numbers and arrays of numpy as plain ones."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | tuple | set):
        return list(value)
    msg = f"A probe cannot hold {type(value).__name__}; use text, numbers or lists of them."
    raise TypeError(msg)
