"""Encoders that go wrong on purpose; a module of its own, so that processes of a cluster can import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from kronos_sc.models.encoders.mean_marker import MeanMarker


class Counted(MeanMarker):
    """Mean expression that notes each pass in a folder, and misbehaves while the folder holds a file called `fault`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    @property
    def fault(self) -> Path:
        return self.folder / "fault"

    def passes(self) -> int:
        return len(list(self.folder.glob("pass-*")))

    def encode(self, pixels_bmhw, marker_ids_bm, mask_bhw, kinds):
        (self.folder / f"pass-{time.monotonic_ns()}-{os.getpid()}").touch()
        if self.fault.exists():
            self.misbehave(pixels_bmhw)
        return super().encode(pixels_bmhw, marker_ids_bm, mask_bhw, kinds)

    def misbehave(self, pixels_bmhw) -> None:
        """Nothing, here."""

    def once(self) -> bool:
        """Whether this is the first to ask."""
        try:
            self.fault.unlink()
        except FileNotFoundError:
            return False
        return True


class Slow(Counted):
    """Takes its time."""

    def misbehave(self, pixels_bmhw) -> None:
        time.sleep(0.4)


class Refuses(Counted):
    """Fails where a pixel is brighter than all others; as seen after masking, only one cell's is."""

    error: type[Exception] = RuntimeError

    def misbehave(self, pixels_bmhw) -> None:
        if float(pixels_bmhw.max()) > 0.9:
            raise self.error("too bright for me")


class RefusesValue(Refuses):
    """Leaves the driver time to hear of it."""

    error = ValueError

    def misbehave(self, pixels_bmhw) -> None:
        super().misbehave(pixels_bmhw)
        time.sleep(0.2)


class DiesOnce(Counted):
    """Kills its process, the first time."""

    def misbehave(self, pixels_bmhw) -> None:
        if self.once():
            os.kill(os.getpid(), signal.SIGKILL)


class Dies(Counted):
    """Kills its process wherever a bright pixel is."""

    def misbehave(self, pixels_bmhw) -> None:
        if float(pixels_bmhw.max()) > 0.9:
            os.kill(os.getpid(), signal.SIGKILL)


class EatsOnce(Counted):
    """Takes more memory than a worker may have, the first time, and waits to be found out."""

    def misbehave(self, pixels_bmhw) -> None:
        if self.once():
            eaten = bytearray(os.urandom(2**20) * 1700)
            time.sleep(20)
            del eaten
