"""One progress bar for the whole package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from kronos_sc._core.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tqdm.std import tqdm

T = TypeVar("T")


def bar(*, total: int | None = None, description: str = "", unit: str = "it") -> tqdm[Any]:
    """Return a tqdm bar, for a terminal or a notebook.

    It stays silent for the first second, and where `settings.progress` is off.
    """
    from tqdm.auto import tqdm as auto

    # said only if so: otherwise tqdm's own TQDM_DISABLE decides
    silent = {} if settings.progress else {"disable": True}
    return auto(total=total, desc=description, unit=unit, delay=1.0, leave=False, **silent)


def track(items: Iterable[T], *, total: int | None = None, description: str = "", unit: str = "it") -> Iterator[T]:
    """Yield `items` under a progress bar."""
    if total is None:
        total = getattr(items, "__len__", lambda: None)()
    with bar(total=total, description=description, unit=unit) as shown:
        for item in items:
            yield item
            shown.update()
