import platform
from importlib.metadata import version

import pytest


def test_versions_devices_and_models(call):
    done = call("doctor")
    assert done.exit_code == 0
    for text in (platform.python_version(), version("torch"), version("spatialdata"), "cpu ", "cores", "precision 'auto' is"):
        assert text in done.stdout
    for text in ("kronos-untrained", "UNTRAINED: for demonstrations only", "CC BY-NC-ND 4.0; gated", "mean-marker", "needs no download"):
        assert text in done.stdout


@pytest.mark.parametrize(("token", "answer"), [(None, "logged in: no"), ("hf_verysecret", "logged in: yes")])
def test_tokens_are_never_shown(call, monkeypatch, token, answer):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    done = call("doctor")
    assert answer in done.stdout
    assert "hf_verysecret" not in done.stdout + done.stderr


def test_cache_is_looked_at_without_network(call, monkeypatch):
    import socket

    import huggingface_hub

    def refuse(*args, **how):
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "gated; not downloaded yet" in call("doctor").stdout
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: "config.json")
    assert "gated; downloaded" in call("doctor").stdout


def test_a_checkpoint_is_examined(call, checkpoint):
    done = call("doctor", checkpoint)
    assert done.exit_code == 0
    assert "a small network for tests" in done.stdout
    assert "mean |gamma| per block" in done.stdout


def test_an_unknown_checkpoint(call):
    done = call("doctor", "nowhere")
    assert done.exit_code == 1
    assert "'nowhere' is neither a registered model" in done.stderr
