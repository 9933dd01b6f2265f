import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

CHANNELS = ["DAPI", "CD8", "CYTOKERATIN", "CD20", "CD31", "COLLAGEN"]


@pytest.fixture(scope="session")
def tissue():
    from kronos_sc import datasets, settings, tl

    settings.progress = False
    sdata = datasets.tissue(shape=(160, 192), channels=CHANNELS, mpp=0.5, rng=3)
    tl.embed(sdata, model="mean-marker")
    return sdata


@pytest.fixture
def sdata(tissue):
    """The tissue with a table of its own."""
    from spatialdata import SpatialData

    return SpatialData(images=dict(tissue.images), labels=dict(tissue.labels), tables={"table": tissue["table"].copy()})


@pytest.fixture(scope="session")
def pair():
    from kronos_sc import datasets

    return datasets.tissue(shape=(96, 128), channels=CHANNELS[:3], n_images=2, rng=1)


@pytest.fixture
def ax():
    """Axes of a figure that pyplot does not know."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4))
    FigureCanvasAgg(figure)
    return figure.add_subplot()


@pytest.fixture(autouse=True)
def _figures_closed():
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def bars():
    """Return label and length of every scale bar on axes."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    def read(ax):
        found = [artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar)]
        return [(bar.txt_label.get_text(), bar.size_bar.get_children()[0].get_width()) for bar in found]

    return read


@pytest.fixture
def channel_names():
    """Return the channels that a legend names, and their colours."""
    from matplotlib.colors import to_hex
    from matplotlib.legend import Legend

    def read(ax):
        (legend,) = [artist for artist in ax.artists if isinstance(artist, Legend) and artist.get_label() == "channels"]
        return {text.get_text(): to_hex(text.get_color()) for text in legend.get_texts()}

    return read
