"""Names of elements that belong together, as a property of how people name them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from kronos_sc._core.pairing import contradict, fitting
from kronos_sc._core.resolve import image_of

SCHEMES = [
    "{kind}_{n}",
    "{n}_{kind}",
    "{kind}{n}",
    "{n}{kind}",
    "{kind}-{n}",
    "{kind}.{n}",
    "ROI{n:03d}_{kind}",
    "{kind}_ROI{n:03d}",
    "core-{n} {kind}",
    "slide_2_{kind}_{n}",
    "slide2_roi{n}_{kind}",
    "roi{n}_slide2_{kind}",
    "A{n}_{kind}",
    "{kind}_{n}B",
    "TMA3_A-{n}_{kind}",
]
NUMBERS = (1, 2, 3, 10, 11, 21, 100)
KINDS = ("image", "cells", "labels", "Nuclei", "map_class", "he")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_elements_of_one_scheme_are_paired_whatever_their_order(scheme) -> None:
    rng = np.random.default_rng(0)
    for image, other in permutations(KINDS, 2):
        images = {n: scheme.format(kind=image, n=n) for n in NUMBERS}
        for n in NUMBERS:
            for _ in range(2):
                shuffled = rng.permutation(list(images.values())).tolist()
                assert fitting(scheme.format(kind=other, n=n), shuffled) == [images[n]]
        assert fitting(scheme.format(kind=other, n=7), images.values()) == [], "the number of no image"
        assert fitting(other, images.values()) == []


@pytest.mark.parametrize(
    "renamed", [str.upper, str.title, lambda name: name.replace("_", "-"), lambda name: name.replace("_", ".")]
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_case_and_separators_do_not_matter(scheme, renamed) -> None:
    images = [scheme.format(kind="image", n=n) for n in NUMBERS]
    for n, image in zip(NUMBERS, images, strict=True):
        assert fitting(renamed(scheme.format(kind="cells", n=n)), images) == [image]


@pytest.mark.parametrize(
    ("one", "other"), product(["{kind}_{n}", "{n}_{kind}", "{kind}{n}", "ROI{n:03d}_{kind}"], repeat=2)
)
def test_schemes_may_differ(one, other) -> None:
    images = [one.format(kind="image", n=n) for n in NUMBERS]
    for n, image in zip(NUMBERS, images, strict=True):
        assert fitting(other.format(kind="cells", n=n), images) == [image]


@pytest.mark.parametrize(
    ("name", "images", "fits"),
    [
        ("tumour_cells", ["tumour_he", "stroma_he"], []),  # a word may be chance
        ("cells", ["image", "image_2"], []),
        ("C1_cells", ["A1_image", "B2_image"], []),  # another core
        ("A1_cells", ["A1_image", "B1_image"], ["A1_image"]),
        ("A_1_cells", ["A_1_image", "B_1_image"], ["A_1_image"]),
        ("cells_1", ["he_1", "if_1"], ["he_1", "if_1"]),
        ("cells_if_1", ["he_1", "if_1"], ["if_1"]),
        ("tumour_1_cells", ["tumour_1", "stroma_1"], ["tumour_1"]),
        ("cells_cellpose2_3", ["image_2", "image_3"], ["image_3"]),
        ("cells_3_cellpose2", ["image_2", "image_5"], []),
        ("image_1_cells_2", ["image_1", "image_2"], ["image_1"]),  # a second segmentation
        ("A3_cells_v2", ["A2", "A3"], ["A3"]),
        ("cells_1_2", ["1", "2"], []),
        ("tile_1_2_v3", ["tile_1", "tile_1_2"], ["tile_1", "tile_1_2"]),
        ("cellpose3_cells", ["image_2", "image_3"], []),  # a version is no sample
        ("CD3_mask", ["image_2", "image_3"], []),  # nor is an antigen
        ("cells_3_cellpose2", ["image_2", "image_3"], ["image_3"]),
        ("artifact_map_3_class", ["image_3", "image_13"], ["image_3"]),
        ("cells_3", ["img_2023_3", "img_2023_4"], ["img_2023_3"]),
        ("slide_2_3", ["slide_1_3", "slide_1_4"], []),
        ("slide1_roi2_cells", ["slide2_roi1", "slide3_roi3"], []),
        ("roi_1_cells", ["roi_1", "roi_01"], ["roi_1", "roi_01"]),
        ("cells_0", ["image_0", "image_00_b"], ["image_0"]),
    ],
)
def test_what_is_told_by_a_name_and_what_is_not(name, images, fits) -> None:
    assert fitting(name, images) == fits
    assert fitting(name, images[::-1]) == fits[::-1]


def test_an_image_that_is_not_told_is_asked_for() -> None:
    class Data:
        images = dict.fromkeys(["he_1", "if_1", "he_2"])
        labels: dict = {}  # noqa: RUF012
        tables: dict = {}  # noqa: RUF012

    assert image_of(Data, "2_cells") == "he_2"
    message = (
        r"3 elements of the kind 'image' \('he_1', 'if_1', 'he_2'\) and none was named. Choose one with image_key="
    )
    with pytest.raises(ValueError, match=message):
        image_of(Data, "1_cells")


def test_numbers_that_contradict() -> None:
    assert contradict("cells_1", "patches_2")
    assert not contradict("cells_1", "patches_1")
    assert not contradict("cells_1", "patches_64px")
    assert not contradict("cells", "patches_64")
