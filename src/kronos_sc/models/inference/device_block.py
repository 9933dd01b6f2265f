"""Blocks on a device: moved once, as early as possible; windows and masks are cut there."""

# Shapes: b units, m markers, s source pixels.
from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from kronos_sc._core.arrays import writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


class DeviceTransfer:
    """How arrays reach a device and results come back.

    On CUDA, blocks travel from pinned memory on a stream of their own, while the stream that computes is busy with the
    block before; results travel into pinned memory behind the work that makes them. Elsewhere all of this is a plain
    copy, or none.

    Parameters
    ----------
    device
        Where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """Return an array on the device; on CUDA it may still be on its way (see `sent_event`, `wait`).

        Unsigned numbers travel as signed ones of the same width, whose operations exist everywhere.
        """
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.view(array.dtype.str.replace("u", "i"))
        if array.dtype == np.float64:  # half the bytes, and all that the network sees
            array = array.astype(np.float32)
        tensor = torch.from_numpy(writable(array))
        if self.copy_stream is None:
            return tensor.to(self.device)
        with torch.cuda.stream(self.copy_stream):
            # torch keeps the pinned copy until the transfer has passed
            return tensor.pin_memory().to(self.device, non_blocking=True)

    def sent_event(self) -> torch.cuda.Event | None:
        """Return an event behind all that was sent so far."""
        if self.copy_stream is None:
            return None
        return self.copy_stream.record_event()

    def wait(self, event: torch.cuda.Event | None, *tensors: torch.Tensor | None) -> None:
        """Let the computing stream wait for an event, and torch's allocator know that this stream uses the tensors."""
        if event is None:
            return
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(event)
        for tensor in tensors:
            if tensor is not None:
                tensor.record_stream(stream)

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a copy in the computer's memory; on CUDA it is there once an event of `fetched_event` has passed."""
        if self.copy_stream is None:
            return tensor.cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def fetched_event(self) -> torch.cuda.Event | None:
        """Return an event behind all that was asked for so far."""
        if self.copy_stream is None:
            return None
        return torch.cuda.current_stream(self.device).record_event()


class DeviceBlock:
    """One block on a device, from which batches are cut.

    Parameters
    ----------
    block
        A loaded block of :mod:`kronos_sc.patches`.
    transfer
        The way to the device.
    """

    def __init__(self, block: Any, transfer: DeviceTransfer) -> None:
        self.index = block.index
        self.units = block.units
        self.size = block.size
        self.inside = block.inside
        self.transfer = transfer
        # a signed view of 32 bits would turn bright pixels negative; one of 16 is turned back on the device
        pixels = block.pixels.astype(np.int64) if block.pixels.dtype == np.uint32 else block.pixels
        self.pixels = transfer.to_device(pixels)
        # corners go with the block: sent batch by batch, each would make the processor wait for the device
        self.y = transfer.to_device(block.y.astype(np.int64, copy=False))
        self.x = transfer.to_device(block.x.astype(np.int64, copy=False))
        self.labels: torch.Tensor | None = None
        self.ids: torch.Tensor | None = None
        if block.labels is not None:
            self.labels = transfer.to_device(block.labels)
            self.ids = transfer.to_device(block.ids.astype(block.labels.dtype))
        self.event = transfer.sent_event()

    def cut(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return raw windows (b, m, s, s) of some units and which of their pixels belong to the unit (b, s, s)."""
        if self.event is not None:
            self.transfer.wait(self.event, self.pixels, self.y, self.x, self.labels, self.ids)
            self.event = None
        y = self.y[part]
        x = self.x[part]
        return cut_windows(self.pixels, y, x, self.size), self._cut_masks(part, y, x)

    def _cut_masks(self, part: slice, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return masks: the unit's label, or the part of a box that lies on the image."""
        if self.labels is not None and self.ids is not None:
            return cut_windows(self.labels, y, x, self.size) == self.ids[part, None, None]
        top, bottom, left, right = self.inside
        grid = torch.arange(self.size, device=self.transfer.device)
        rows = grid + y[:, None]
        columns = grid + x[:, None]
        inside_y = (rows >= top) & (rows < bottom)
        inside_x = (columns >= left) & (columns < right)
        return inside_y[:, :, None] & inside_x[:, None, :]


def open_blocks(blocks: Iterable[Any], opener: Callable[[Any], T], *, ahead: bool) -> Iterator[T]:
    """Yield opened blocks.

    With `ahead`, the next one is already on its way to the device while the caller uses this one.
    """
    previous: T | None = None
    for block in blocks:
        try:
            current = opener(block)
        except torch.OutOfMemoryError as error:
            error.add_note(
                "A block of pixels does not fit the device's memory. Lower kronos_sc.settings.block_memory, or choose "
                "device='cpu'."
            )
            raise
        if not ahead:
            yield current
            continue
        if previous is not None:
            yield previous
        previous = current
    if previous is not None:
        yield previous


def cut_windows(plane: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: int) -> torch.Tensor:
    """Return windows (b, m, s, s) of pixels (m, h, w), or (b, s, s) of labels (h, w)."""
    if plane.device.type == "cuda":
        return gather_windows(plane, y, x, size)
    corners = zip(y.tolist(), x.tolist(), strict=True)
    return torch.stack([plane[..., i : i + size, j : j + size] for i, j in corners])


def gather_windows(plane: torch.Tensor, y: torch.Tensor, x: torch.Tensor, size: int) -> torch.Tensor:
    """Return the same by one gather: a view of every possible window, indexed by the corners."""
    height, width = plane.shape[-2:]
    lead = plane.shape[:-2]
    strides = (width, 1, *plane.stride()[:-2], width, 1)
    return plane.as_strided((height - size + 1, width - size + 1, *lead, size, size), strides)[y, x]
