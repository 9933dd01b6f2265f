"""The 175 markers that the KRONOS paper trained on."""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files

from kronos_sc.markers._frame import role_of
from kronos_sc.markers._marker import IDS, Marker
from kronos_sc.markers._vocabulary import Vocabulary

DAPI_ID = 4


def paper_vocabulary(*, mean: float = math.nan, std: float = math.nan) -> Vocabulary:
    """Return the 175 marker names of Table S2 :cite:p:`Shaban2025`, with ids of our own.

    For models that come without a vocabulary of their own: random weights, baselines, models about to be trained. The
    names are those of the paper, the ids are not: the scheme is (DAPI is 4, the others follow in alphabetical order at
    even ids from 128), so these ids must not be used with released KRONOS weights, which carry their own
    `marker_metadata.csv` (:meth:`Vocabulary.from_csv`).

    Parameters
    ----------
    mean, std
        Statistics for all markers alike; NaN, the default, leaves them unknown.

    Returns
    -------
    The vocabulary. DAPI and HISTONE-H3 have the role `"nuclear"`; HISTONE-H3 keeps an id among the others, where the
    alphabet puts it.

    Examples
    --------
    >>> from kronos_sc.markers import paper_vocabulary
    >>> vocabulary = paper_vocabulary()
    >>> len(vocabulary), vocabulary["DAPI"].id
    (175, 4)
    """
    others = [name for name in _names() if name != "DAPI"]
    ids = {"DAPI": DAPI_ID} | dict(zip(others, IDS["other"][::2], strict=False))
    return Vocabulary("paper", tuple(Marker(name, ids[name], mean, std, role_of(name, ids[name])) for name in ids))


@cache
def _names() -> tuple[str, ...]:
    text = files("kronos_sc.markers").joinpath("paper_names.txt").read_text(encoding="utf-8")
    return tuple(sorted(text.splitlines(), key=str.upper))
