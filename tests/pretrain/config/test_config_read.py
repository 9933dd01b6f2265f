from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import pytest

from kronos_pretrain.config import Config, differences, dump, find, from_dict, load, require_same, shipped_configs
from kronos_pretrain.config.limits import CHOICES, ORDERED, RANGES
from kronos_pretrain.config.read import kinds
from kronos_pretrain.config.schema import Optim, Run


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file of settings with a source of samples, and returns its path."""

    def of(text: str) -> str:
        path = tmp_path / "own.toml"
        path.write_text(text if "[data" in text else text + '\n[data]\ncorpus = "somewhere"\n')
        return str(path)

    return of


def test_what_is_not_written_has_its_default(write) -> None:
    config = load(write("[optim]\nlr = 0.001\n"))
    assert config.optim == Optim(lr=0.001)
    assert config.data.corpus == "somewhere"
    assert config.run == Run()


def test_values_take_the_type_of_the_setting(write) -> None:
    config = load(
        write("[optim]\nwarmup_epochs = 5\nbetas = [0, 0.5]\n"), ["views.global_scale=[1,1]", "watch.tensorboard=false"]
    )
    assert (config.optim.warmup_epochs, config.optim.betas) == (5.0, (0.0, 0.5))
    assert all(type(x) is float for x in (config.optim.warmup_epochs, *config.optim.betas))
    assert config.views.global_scale == (1.0, 1.0)
    assert config.watch.tensorboard is False


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("run.folder=runs/2", "folder", "runs/2"),
        ("run.folder=2024", "folder", "2024"),
        ('run.folder="a b"', "folder", "a b"),
        ("run.folder = x=y", "folder", "x=y"),
        ("run.epoch_steps=7", "epoch_steps", 7),
        ("run.precision=bfloat16", "precision", "bfloat16"),
    ],
)
def test_overrides(write, override, key, value) -> None:
    assert getattr(load(write(""), [override]).run, key) == value


def test_a_later_override_wins_and_sections_are_made(write) -> None:
    config = load(write("[data.simulate]\nimages = 2\n"), ["data.simulate.seed=3", "optim.batch=8", "optim.batch=16"])
    assert (config.data.simulate.images, config.data.simulate.seed, config.optim.batch) == (2, 3, 16)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", r"no setting 'optim\.lrr'\. Did you mean 'optim\.lr'\? 'optim' has: 'batch', 'lr'"),
        ("optim.epochs=1", r"Did you mean 'run\.epochs'\?"),
        ("otpim.lr=1", r"Did you mean 'optim\.lr'\? Sections are: 'run', 'model'"),
        ("simulate.images=1", r"Did you mean 'data\.simulate\.images'\?"),
        (
            "data.simulate.image=1",
            r"Did you mean 'data\.simulate\.images'\? 'data\.simulate' has: 'images', 'size', 'seed'\.",
        ),
        ("optim.lr.peak=1", r"no setting 'optim\.lr\.peak'"),
        ("loss=1", r"'loss' is a section, not a setting; it has: 'dino', 'ibot'"),
        ("qqq=1", r"no setting 'qqq'\. Sections are"),
        ("optim.lr", r"'optim\.lr' is not an override; write section\.key=value"),
        ("optim.lr=fast", r"optim\.lr='fast' is not allowed; it must be a number, above 0\."),
        ("optim.lr=0", r"optim\.lr=0\.0 is not allowed"),
        ("optim.lr=nan", r"optim\.lr=nan is not allowed"),
        ("optim.lr=inf", r"optim\.lr=inf is not allowed"),
        ("optim.lr=true", r"optim\.lr=True is not allowed"),
        ("optim.batch=1.5", r"optim\.batch=1\.5 is not allowed; it must be a whole number, at least 1\."),
        ("optim.batch=true", r"optim\.batch=True is not allowed"),
        ("watch.tensorboard=1", r"watch\.tensorboard=1 is not allowed; it must be true or false\."),
        ("run.precision=fp16", r"one of 'float32', 'bfloat16', 'float16'"),
        ("head.prototypes=1", r"at least 2"),
        ("data.markers=3", r"data\.markers=3 must be 2 values in brackets, each a whole number, at least 2"),
        ("data.markers=[3, 4, 5]", r"must be 2 values"),
        ("data.markers=[1, 3]", r"data\.markers=1 is not allowed"),
        ("data.markers=[5, 3]", r"from the least to the largest value; did you mean \[3, 5\]"),
        ("optim.betas=[0.9, 1]", r"at least 0 and below 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(write, override, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(""), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optm]\nlr = 1\n", r"no setting 'optm'\. Did you mean 'optim'\?"),
        ("optim = 3\n", r"'optim' is a section, not a setting"),
        ("[optim\n", r"own\.toml is not valid TOML"),
        ('[run]\nfolder = ["a"]\n', r"run\.folder=\['a'\] is not allowed; it must be text in quotes"),
    ],
)
def test_mistakes_in_a_file_are_refused_by_name(write, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        load(write(text))


def test_names_of_shipped_files(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("debug") == find("debug.toml") == shipped_configs()["debug"]
    (tmp_path / "debug.toml").write_text("")
    assert find("debug.toml").resolve() == tmp_path / "debug.toml", "a file of one's own comes first"
    with pytest.raises(FileNotFoundError, match=r"no file 'debgu'.*'debug', 'vits16'"):
        find("debgu")
    with pytest.raises(FileNotFoundError, match="no file"):
        find("elsewhere/debug.toml")


def test_every_number_has_a_range_and_nothing_else_has() -> None:
    numbers = {key for key, kind in kinds().items() if kind not in (str, bool)}
    assert set(RANGES) == numbers
    assert set(CHOICES) <= {key for key, kind in kinds().items() if kind is str}
    assert set(ORDERED) <= numbers


def test_defaults_obey_their_own_ranges() -> None:
    assert from_dict({}) == from_dict(raw(Config())) == Config()


def raw(section) -> dict:
    """Return dataclasses as JSON would give them back: pairs as lists."""
    out = {}
    for field in fields(section):
        value = getattr(section, field.name)
        out[field.name] = raw(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
    return out


@pytest.mark.parametrize("name", ["debug", "vits16", "vits16_cell", "vitti16_cpu"])
def test_dumped_settings_read_back_the_same(name, tmp_path) -> None:
    config = load(name, ['run.folder="ä \\"b\\" \\\\ c"', "optim.lr_end=1e-7"])
    assert config.run.folder == 'ä "b" \\ c'
    path = tmp_path / "dumped.toml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config


def test_differences_name_the_keys() -> None:
    config = load("debug")
    other = replace(
        config,
        run=replace(config.run, folder="b"),
        data=replace(config.data, simulate=replace(config.data.simulate, seed=4)),
    )
    changes = differences(raw(config), other)
    assert changes == [("run.folder", "runs/debug", "b", True), ("data.simulate.seed", 0, 4, False)]
    assert differences(config, raw(config)) == []


def test_settings_that_one_version_lacks() -> None:
    old = raw(Config())
    del old["parallel"]["compile"]
    old["optim"]["gone"] = 3
    assert differences(old, Config()) == [("optim.gone", 3, None, False)]


@pytest.mark.row(
    "unknown section or key, in a file or on the command line",
    "wrong type, value outside its range, `nan`, `inf`, `true` for a number",
)
@pytest.mark.parametrize(
    ("wrong", "value"),
    [
        ("optim.lrr=0.01", ""),
        ("optim.epochs=3", ""),
        ("simulate.images=3", ""),
        ("otpim.lr=0.01", ""),
        ("optim.lr=0", "0.01"),
        ("run.precision=fp16", ""),
    ],
)
def test_what_is_meant_is_accepted(wrong, value) -> None:
    with pytest.raises(ValueError, match=" ") as error:
        load("debug", [wrong])
    message = str(error.value)
    key, _, given = wrong.partition("=")
    if "Did you mean" in message:
        key = message.split("Did you mean '")[1].split("'")[0]
    if "must be one of '" in message:
        given = message.split("must be one of '")[1].split("'")[0]
    assert value or given != wrong.partition("=")[2] or key != wrong.partition("=")[0]
    load("debug", [f"{key}={value or given}"])


@pytest.mark.row("resume with a changed setting")
def test_resuming_with_other_settings_is_refused() -> None:
    config = load("debug")
    require_same(raw(config), replace(config, run=replace(config.run, epochs=9)))
    other = replace(config, run=replace(config.run, epochs=9), optim=replace(config.optim, lr=1.0))
    with pytest.raises(ValueError, match=r"other settings:\n- optim\.lr: 0\.004 → 1\.0\nResuming .* --override"):
        require_same(raw(config), other)
    require_same(raw(config), other, override=True)
