"""Settings that could not work are refused where they are set."""

import pytest

from kronos_sc._core.settings import Settings, feature_memory, settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("read_threads", 0),
        ("read_threads", 1.5),
        ("block_memory", -1),
        ("block_memory", None),
        ("memory", -1),
        ("memory", "8 GB"),
        ("memory", True),
    ],
)
def test_refused(name, value):
    mine = Settings()
    before = getattr(mine, name)
    with pytest.raises(ValueError, match=rf"^settings\.{name} must be a .*got {value!r}"):
        setattr(mine, name, value)
    assert getattr(mine, name) == before
    with pytest.raises(ValueError, match=rf"settings\.{name}"):
        Settings(**{name: value})


def test_room_for_features(monkeypatch):
    for given in (0, 12, 1.5e9):
        monkeypatch.setattr(settings, "memory", given)
        assert feature_memory() == given
    monkeypatch.setattr(settings, "memory", None)
    assert 2**20 < feature_memory() < 2**60
