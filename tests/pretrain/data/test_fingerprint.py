"""Whether a run goes on with the corpus it began with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kronos_pretrain.data.corpus import Corpus, Image
from kronos_pretrain.data.fingerprint import fingerprint, require_same_corpus
from kronos_pretrain.data.store import ArraySource
from kronos_sc.markers import Marker, Vocabulary

NAMES = {"DAPI": (4, "nuclear"), "CD3": (140, "other"), "CD8": (200, "other"), "AR": (129, "other")}


def corpus(*, names=("DAPI", "CD3", "CD8"), ids=(), std=0.2, images=("a", "b"), origins=((0, 0), (32, 0))) -> Corpus:
    numbers = {name: number for name, (number, _) in NAMES.items()} | dict(ids)
    vocabulary = Vocabulary("test", tuple(Marker(name, numbers[name], 0.1, std, NAMES[name][1]) for name in names))
    planes = np.zeros((len(names), 128, 128), np.uint8)
    markers = np.array([numbers[name] for name in names])
    made = [
        Image(
            name,
            "lymph node",
            (128, 128),
            255.0,
            markers,
            np.array([0]),
            np.array(origins, np.int32),
            ArraySource(planes),
        )
        for name in images
    ]
    return Corpus(made, vocabulary, 64)


@pytest.fixture
def then() -> dict:
    """As a checkpoint holds it."""
    return json.loads(json.dumps(fingerprint(corpus())))


def test_the_same_corpus_passes(then) -> None:
    require_same_corpus(then, fingerprint(corpus()), override=False)


@pytest.mark.row("resume with another corpus")
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"images": ("a", "c")}, "images new: '1 c'; images gone: '1 b'"),
        ({"images": ("b", "a")}, "images new: '0 b', '1 a'"),
        ({"origins": ((0, 0), (64, 0))}, "images changed: '0 a', '1 b'"),
        ({"std": 0.25}, "markers changed: 'DAPI', 'CD3', 'CD8'"),
        ({"names": ("DAPI", "CD3", "CD8", "AR")}, "markers new: 'AR'; images changed"),
    ],
)
def test_another_corpus_is_refused_in_words_and_accepted_on_demand(then, changed, words) -> None:
    with pytest.raises(ValueError, match=f"not the one that this run began with: .*{words}.*--override"):
        require_same_corpus(then, fingerprint(corpus(**changed)), override=False)
    require_same_corpus(then, fingerprint(corpus(**changed)), override=True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ids": {"CD3": 141}}, r"CD3 \(id 140, now 141\)"),
        ({"names": ("DAPI", "CD3", "AR"), "ids": {"AR": 200}}, r"AR \(id 200, which was CD8\)"),
    ],
)
def test_ids_that_mean_something_else_are_always_refused(then, changed, words) -> None:
    for override in (False, True):
        with pytest.raises(ValueError, match=f"other ids to markers .*{words}"):
            require_same_corpus(then, fingerprint(corpus(**changed)), override=override)
