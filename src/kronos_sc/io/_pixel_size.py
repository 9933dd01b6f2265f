"""Record the pixel size: a transformation to a coordinate system whose unit is one micrometre."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_sc._core.checks import known, listed
from kronos_sc._core.keys import MICROMETRE
from kronos_sc._core.log import info
from kronos_sc._core.resolve import require_spatialdata
from kronos_sc.io._units import given_mpp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spatialdata import SpatialData
    from spatialdata.transformations import Scale


def micrometre_scale(mpp: tuple[float, float]) -> Scale:
    """Return the transformation from pixels to micrometres, `mpp` as (y, x)."""
    from spatialdata.transformations import Scale

    return Scale(list(mpp), axes=("y", "x"))


def set_pixel_size(
    sdata: SpatialData, mpp: float | tuple[float, float], *, elements: str | Sequence[str] | None = None
) -> None:
    """Record the size of a pixel in micrometres.

    Models expect tissue at one resolution; with the pixel size recorded, images can be brought to it. It is kept as a
    transformation to the coordinate system `"um"`, whose unit is one micrometre. Elements that are not on the pixel
    grid of "global" (labels at half resolution, say) keep their place on it: their way to "um" goes through "global".

    Parameters
    ----------
    sdata
        Changed in place, in memory; `sdata.write_transformations()` writes it to the store it was read from.
    mpp
        Micrometres per pixel (unit of "global"): one number, or two as (y, x). Replaces what was recorded before.
    elements
        Names of images, labels or shapes; all of them by default.

    Returns
    -------
    `None`. Sets the transformation to `"um"` of each element.

    Raises
    ------
    ValueError
        `mpp` is not positive and finite, or there is no element to set it on.
    KeyError
        An element of that name does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from spatialdata import SpatialData
    >>> from spatialdata.models import Image2DModel
    >>> import kronos_sc as ks
    >>> sdata = SpatialData(images={"image": Image2DModel.parse(np.zeros((1, 4, 4)))})
    >>> ks.io.set_pixel_size(sdata, 0.5)
    >>> sorted(sdata.coordinate_systems)
    ['global', 'um']
    """
    from spatialdata.transformations import Identity, get_transformation, set_transformation
    from spatialdata.transformations import Sequence as Chain

    require_spatialdata(sdata)
    size = given_mpp(mpp)
    available = {name: element for kind in (sdata.images, sdata.labels, sdata.shapes) for name, element in kind.items()}
    if elements is None:
        names = list(available)
    elif isinstance(elements, str):
        names = [elements]
    else:
        names = list(elements)
    for name in names:
        known(
            name,
            available,
            what="image, labels or shapes element",
            fix="Correct elements=, or leave it out for all of them.",
        )
    if not names:
        msg = (
            f"There is no element to set a pixel size on: images, labels and shapes hold {listed(available)}. "
            "Name some with elements=, or add an image first."
        )
        raise ValueError(msg)
    for name in names:
        to_global = get_transformation(available[name], get_all=True).get("global", Identity())
        transformation = micrometre_scale(size)
        if not isinstance(to_global, Identity):
            transformation = Chain([to_global, transformation])
        set_transformation(available[name], transformation, to_coordinate_system=MICROMETRE)
    info(f"pixel size {size[0]:g} × {size[1]:g} µm recorded on {listed(names)}")
