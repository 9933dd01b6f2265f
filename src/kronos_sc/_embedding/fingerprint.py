"""What makes two calls the same: model, panel, parameters, pixels, units.

A store goes on only with the call that began it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from kronos_sc import patches
from kronos_sc._store import names_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kronos_sc import models
    from kronos_sc._embedding.jobs import RegionJob
    from kronos_sc._embedding.request import EmbedPlan

_N_WINDOWS = 16  # windows per image whose pixels are compared
_NOT_COMPARED = ("licence", "trained", "source")
_GATE_PARAMETERS = ("require_nuclear",)  # parameters that stop a call or let it pass, and change no feature


def fingerprint(plan: EmbedPlan, parameters: dict[str, Any], *, precision: str) -> dict[str, Any]:
    """Return what makes a call itself, in plain values; cheap: of the pixels a few windows are read."""
    model = plan.request.model
    names = plan.request.table.obs_names
    panel = plan.used[["channel", "marker", "id", "mean", "std"]].itertuples(index=False)
    facts = {key: _plain(value) for key, value in model.facts.items() if key not in _NOT_COMPARED}
    compared_parameters = {key: _plain(value) for key, value in parameters.items() if key not in _GATE_PARAMETERS}
    return {
        "model": facts | {"weights sha256": _weights_sha256(model)},
        "panel": [
            [str(channel), str(marker), int(number), float(mean), float(std)]
            for channel, marker, number, mean, std in panel
        ],
        "parameters": compared_parameters | {"precision": precision},
        "regions": {job.units.region: _region_facts(job) for job in plan.jobs},
        "table": {"rows": len(names), "obs_names sha256": names_sha256(names)},
    }


def comparable(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Return what must agree of a fingerprint; stores of earlier versions hold more."""
    parameters = fingerprint.get("parameters") or {}
    compared = {key: value for key, value in parameters.items() if key not in _GATE_PARAMETERS}
    return fingerprint | {"parameters": compared}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray | range):
        return [_plain(item) for item in value]
    return value


def _weights_sha256(model: models.Model) -> str:
    """Return a checksum of the numbers themselves: a model may have been changed since it was loaded."""
    if model.net is None:
        return ""
    tensors = model.net.state_dict().values()
    return _sha256_of(*(tensor.detach().cpu().contiguous().view(-1).float().numpy() for tensor in tensors))


def _region_facts(job: RegionJob) -> dict[str, Any]:
    units = job.units
    image = job.plan.image
    # all that decides which pixels are read, and which of them belong to a unit
    arrays = [units.rows, units.y, units.x, *(values for values in (units.ids, units.area) if values is not None)]
    return {
        "image": image.name,
        "size": list(image.shape),
        "dtype": image.data.dtype.newbyteorder("=").name,
        "window": units.size,
        "units sha256": _sha256_of(*(np.ascontiguousarray(values, "<i8") for values in arrays)),
        "pixels sha256": _sha256_of(*_samples(job.plan, units)),
    }


def _samples(plan: patches.ReadPlan, units: patches.Units) -> Iterator[np.ndarray]:
    """Yield raw pixels of evenly spread windows; the channels take turns."""
    # spread over the image from top to bottom, whatever the order of the table
    order = np.lexsort((units.x, units.y))
    sampled = order[np.linspace(0, len(units) - 1, min(_N_WINDOWS, len(units))).astype(int)]
    image = patches.Rect(0, plan.image.shape[0], 0, plan.image.shape[1])
    samples = []
    for turn, unit in enumerate(sampled.tolist()):
        y = int(units.y[unit])
        x = int(units.x[unit])
        if inside := patches.Rect(y, y + units.size, x, x + units.size).meet(image):
            samples.append((plan.channels[turn % len(plan.channels)], inside))
    for pixels in patches.windows(plan, samples):
        yield np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))


def _sha256_of(*parts: np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
