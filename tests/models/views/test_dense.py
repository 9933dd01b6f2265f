"""Class probabilities of tokens, read through a model."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from kronos_sc.models.views.dense import TokenClasses

pytestmark = pytest.mark.usefixtures("one_thread")


def _classifier(width):
    rng = np.random.default_rng(0)
    return {
        "coef": rng.normal(size=(3, width)),
        "intercept": np.array([0.5, 0.0, -0.5]),
        "mean": 5 + rng.normal(size=width),
        "scale": rng.uniform(0.5, 2, width),
    }


@pytest.fixture
def view(tiny):
    return TokenClasses(tiny, **_classifier(tiny.width("token", 2)))


@pytest.fixture
def batch():
    rng = torch.Generator().manual_seed(1)
    return (
        torch.randn(2, 2, 32, 48, generator=rng),
        torch.tensor([[3, 9]]).expand(2, -1),
        torch.ones(2, 32, 48, dtype=torch.bool),
    )


def test_probabilities_are_the_softmax_of_standardised_tokens(view, batch, tiny) -> None:
    """Against plain numpy in float64 on the arrays as they were given; tokens row by row."""
    with torch.inference_mode():
        tokens = tiny.encode(*batch, ("token",))["token"].double().numpy().reshape(2, 6, -1)
        proba = view.encode(*batch, ("token",))["token"].numpy()
    assert proba.shape == (2, 6 * view.width("token", 2)) == (2, 18)
    parts = _classifier(tiny.width("token", 2))
    scores = (tokens - parts["mean"]) / parts["scale"] @ parts["coef"].T + parts["intercept"]
    want = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    assert_allclose(proba.reshape(2, 6, 3), want, atol=1e-5)


def test_a_large_mean_does_not_cancel(tiny, batch) -> None:
    """Features far from zero with little spread: the mean is taken off before the weights are applied."""
    width = tiny.width("token", 2)
    with torch.inference_mode():
        tokens = tiny.encode(*batch, ("token",))["token"].double().numpy().reshape(-1, width)
    coef = np.zeros((2, width))
    coef[1, 0] = 1.0
    mean = tokens.mean(axis=0)
    scale = tokens.std(axis=0) / 100
    view = TokenClasses(tiny, coef, np.zeros(2), mean, scale)
    with torch.inference_mode():
        proba = view.encode(*batch, ("token",))["token"].numpy().reshape(-1, 2)
    want = 1 / (1 + np.exp(-(tokens[:, 0] - mean[0]) / scale[0]))
    assert_allclose(proba[:, 1], want, atol=1e-4)


def test_the_classifier_stays_in_float32(view, batch) -> None:
    """The network runs in bfloat16; probabilities still add up, and the view it came from is as it was."""
    other = view.at(torch.device("cpu"), torch.bfloat16)
    with torch.inference_mode():
        proba = other.encode(*batch, ("token",))["token"].reshape(2, 6, 3)
    assert other.net.cls_token.dtype == torch.bfloat16
    assert view.net.cls_token.dtype == torch.float32
    assert proba.dtype == torch.float32
    assert_allclose(proba.sum(-1), 1, atol=1e-6)


def test_what_a_pass_costs_is_the_models_own(view, tiny) -> None:
    assert view.tokens(64, 2) == tiny.tokens(64, 2)
    assert view.width("cls", 2) == tiny.width("cls", 2)
    assert view.token_grid(64) == tiny.token_grid(64)
