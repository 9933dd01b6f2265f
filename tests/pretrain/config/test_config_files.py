"""The schema explains itself, and the files that come with the package say what they claim."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, is_dataclass

import pytest

from kronos_pretrain.config import Config, differences, load, shipped_configs
from kronos_pretrain.config import schema as schema_module
from kronos_pretrain.config.read import kinds

# Supplementary Table S24 and Methods, by hand.
PAPER = {
    "model.depth": 12,
    "model.heads": 6,
    "model.registers": 16,
    "model.dim": 384,
    "model.patch": 16,
    "model.drop_path": 0.3,
    "views.global_size": 224,
    "views.global_scale": (0.48, 1.0),
    "views.local_scale": (0.16, 0.48),
    "views.local_count": 8,
    "data.patch": 256,
    "data.markers": (3, 3),
    "head.separate": False,
    "optim.clip": 3.0,
    "optim.betas": (0.9, 0.999),
    "optim.batch": 1024,
    "optim.freeze_last_layer_epochs": 1.0,
    "optim.warmup_epochs": 10.0,
    "optim.lr": 0.004,
    "optim.lr_end": 1e-6,
    "optim.weight_decay": 0.04,
    "optim.weight_decay_end": 0.4,
    "teacher.temperature_epochs": 30.0,
    "teacher.temperature_start": 0.04,
    "teacher.temperature": 0.07,
    "teacher.momentum": 0.992,
    "teacher.momentum_end": 1.0,
    "run.epochs": 100,
    "run.precision": "float16",
}


def value(config: Config, key: str):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def sections() -> list[type]:
    return [
        thing
        for thing in vars(schema_module).values()
        if isinstance(thing, type) and is_dataclass(thing) and thing is not Config
    ]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_setting_is_documented(section) -> None:
    """One line of names at the margin per entry of the Parameters section."""
    text = re.sub(r"^    ", "", section.__doc__.partition("----------\n")[2], flags=re.MULTILINE)
    named = [name.strip() for line in text.splitlines() if line and not line[0].isspace() for name in line.split(",")]
    own = [field.name for field in fields(section)]
    inherited = (
        {"dim", "depth", "heads", "chunks", "patch", "grid", "registers", "mlp_ratio"}
        if section.__name__ == "Model"
        else set()
    )
    assert sorted(named) == sorted(set(own) - inherited)


def test_the_one_value_that_is_not_of_the_table_says_so() -> None:
    text = shipped_configs()["vits16"].read_text()
    assert load("vits16").optim.lr_start == 0.0  # the table: 0.004
    assert "every value of Table S24 but one" in text
    assert load("vits16", ["optim.lr_start=0.004"]).optim.lr_start == PAPER["optim.lr"]


@pytest.mark.parametrize("name", ["vits16", "vits16_cell"])
def test_the_table_of_the_paper(name) -> None:
    config = load(name)
    cell = {"views.global_size", "data.patch"} if name == "vits16_cell" else set()
    assert {key: value(config, key) for key in PAPER if key not in cell} == {
        key: v for key, v in PAPER.items() if key not in cell
    }
    assert config.run.steps == 125_000


def test_the_full_file_writes_every_setting() -> None:
    raw = tomllib.loads(shipped_configs()["vits16"].read_text())
    written = set()
    for section, values in raw.items():
        for key, inner in values.items():
            written |= (
                {f"{section}.{key}.{name}" for name in inner} if isinstance(inner, dict) else {f"{section}.{key}"}
            )
    assert written == set(kinds())


def test_defaults_are_the_full_file() -> None:
    """So that other files need only write what differs."""
    assert {d.key for d in differences(Config(), load("vits16"))} == {"run.folder", "data.corpus", "data.workers"}


def test_all_files_load() -> None:
    assert set(shipped_configs()) == {"debug", "vits16", "vits16_cell", "vitti16_cpu"}
    for name in shipped_configs():
        config = load(name)
        assert config.run.folder == f"runs/{name}"
        assert config.model.grid == config.views.global_size // config.model.patch
