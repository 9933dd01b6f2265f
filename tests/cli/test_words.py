"""Messages of the library, in options."""

import pytest

from kronos_sc._cli._words import in_options


@pytest.mark.parametrize(
    ("said", "here"),
    [
        (
            "Restore it, or start again with tl.embed(..., overwrite=True).",
            "Restore it, or start again with --restart.",
        ),
        ("Choose one with image_key=, or a table_key.", "Choose one with --image, or a table_key."),
        ("take it as zero with nan='zero'.", "take it as zero with --nan 'zero'."),
        ("mpp=0.5. Map it with channels={'a b': 'CD3'}.", "--mpp 0.5. Map it with --map 'a b=CD3'."),
        ("drop it with channels={'a b': None}, or channels=[...]", "drop it with --map 'a b=', or --channels"),
        ("with channels={'a': 'CD3', 'b=c': None}.", "with --map 'a=CD3' --map 'b=c='."),
        ("the list: channels=['DAPI', 'AR=unseen'].", "the list: --channels 'DAPI,AR=unseen'."),
        (
            "precision='half' is not a choice; precision can be 'auto'.",
            "--precision 'half' is not a choice; it can be 'auto'.",
        ),
        ("and make the same call again.", "and give the same command again."),
        (
            "store='a b.zarr' is no place; write it with store=True",
            "--store 'a b.zarr' is no place; write it with --beside",
        ),
    ],
)
def test_arguments_are_named_as_options(said, here):
    assert in_options(said) == here


@pytest.mark.parametrize(
    "text", ["io.read_embedding(sdata, store='x')", "/data/store=1/nan=zero.zarr", "there is no channel 'CD3'", "n=3"]
)
def test_what_is_no_option_stays(text):
    assert in_options(text) == text
