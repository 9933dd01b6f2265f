"""Calls about elements: an embedding, and lines that a message gives."""

from __future__ import annotations

import warnings

import spatialdata

from kronos_sc import io, models, pp, tl


def run(text, sdata, **names):
    """Run lines that a message gives."""
    exec(text, {"sdata": sdata, "spatialdata": spatialdata, "pp": pp, "io": io, "tl": tl, "models": models} | names)


def embed(sdata, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what is embedded is beside the point here
        tl.embed(sdata, **({"model": "mean-marker"} | how))


def without_rows(sdata, text, rows):
    """Leave rows of the table out as a message writes it."""
    found = eval(text.replace("...", ", ".join(map(repr, rows))), {"table": sdata["table"]})
    assert 0 < found.n_obs < sdata["table"].n_obs
    sdata.tables["table"] = found.copy()


def quietly(verb, *data, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return verb(*data, **arguments)
