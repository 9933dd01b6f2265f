"""Networks and inputs that anyone can draw again; the golden numbers they give."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from kronos_sc.models import KronosViT


@cache
def _golden_values(j, key, shape):
    """Return tensor j of the golden recipe; drawn once, because 22 million numbers take a second."""
    z = np.random.RandomState(j).randn(*shape)
    if key.endswith("gamma"):
        z = 0.5 + 0.1 * z
    elif "norm" in key and key.endswith("weight"):
        z = 1 + 0.1 * z
    elif key in ("pos_embed", "cls_token", "register_tokens", "mask_token"):
        z = 0.5 * z
    else:
        z = 0.05 * z
    return torch.from_numpy(np.asarray(z, np.float32))


def _fill(net):
    """Give every tensor of the state dict, in sorted order, the values of the golden recipe."""
    state = net.state_dict()
    for j, key in enumerate(sorted(state)):
        state[key] = _golden_values(j, key, tuple(state[key].shape))
    net.load_state_dict(state)
    return net.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def fill():
    """Return the function that gives a network the golden weights."""
    return _fill


@pytest.fixture(scope="session")
def golden():
    """Return the golden numbers."""
    return json.loads((Path(__file__).parents[1] / "golden" / "kronos_forward.json").read_text())


@pytest.fixture(scope="session")
def golden_net():
    """Return vits16 with the golden weights; blocks and stride are set by the test."""
    return _fill(KronosViT(blocks="official"))


@pytest.fixture
def golden_pixels():
    """Return the function that draws the golden input."""

    def pixels(height, width=None, *, batch=2, markers=3):
        rng = np.random.RandomState(1000 + height)
        return torch.from_numpy(rng.randn(batch, markers, height, width or height).astype(np.float32))

    return pixels


@pytest.fixture(scope="session")
def class_rows():
    """Return a function that computes what the class token attends to, by matrices made in full.

    It answers with the rows of the last block that runs (b, h, t), each over the whole sequence.
    """

    def rows(net, pixels, ids):
        x, _ = net.embed(pixels, ids)
        for index in net.running[:-1]:
            x = net.block(index)(x)
        last = net.block(net.running[-1])
        q, k, _ = last.attn.split(last.norm1(x))
        return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1)[:, :, 0]

    return rows


@pytest.fixture
def ids():
    """Return the golden marker ids."""
    return torch.tensor([[4, 248, 294], [4, 28, 322]])


@pytest.fixture(scope="session")
def beside():
    """Return a function that imports a helper module that lies beside the tests of this room."""
    modules = {}

    def module(name):
        if name not in modules:
            spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        return modules[name]

    return module


@pytest.fixture(scope="session")
def timm(beside):
    """Return the package timm; tests that ask for it are skipped without."""
    return beside("timm_shim").timm()
