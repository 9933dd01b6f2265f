import subprocess
import sys

import pytest
from matplotlib import pyplot as plt

from kronos_sc import pl, pp


def test_import_loads_nothing_heavy():
    code = (
        "import sys, kronos_sc.pl; "
        "print([m for m in ('torch', 'matplotlib.pyplot', 'spatialdata', 'scanpy', 'kronos_sc.tl', 'kronos_sc.models') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["image", "patches", "spatial", "markers"])
def test_given_axes_are_drawn_on_and_returned(name, sdata, ax):
    before = plt.get_fignums()
    plots = {
        "image": lambda: pl.image(sdata, ax=ax),
        "patches": lambda: pl.patches(sdata, n=3, ax=ax),
        "spatial": lambda: pl.spatial(sdata, "cell_type", ax=ax)[0, 0],
        "markers": lambda: pl.markers(pp.match_markers(sdata), ax=ax),
    }
    assert plots[name]() is ax
    assert plt.get_fignums() == before
    ax.figure.canvas.draw()


def test_every_public_function_takes_at_most_twelve_parameters():
    import inspect

    for name in pl.__all__:
        most = (
            13 if name == "spatial" else 12
        )  # what, on what and how units are drawn; see tests/architecture/test_budgets.py
        assert len(inspect.signature(getattr(pl, name)).parameters) <= most, name


def test_without_axes_one_figure_is_made(sdata):
    before = len(plt.get_fignums())
    pl.image(sdata)
    assert len(plt.get_fignums()) == before + 1


@pytest.mark.parametrize("name", ["image", "patches"])
def test_a_table_has_no_pixels(name, sdata):
    with pytest.raises(TypeError, match="Expected a SpatialData, got AnnData; pixels are needed"):
        getattr(pl, name)(sdata["table"])
