"""Windows of any size → the size that a vision backbone takes, and where its tokens then lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kronos_sc._core.checks import one_of
from kronos_sc.models._model import TokenGrid

if TYPE_CHECKING:
    import torch

FITS = ("crop", "resize")


@dataclass(frozen=True)
class Fit:
    """How square windows reach a size that a network takes.

    Parameters
    ----------
    name
        Of the model, for messages.
    mode
        `"crop"`: the largest multiple of the patch around the centre, as in the paper (Online Methods, Evaluation
        baselines); `"resize"`: the nearest multiple, by bilinear interpolation (antialiased).
    patch
        Edge of a patch in pixels; sizes are multiples of it.
    fixed_size
        The one size that the network takes; None if any multiple fits.
    """

    name: str
    mode: str
    patch: int
    fixed_size: int | None = None

    def __post_init__(self) -> None:
        one_of(self.mode, FITS, name="fit")

    def size(self, window: int) -> int:
        """Return the edge of the network's input for windows of an edge.

        A ValueError for one that is too small to be cut.
        """
        least = self.fixed_size or self.patch
        if self.mode == "crop":
            if window < least:
                msg = (
                    f"Windows of {window} pixels are smaller than what {self.name!r} takes at least: {least}. "
                    f"Take patch_size={least} or more, or load the model with fit='resize'."
                )
                raise ValueError(msg)
            return self.fixed_size or window // self.patch * self.patch
        return self.fixed_size or max(1, round(window / self.patch)) * self.patch

    def corner(self, window: int) -> int:
        """Return the first row and column that is kept by a crop.

        Of an odd surplus the halves are rounded to even, as torchvision does.
        """
        return round((window - self.size(window)) / 2)

    def __call__(self, pixels_bmhw: torch.Tensor) -> torch.Tensor:
        """Return windows of the size that the network takes."""
        from torch.nn import functional

        window = pixels_bmhw.shape[-1]
        size = self.size(window)
        if size == window:
            return pixels_bmhw
        if self.mode == "crop":
            start = self.corner(window)
            kept = slice(start, start + size)
            return pixels_bmhw[..., kept, kept]
        resized = functional.interpolate(
            pixels_bmhw.float(), (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        return resized.to(pixels_bmhw.dtype)

    def token_grid(self, window: int, step: int) -> TokenGrid:
        """Return where tokens of `step` pixels of the network's input lie in a window.

        A ValueError if not on whole pixels of it.
        """
        size = self.size(window)
        if self.mode == "crop" and size % step == 0:
            return TokenGrid(size // step, step, self.corner(window) + step / 2)
        count = -(-size // step)
        if size % step or window % count:
            # a network of one size has as many tokens whatever the window, another one as many as fit
            multiple = step if self.fixed_size is None else count
            msg = (
                f"Tokens of {self.name!r} do not lie on whole pixels of windows of {window} pixels with "
                f"fit={self.mode!r}. For maps take windows of multiples of {multiple} pixels."
            )
            raise ValueError(msg)
        return TokenGrid(count, window // count, window / count / 2)
