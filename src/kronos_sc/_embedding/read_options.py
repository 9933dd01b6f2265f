"""What of the pixels is read, and how: the choices that every reader of pixels shares, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict

from kronos_sc import patches
from kronos_sc._core.checks import listed, near, one_of, positive_integer
from kronos_sc.models.inference import placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import torch
    from spatialdata import SpatialData


class ReadKeywords(TypedDict, total=False):
    """The fields of :class:`ReadOptions`, for signatures that take them as keywords."""

    image_key: str | Mapping[str, str] | None
    labels_key: str | None
    shapes_key: str | None
    table_key: str | None
    spatial_key: str | None
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None
    exclude: str | Sequence[str] | Mapping[str, Any] | None
    patch_size: int | None
    mask_fill: str | None
    token_overlap: bool | None
    scale: str | None
    mpp: float | None
    max_value: float | None
    nan: str
    require_nuclear: bool
    precision: str
    batch_size: int | None
    device: str | torch.device | None


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadOptions:
    """Which units and pixels are read, and how; each is what :func:`kronos_sc.tl.embed` says of it.

    Raises
    ------
    ValueError
        A value that is not among the choices; the others are checked where the data are at hand.
    """

    image_key: str | Mapping[str, str] | None = None
    labels_key: str | None = None
    shapes_key: str | None = None
    table_key: str | None = None
    spatial_key: str | None = None
    channels: Mapping[str, str | None] | Sequence[str] | pd.DataFrame | None = None
    exclude: str | Sequence[str] | Mapping[str, Any] | None = None
    patch_size: int | None = None
    mask_fill: str | None = "mean"
    token_overlap: bool | None = None
    scale: str | None = None
    mpp: float | None = None
    max_value: float | None = None
    nan: str = "error"
    require_nuclear: bool = True
    precision: str = "auto"
    batch_size: int | None = None
    device: str | torch.device | None = None

    def __post_init__(self) -> None:
        one_of(self.mask_fill, ("mean", "zero", None), name="mask_fill")
        one_of(self.nan, ("error", "zero"), name="nan")
        one_of(self.precision, placement.PRECISIONS, name="precision")
        for name in ("batch_size", "patch_size"):
            value = getattr(self, name)
            if value is not None:
                positive_integer(value, name=name)

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> ReadOptions:
        """Return the options of keywords.

        One that `tl.embed` does not have, or that has no meaning here, is a TypeError.
        """
        known = [field.name for field in fields(cls)]
        for name in keywords:
            if name not in known:
                close = near(name, known)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                msg = (
                    f"There is no argument {name!r}; which units and pixels are read is said by "
                    f"{listed(known, most=20)}.{hint} See tl.embed."
                )
                raise TypeError(msg)
        return cls(**keywords)

    def find_target(self, sdata: SpatialData) -> patches.EmbedTarget:
        """Return the table, its regions and their images."""
        return patches.target(
            sdata,
            image_key=self.image_key,
            labels_key=self.labels_key,
            shapes_key=self.shapes_key,
            table=self.table_key,
            scale=self.scale,
        )

    @property
    def recorded(self) -> dict[str, Any]:
        """What a record keeps of them; the rest differs from region to region, or changes no result."""
        return {name: getattr(self, name) for name in ("scale", "mpp", "nan", "spatial_key", "require_nuclear")}
