from __future__ import annotations

import pytest

from kronos_sc.datasets import tissue


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"channels": ["DAPI", "FOXP33"]},
            r"does not know 'FOXP33'; it knows: 'DAPI', .*'PD-L1'\. Did you mean 'FOXP3'\? Leave channels out",
        ),
        ({"channels": ["DAPI", "DAPI"]}, r"names 'DAPI' more than once.*Name each marker once"),
        ({"channels": []}, r"channels is empty.*pass channels="),
        ({"shape": (60, 1000)}, r"shape=\(60, 1000\) is too small.*at least 64 pixels.*Pass shape=\(64, 1000\)"),
        ({"shape": (100, 100), "mpp": 0.2}, r"at least 160 pixels"),
        ({"shape": (3, 100, 100)}, r"has 3 numbers; it takes two: height and width"),
        ({"shape": 500}, r"has 1 numbers; it takes two"),
        ({"shape": (100.5, 100)}, r"whole number of at least 1, got 100\.5"),
        ({"bit_depth": 12}, r"bit_depth=12 is not a choice; bit_depth can be 8, 16"),
        ({"mpp": 5}, r"mpp=5 is out of range; the pixel size can be 0\.2 to 2\.0 µm"),
        ({"mpp": float("nan")}, r"out of range"),
        ({"artifacts": ["scratch"]}, r"no artifact 'scratch'; there are: 'blur', 'saturation', 'fold'\. Pass"),
        ({"n_donors": 3}, r"n_donors=3 is more than n_images=1.*Pass n_images=3"),
        ({"n_images": 2, "n_batches": 4}, r"n_batches=4 is more than n_images=2"),
        ({"n_images": 0}, r"n_images must be a whole number of at least 1, got 0"),
        ({"group_effect": -1}, r"group_effect=-1 is not a strength"),
        ({"batch_effect": float("inf")}, r"batch_effect=inf is not a strength"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_pass(arguments, message):
    with pytest.raises(ValueError, match=message):
        tissue(**arguments)


@pytest.mark.parametrize(("name", "value"), [("channels", "DAPI"), ("artifacts", "blur")])
def test_a_string_is_not_a_list(name, value):
    with pytest.raises(TypeError, match=rf"{name}='{value}' is a string.*{name}=\['{value}'\]"):
        tissue(**{name: value})
