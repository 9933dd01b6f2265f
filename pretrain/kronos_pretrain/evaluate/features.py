"""Labelled patches → frozen features, spread over the processes of a run; no weight is ever touched."""

# Shapes: n patches, m markers, h × w pixels, d width, r × c tokens per marker.
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from kronos_pretrain.losses.processes import count, gathered
from kronos_sc._core.arrays import writable
from kronos_sc._core.checks import listed
from kronos_sc._core.log import info
from kronos_sc._core.progress import track
from kronos_sc.markers import match
from kronos_sc.markers._lost import names_left_out, stains_left_out
from kronos_sc.markers._one_each import is_second
from kronos_sc.models import Features

if TYPE_CHECKING:
    import pandas as pd

    from kronos_pretrain.evaluate.labelled import Labelled
    from kronos_sc.markers import Vocabulary

Encode = Callable[[torch.Tensor, torch.Tensor], Features]


class EvaluationPanel(NamedTuple):
    """The markers of labelled patches that the model knows.

    Parameters
    ----------
    planes
        Positions among the patches' markers (m,).
    ids
        Marker ids (m,).
    mean, std
        Statistics of the vocabulary (m,), of pixels scaled to [0, 1].
    nuclear
        Which of them are nuclear stains (m,), bool.
    """

    planes: np.ndarray
    ids: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    nuclear: np.ndarray


class Frozen(NamedTuple):
    """Features of labelled patches, float32, one row each.

    Parameters
    ----------
    cls
        Class tokens (n, d).
    marker
        Means of each marker's tokens (n, m · d).
    mean
        Mean intensity of each marker after its z-score (n, m): what one gets without a network.
    """

    cls: torch.Tensor
    marker: torch.Tensor
    mean: torch.Tensor


def panel_of(labelled: Labelled, vocabulary: Vocabulary) -> EvaluationPanel:
    """Match the patches' markers by name; those that the model does not know are left out.

    Of several channels that are one marker, the one that is called exactly like it is taken, of nuclear stains the
    first, and the log says so.

    Raises
    ------
    ValueError
        No marker is known, or several channels are one marker and none, or more than one, is called like it.
    """
    panel = match(labelled.markers, vocabulary)
    kept = (panel["id"] >= 0) & np.isfinite(panel["mean"]) & np.isfinite(panel["std"])
    _one_each(panel[kept], labelled.name)
    if not kept.any():
        msg = (
            f"None of the {len(panel)} markers of {labelled.name!r} is among the {len(vocabulary)} of "
            f"{vocabulary.name!r}: {listed(panel['channel'])}. Name the patches' markers as the corpus does."
        )
        raise ValueError(msg)
    for remark in filter(None, (stains_left_out(panel), names_left_out(panel))):
        info(f"{labelled.name}: {remark}")
    if (unknown := ~kept & ~is_second(panel)).any():
        info(
            f"{labelled.name}: markers that the model does not know are left out: "
            f"{listed(panel['channel'][unknown], most=60)}"
        )
    used = panel[kept]
    return EvaluationPanel(
        planes=np.flatnonzero(kept),
        ids=used["id"].to_numpy(),
        mean=used["mean"].to_numpy(),
        std=used["std"].to_numpy(),
        nuclear=(used["role"] == "nuclear").to_numpy(),
    )


def _one_each(used: pd.DataFrame, name: str) -> None:
    """Raise a ValueError where several channels are one marker, and none of them is called like it."""
    again = used["id"].duplicated()
    if not again.any():
        return
    several = used[used["id"].isin(used.loc[again, "id"])].groupby("marker", sort=False)["channel"].agg(list)
    names = "; ".join(f"{marker} is {listed(channels)}" for marker, channels in several.items())
    drop = " ".join(f'--channel "{channel}="' for channels in several for channel in channels[1:])
    msg = (
        f"Several channels of {name!r} are one marker: {names}. Cut the patches again; to keep the first of each: "
        f"python -m kronos_pretrain labelled … {drop}"
    )
    raise ValueError(msg)


def normalised(
    labelled: Labelled, panel: EvaluationPanel, rows: np.ndarray, device: torch.device | str, *, masked: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels after the z-score (n, m, h, w), and marker ids (n, m).

    With `masked`, pixels outside the mask have the marker's mean, which is 0.
    """
    pixels = torch.from_numpy(writable(labelled.pixels[rows][:, panel.planes], np.float32)).to(device)
    # (x / scale − mean) / std in one pass
    gain = torch.from_numpy(writable(1 / (labelled.scale * panel.std), np.float32)).to(device)
    shift = torch.from_numpy(writable(-panel.mean / panel.std, np.float32)).to(device)
    pixels = torch.addcmul(shift[:, None, None], pixels, gain[:, None, None])
    if masked and labelled.mask is not None:
        pixels = pixels * torch.from_numpy(writable(labelled.mask[rows])).to(device)[:, None]
    return pixels, torch.from_numpy(writable(panel.ids)).to(device).expand(len(rows), -1)


@torch.no_grad()
def frozen(
    encode: Encode, labelled: Labelled, panel: EvaluationPanel, *, device: torch.device | str = "cpu", batch: int = 64
) -> Frozen:
    """Encode every patch.

    Each process encodes its share, in equally many passes (networks that are sharded need that), and all get the
    features of all.

    Parameters
    ----------
    encode
        Pixels (b, m, h, w) and marker ids (b, m) → features; the network behind it may be sharded.
    labelled
        What to encode.
    panel
        Its markers.
    device
        Where the network is.
    batch
        Patches per pass.
    """
    n = len(labelled)
    share = -(-n // count())
    # the last process begins again at the first patch, so that all have equally many
    own_rows = np.arange(share * _rank(), share * (_rank() + 1)) % n
    parts = []
    for start in track(range(0, share, batch), description="evaluate", unit="batch"):
        rows = own_rows[start : start + batch]
        pixels, ids = normalised(labelled, panel, rows, device)
        features = encode(pixels, ids)
        parts.append((features.cls.float(), features.markers.float().flatten(1), _means(labelled, rows, pixels)))
    return Frozen(*(gathered(torch.cat(part).contiguous())[:n] for part in zip(*parts, strict=True)))


def _means(labelled: Labelled, rows: np.ndarray, pixels: torch.Tensor) -> torch.Tensor:
    """Return the mean of each marker over the pixels that count."""
    if labelled.mask is None:
        return pixels.mean((2, 3))
    area = torch.from_numpy(writable(labelled.mask[rows].sum((1, 2)).clip(min=1))).to(pixels.device, pixels.dtype)
    return pixels.sum((2, 3)) / area[:, None]


def _rank() -> int:
    return torch.distributed.get_rank() if count() > 1 else 0
