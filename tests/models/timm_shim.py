"""timm, even where the torchvision beside it was built for another torch."""

from __future__ import annotations

import importlib
import re
import sys

import pytest

_LIBRARIES = []  # operators vanish with the library that declared them


def timm():
    """Return the package timm, or skip the test where there is none.

    A torchvision that does not fit torch asks, in Python, for operators that its library never declared. Declaring
    their names is enough for timm, which calls none of them.
    """
    for _ in range(32):
        try:
            importlib.import_module("torchvision")
            return importlib.import_module("timm")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                pytest.skip(f"timm does not import: {error}")
            _declare(missing[1])
        except ImportError as error:
            pytest.skip(f"timm does not import: {error}")
    pytest.skip("torchvision asks for more operators than are worth declaring")


def _declare(name: str) -> None:
    """Declare an operator, and forget what was imported half-way."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(f"{name}(Tensor x) -> Tensor")
    _LIBRARIES.append(library)
    for module in [module for module in sys.modules if module.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[module]
