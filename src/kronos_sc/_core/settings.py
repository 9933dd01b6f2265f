"""Settings of the package, one object, changed by assignment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

from kronos_sc._core.checks import positive_integer

_MIB = 2**20


def _default_cache() -> Path:
    root = os.environ.get("KRONOS_SC_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "kronos_sc"
    return Path(root).expanduser()


@dataclass
class Settings:
    """Package-wide settings; assign to an attribute to change one.

    Attributes
    ----------
    progress
        Show progress bars on whatever can take more than two seconds.
    verbosity
        0 errors, 1 warnings, 2 what was found and added (default), 3 details.
    block_memory
        Bytes of pixels one block may hold (decoded, selected channels). Larger blocks mean fewer, larger reads and more
        memory; results do not depend on it.
    memory
        Bytes that the features of one embedding may take in memory; larger ones go to a store on disk
        (`tl.embed(store=...)`). A quarter of the machine's memory, or of what the job was given, if None.
    read_threads
        Threads that decode chunks of one block at the same time.
    cache_dir
        Where downloaded public data is kept; models stay in the Hugging Face cache.
    """

    progress: bool = True
    verbosity: int = 2
    block_memory: int = 64 * _MIB
    memory: int | None = None
    read_threads: int = field(default_factory=lambda: min(8, os.cpu_count() or 1))
    cache_dir: Path = field(default_factory=_default_cache)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse numbers that could not work, where they are set and not hours later."""
        if name in ("block_memory", "read_threads"):
            value = positive_integer(value, name=f"settings.{name}")
        elif name == "memory" and value is not None and not _is_size(value):
            msg = (
                "settings.memory must be a number of bytes, 0 or more, or None for a quarter of the machine's; got "
                f"{value!r}."
            )
            raise ValueError(msg)
        super().__setattr__(name, value)


def _is_size(value: object) -> bool:
    """Whether a value is a number of bytes; to Python, True is the number 1, and to a user a mistake."""
    return not isinstance(value, bool) and isinstance(value, Real) and float(value) >= 0


settings = Settings()


def feature_memory() -> float:
    """Return how many bytes of features may stay in memory: `settings.memory`, or a quarter of what there is."""
    if settings.memory is not None:
        return settings.memory
    from distributed.system import memory_limit

    return memory_limit() // 4
