"""A probe meets an image: the same model, the same markers, windows of the same size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kronos_sc import markers, models, patches
from kronos_sc._core.checks import listed
from kronos_sc._core.warn import warn
from kronos_sc._dense.probe import DenseProbe
from kronos_sc._dense.windows import SAME_SIZE
from kronos_sc.models.encoders.timm import PREFIX as TIMM

if TYPE_CHECKING:
    import os

    import pandas as pd

    from kronos_sc.patches import Raster

_OPTIONS = ("blocks", "token_overlap", "fit")
_DESCRIPTIVE = ("name", "licence", "trained", "source")  # what does not change features


def require_probe(probe: Any) -> None:
    """Raise a TypeError unless this is a probe."""
    if not isinstance(probe, DenseProbe):
        msg = (
            f"A map is drawn with a DenseProbe, got {type(probe).__name__}. Train one with tl.dense_probe, or load one "
            "with tl.DenseProbe.load(path)."
        )
        raise TypeError(msg)


def encoder_of(probe: DenseProbe, model: str | os.PathLike[str] | models.Model | None) -> models.Model:
    """Return the network that a probe was trained with: as passed, or loaded by its name; another one is an error."""
    require_probe(probe)
    encoder = models.load(model) if model is not None else _by_name(probe)
    facts = _comparable(encoder.facts)
    probe_facts = _comparable(probe.model)
    if facts != probe_facts:
        differ = "; ".join(
            f"{key}: {facts.get(key)!r}, the probe's {probe_facts.get(key)!r}"
            for key in facts | probe_facts
            if facts.get(key) != probe_facts.get(key)
        )
        msg = (
            f"The probe was trained with {probe.model['name']!r}, and {encoder.card.name!r} is another model "
            f"({differ}). Features of one model mean nothing to a probe of another: pass the first with model=, or "
            "train again with tl.dense_probe."
        )
        raise ValueError(msg)
    return encoder


def _by_name(probe: DenseProbe) -> models.Model:
    """Load a model by the name, or the place on a hub, that the probe recorded."""
    name = str(probe.model["name"])
    source = str(probe.model.get("source", ""))
    from_file = source.startswith("file ")
    from_timm = name.startswith(TIMM)
    call = f", models.load({name!r}, weights=...)," if from_file else ""
    advice = f"Load it as in training{call} and pass it with model="

    # a name leads to the weights that its publisher offers, never to those of a file
    if from_timm and from_file:
        msg = (
            f"The probe was trained with {name!r} and the weights of a {source}, which no name leads to. {advice}; its "
            "sha256 is compared."
        )
        raise ValueError(msg)
    known = from_timm or name in models.list_models()
    if not known and not source.startswith("hf-hub:"):
        msg = (
            f"The probe was trained with {name!r}, which is no registered model ({listed(models.list_models())}). "
            "Load it from its folder and pass it: model=models.load(folder)."
        )
        raise ValueError(msg)

    # blocks and token overlap change the features, so the model is loaded with those of training
    options = {key: probe.model[key] for key in _OPTIONS if key in probe.model}
    try:
        return models.load(name if known else source, **options)
    except ConnectionError as error:  # its own words name arguments of models.load
        weights = "weights of the hub, which are neither in the local cache nor within reach"
        if from_file:
            weights = f"weights of a {source}"
        msg = f"The probe was trained with {name!r} and {weights}. {advice}; its sha256 is compared with the probe's."
        raise ConnectionError(msg) from error
    except PermissionError as error:
        msg = f"{error} Or: {advice[0].lower()}{advice[1:]}; its sha256 is compared with the probe's."
        raise PermissionError(msg) from error


def _comparable(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what tells networks apart; by name where there are no weights to sum."""
    compared = {}
    for key, value in facts.items():
        if key not in _DESCRIPTIVE:
            compared[key] = list(value) if isinstance(value, tuple) else value  # a saved probe holds lists
    if not compared.get("sha256"):
        compared["name"] = facts["name"]
    return compared


def panel_of(probe: DenseProbe, image: Raster, encoder: models.Model) -> pd.DataFrame:
    """Return the probe's panel with the image's names of its channels.

    A ValueError for markers that the image lacks.
    """
    panel = probe.panel.reset_index(drop=True)
    if set(panel["channel"]) <= set(image.channels):
        return panel
    matches = markers.match(image.channels, encoder.vocabulary)
    by_id = {row.id: row.channel for row in matches.itertuples() if row.id >= 0}
    names = []
    for row in panel.itertuples():
        if row.channel in image.channels:
            names.append(row.channel)
        elif row.how == "unseen":  # a free id means another marker in another image
            names.append(None)
        else:
            names.append(by_id.get(row.id))
    if lacking := [str(row.marker) for row, name in zip(panel.itertuples(), names, strict=True) if name is None]:
        msg = (
            f"Image {image.name!r} lacks markers that the probe reads: {listed(lacking)}. Its channels are "
            f"{listed(image.channels, most=60)}. Name channels as in training with "
            f"sdata.set_channel_names({image.name!r}, [...]), or train on the markers that both have."
        )
        raise ValueError(msg)
    return panel.assign(channel=names)


def warn_of_size(probe: DenseProbe, image: Raster) -> None:
    """Warn if the pixels of an image are of another size than those that a probe was trained on.

    Nothing where either is not known.
    """
    size = patches.pixel_size(image)
    if size is None or probe.mpp is None or max(size, probe.mpp) <= SAME_SIZE * min(size, probe.mpp):
        return
    warn(
        f"Image {image.name!r} has {size:g} µm per pixel, and the probe was trained at {probe.mpp:g}. Windows and "
        "tokens are counted in pixels, so that they show other lengths here, and the map may be wrong. Resample the "
        f"image to {probe.mpp:g} µm, or train on regions of such images."
    )
