"""The simulated images as one SpatialData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pandas as pd
from anndata import AnnData
from spatialdata import SpatialData
from spatialdata.models import Image2DModel, Labels2DModel, TableModel
from spatialdata.transformations import Identity, Scale

from kronos_sc._core.colors import class_colors
from kronos_sc.datasets._sim.phenotypes import REGIONS
from kronos_sc.datasets._sim.study import stain

if TYPE_CHECKING:
    from kronos_sc.datasets._sim.simulate import Simulated, TissueSettings
    from kronos_sc.datasets._sim.streams import Streams
    from kronos_sc.datasets._sim.study import Sample

CHUNK = 512


def _transformations(mpp: float) -> dict[str, Any]:
    """Return pixels as `global` and micrometres as `um`."""
    return {"global": Identity(), "um": Scale([mpp, mpp], axes=("y", "x"))}


def _image(pixels: np.ndarray, settings: TissueSettings) -> Any:
    """Return an image element, one channel to a chunk, so that a reader of few channels reads few bytes."""
    lazy = da.from_array(pixels, chunks=(1, CHUNK, CHUNK))
    return Image2DModel.parse(
        lazy, dims=("c", "y", "x"), c_coords=list(settings.channels), transformations=_transformations(settings.mpp)
    )


def _labels(labels: np.ndarray, mpp: float) -> Any:
    """Return a labels element."""
    return Labels2DModel.parse(
        da.from_array(labels, chunks=(CHUNK, CHUNK)), dims=("y", "x"), transformations=_transformations(mpp)
    )


def _table(images: list[Simulated], elements: list[str], settings: TissueSettings) -> AnnData:
    """Return one table that annotates every labels element."""
    frames = []
    for image, element in zip(images, elements, strict=True):
        frame = image.obs.copy()
        frame.insert(1, "element", element)
        frame.index = [f"{element}_{number}" for number in frame["cell_id"]]
        frames.append(frame)
    obs = pd.concat(frames)
    for column in ("element", "donor", "batch"):
        # In order of first appearance: the alphabet would put donor_10 before donor_2.
        obs[column] = pd.Categorical(obs[column], categories=list(dict.fromkeys(obs[column])))
    table = AnnData(
        X=np.concatenate([image.observed for image in images]),
        obs=obs,
        var=pd.DataFrame(index=list(settings.channels)),
        obsm={"spatial": np.concatenate([image.centres for image in images])},
        layers={"truth": np.concatenate([image.truth for image in images])},
    )
    return TableModel.parse(
        table, region=elements if len(elements) > 1 else elements[0], region_key="element", instance_key="cell_id"
    )


def _region_table(images: list[Simulated], elements: list[str]) -> AnnData:
    """Return what each code of the compartments means, a row per code and image.

    In the columns in which `tl.predict_map` names the classes of a map.
    """
    pixels = np.stack([np.bincount(image.regions.ravel(), minlength=len(REGIONS) + 1)[1:] for image in images])
    obs = pd.DataFrame(
        {
            "region": pd.Categorical(np.repeat(elements, len(REGIONS)), categories=elements),
            "label": np.tile(np.arange(1, len(REGIONS) + 1), len(elements)),
            "class": pd.Categorical(np.tile(REGIONS, len(elements)), categories=list(REGIONS)),
            "area": pixels.ravel(),
            "share": (pixels / pixels.sum(axis=1, keepdims=True)).ravel(),
        }
    )
    obs.index = [f"{element}_{label}" for element, label in zip(obs["region"], obs["label"], strict=True)]
    table = TableModel.parse(
        AnnData(obs=obs),
        region=elements if len(elements) > 1 else elements[0],
        region_key="region",
        instance_key="label",
    )
    table.uns["class_colors"] = np.array(class_colors(len(REGIONS)), dtype=object)
    return table


def _record(settings: TissueSettings, samples: list[Sample], *, group_effect: float, seed: object) -> dict[str, Any]:
    """Return the arguments in types that survive writing."""
    return {
        "shape": np.array(settings.shape),
        "bit_depth": settings.bit_depth,
        "mpp": settings.mpp,
        "n_images": len(samples),
        "group_effect": group_effect,
        "batch_effect": settings.batch_effect,
        "artifacts": ", ".join(settings.artifacts),
        "rng": seed if type(seed) is int and abs(seed) < 2**63 else str(seed),
    }


def assemble(
    streams: Streams,
    settings: TissueSettings,
    samples: list[Sample],
    images: list[Simulated],
    *,
    group_effect: float,
    seed: object,
) -> SpatialData:
    """Put images, labels, masks of artifacts and compartments, and the tables together."""
    suffixes = [""] if len(images) == 1 else [f"_{number}" for number in range(len(images))]
    table = _table(images, [f"cells{suffix}" for suffix in suffixes], settings)

    # gain and background of each channel in each batch, as the pixels were made with
    batches = table.obs["batch"].cat.categories
    lots = [
        [stain(streams, channel, batch, batch_effect=settings.batch_effect) for batch in batches]
        for channel in settings.channels
    ]
    table.varm["gain"] = np.array([[lot.gain for lot in row] for row in lots])
    table.varm["background"] = np.array([[lot.background for lot in row] for row in lots])
    table.uns["tissue"] = _record(settings, samples, group_effect=group_effect, seed=seed)

    named = list(zip(suffixes, images, strict=True))
    pixels = {f"image{suffix}": _image(image.pixels, settings) for suffix, image in named}
    labels = {f"cells{suffix}": _labels(image.labels, settings.mpp) for suffix, image in named}
    tables = {"table": table}
    if settings.artifacts:
        labels |= {f"artifacts{suffix}": _labels(image.artifacts, settings.mpp) for suffix, image in named}
    if settings.regions:
        labels |= {f"regions{suffix}": _labels(image.regions, settings.mpp) for suffix, image in named}
        tables["regions_table"] = _region_table(images, [f"regions{suffix}" for suffix in suffixes])
    return SpatialData(images=pixels, labels=labels, tables=tables)
