import pytest
from matplotlib.colors import to_rgba
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from kronos_sc.pl._scale_bar import bar_length, label, scale_bar


@pytest.mark.parametrize(("span", "length"), [(300, 50), (400, 100), (79, 10), (80, 20), (4000, 1000), (1, 0.2)])
def test_length_is_round_and_within_a_quarter(span, length):
    assert bar_length(span) == length
    assert length <= span / 4


def test_label():
    assert [label(length) for length in (0.5, 20, 1000, 5000)] == ["0.5 µm", "20 µm", "1 mm", "5 mm"]


@pytest.mark.parametrize(
    ("width", "mpp", "pixels", "text"),
    [(600, 0.5, 100, "50 µm"), (100, 1.0, 20, "20 µm"), (1000, 0.325, 50 / 0.325, "50 µm")],
)
def test_bar_has_the_right_number_of_pixels(ax, width, mpp, pixels, text):
    ax.set(xlim=(0, width), ylim=(width, 0))
    scale_bar(ax, mpp=mpp, color="white")
    (bar,) = [artist for artist in ax.artists if isinstance(artist, AnchoredSizeBar)]
    (rectangle,) = bar.size_bar.get_children()
    assert rectangle.get_width() == pytest.approx(pixels)
    assert bar.txt_label.get_text() == text
    assert to_rgba(rectangle.get_edgecolor()) == to_rgba("white")
    ax.figure.canvas.draw()
    drawn = bar.size_bar.get_window_extent(ax.figure.canvas.get_renderer()).width
    axes = ax.get_window_extent().width
    assert drawn == pytest.approx(axes * pixels / width, abs=3)


def test_where_is_checked(ax):
    with pytest.raises(ValueError, match="where='above' is not a choice"):
        scale_bar(ax, where="above")
