"""Examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module

import matplotlib.pyplot as plt
import pytest

import kronos_sc as ks

EXAMPLES = {
    f"{room}.{name}": function
    for room in ks._NAMESPACES
    for name, function in vars(import_module(f"kronos_sc.{room}")).items()
    if name in import_module(f"kronos_sc.{room}").__all__ and ">>>" in (inspect.getdoc(function) or "")
}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 20


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(EXAMPLES[name]), {}, name, None, 0)
    found: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=found.append)
    plt.close("all")
    assert not found, "".join(found)
