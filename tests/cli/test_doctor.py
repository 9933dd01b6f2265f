import platform
from importlib.metadata import version

import pytest


def test_versions_devices_and_models(call):
    done = call("doctor")
    assert done.exit_code == 0
    for text in (
        platform.python_version(),
        version("torch"),
        version("spatialdata"),
        "cpu ",
        "cores",
        "precision 'auto' is",
    ):
        assert text in done.stdout
    for text in (
        "kronos-untrained",
        "UNTRAINED: for demonstrations only",
        "CC BY-NC-ND 4.0; gated",
        "mean-marker",
        "needs no download",
    ):
        assert text in done.stdout


@pytest.mark.parametrize("fast", [True, False])
def test_number_formats_that_are_fast_are_named_with_the_instructions(call, monkeypatch, fast):
    from kronos_sc.models.inference import instructions

    monkeypatch.setattr(instructions, "multiplies", lambda _: fast)
    monkeypatch.setattr(instructions, "capabilities", lambda: {"amx_bf16": True})
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT" if fast else "AVX2")
    shown = call("doctor").stdout
    assert ("; fast in float32 and bfloat16\n" if fast else "; fast in float32\n") in shown
    assert f"precision 'auto' is {'bfloat16' if fast else 'float32'}" in shown
    assert ("AMX-BF16" in shown) == fast
    assert ("fewer than the processor has" in shown) != fast


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

    def refuse(*args, **kwargs):
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


@pytest.fixture
def cache(monkeypatch):
    """Set what the local cache answers; anything but a look into it is an error."""
    from kronos_sc.models import _hub

    def answer(folder):
        def fetch(repository, *, local_only=False):
            assert local_only, "nothing is downloaded"
            asked.append(repository)
            if folder is None:
                raise ConnectionError("not in the cache")
            return folder

        monkeypatch.setattr(_hub, "fetch", fetch)

    asked = []
    answer(None)
    return answer, asked


@pytest.mark.parametrize("name", ["kronos", "hf-hub:MahmoodLab/kronos", "hf-hub:somebody/model"])
def test_models_that_are_not_downloaded_are_described_from_their_facts(call, cache, name):
    done = call("doctor", name)
    assert done.exit_code == 0, done.stderr
    shown = done.stdout.partition("checkpoint")[2]
    assert "cache        not downloaded" in shown
    assert "blocks" not in shown.replace("official blocks", "")
    assert ("CC BY-NC-ND 4.0; gated" in shown) == (name != "hf-hub:somebody/model")
    assert cache[1] == ["somebody/model" if "somebody" in name else "MahmoodLab/kronos"]


@pytest.mark.parametrize("name", ["kronos", "hf-hub:somebody/model"])
def test_downloaded_models_are_examined(call, cache, checkpoint, name):
    cache[0](checkpoint)
    done = call("doctor", name)
    assert done.exit_code == 0, done.stderr
    assert "mean |gamma| per block" in done.stdout
    assert "cache        downloaded" in done.stdout


def test_a_download_that_was_cut_short_is_none(call, cache, tmp_path):
    cache[0](tmp_path)
    done = call("doctor", "kronos")
    assert done.exit_code == 0, done.stderr
    assert "cache        not downloaded" in done.stdout


def test_built_in_models_ask_no_cache(call, cache):
    done = call("doctor", "mean-marker")
    assert done.exit_code == 0
    assert cache[1] == []
