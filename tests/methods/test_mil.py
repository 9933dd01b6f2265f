import numpy as np
import pytest
import torch

from kronos_sc._methods.mil import Bags, GatedAttention, MeanPool, Training, bag_proba


def generators(seed=0):
    return torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)


@pytest.fixture
def witnesses():
    """Bags of which only a few units tell the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    units = rng.normal(size=(24, 40, 6)).astype(np.float32)
    units[labels == 1, :3, 0] += 6
    return Bags(units.reshape(-1, 6), [np.arange(40) + 40 * b for b in range(24)], labels)


def attention(generators):
    return GatedAttention(6, 2, hidden=16, attention=8, dropout=0.1, generators=generators)


HOW = Training(epochs=60, learning_rate=5e-3, weight_decay=1e-2, validation=0.0, bag_size=30, device="cpu")
TRAIN = np.arange(16)
TEST = np.arange(16, 24)


def test_attention_is_the_equation_of_the_paper():
    net = GatedAttention(5, 3, hidden=4, attention=2, dropout=0.0, generators=generators()).eval()
    x = np.random.default_rng(0).normal(size=(1, 7, 5)).astype(np.float32)
    p = {name: value.detach().numpy() for name, value in net.named_parameters()}
    h = np.maximum(x[0] @ p["project.weight"].T + p["project.bias"], 0)
    gate = 1 / (1 + np.exp(-(h @ p["gate.weight"].T + p["gate.bias"])))
    score = (np.tanh(h @ p["value.weight"].T + p["value.bias"]) * gate) @ p["score.weight"][0] + p["score.bias"][0]
    weight = np.exp(score) / np.exp(score).sum()
    expected = (weight @ h) @ p["classify.weight"].T + p["classify.bias"]
    with torch.inference_mode():
        found = net(torch.from_numpy(x), torch.ones(1, 7, dtype=torch.bool))
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["attention", "mean"])
def test_padding_and_the_order_of_units_change_nothing(kind):
    sizes = {"hidden": 4, "dropout": 0.3, "generators": generators()}
    net = (GatedAttention(5, 2, attention=2, **sizes) if kind == "attention" else MeanPool(5, 2, **sizes)).eval()
    x = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(3))
    padded = torch.cat([x.flip(1), torch.full((1, 4, 5), 1e3)], dim=1)
    there = torch.arange(11)[None] < 7
    with torch.inference_mode():
        torch.testing.assert_close(net(padded, there), net(x, there[:, :7]))


def test_a_few_units_among_many_are_found(witnesses):
    proba = bag_proba(attention, witnesses, TRAIN, TEST, 2, HOW, np.random.default_rng(0))
    assert proba.shape == (8, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert (proba.argmax(axis=1) == witnesses.labels[TEST]).all()


def test_the_seed_decides_and_torch_is_left_alone(witnesses):
    state = torch.get_rng_state()
    one, same = (bag_proba(attention, witnesses, TRAIN, TEST, 2, HOW, np.random.default_rng(3)) for _ in range(2))
    other = bag_proba(attention, witnesses, TRAIN, TEST, 2, HOW, np.random.default_rng(4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_test_bags_do_not_reach_each_other(witnesses):
    noise = witnesses.units.copy()
    noise[40 * 20 :] = np.random.default_rng(1).normal(size=noise[40 * 20 :].shape) * 50
    how = Training(10, 5e-3, 1e-2, 0.25, 30, "cpu")
    one = bag_proba(attention, witnesses, TRAIN, TEST, 2, how, np.random.default_rng(0))
    other = bag_proba(
        attention, Bags(noise, witnesses.rows, witnesses.labels), TRAIN, TEST, 2, how, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(one[:4], other[:4])
    assert not np.array_equal(one[4:], other[4:])


def test_bags_held_back_choose_the_epoch(witnesses):
    """Steps are so large that most epochs make it worse: more epochs often end with the weights of fewer."""

    def after(epochs, validation):
        how = Training(epochs, 0.3, 0.0, validation, 40, "cpu")
        return bag_proba(attention, witnesses, TRAIN, TEST, 2, how, np.random.default_rng(2))

    def repeats(validation):
        found = [after(epochs, validation) for epochs in range(1, 8)]
        return sum(np.array_equal(one, other) for one, other in zip(found[1:], found, strict=False))

    assert repeats(0.25) > 0
    assert repeats(0.0) == 0


def test_bags_of_different_sizes(witnesses):
    rows = [r[: 1 + b] for b, r in enumerate(witnesses.rows)]
    bags = Bags(witnesses.units, rows, witnesses.labels)
    x, there = bags.batch(np.array([0, 5, 20]), 10, np.random.default_rng(0))
    assert x.shape == (3, 10, 6)
    assert there.sum(dim=1).tolist() == [1, 6, 10]
    assert np.isfinite(bag_proba(attention, bags, TRAIN, TEST, 2, HOW, np.random.default_rng(0))).all()
