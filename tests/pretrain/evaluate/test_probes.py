"""k-NN, linear probe and scores beside hand-computed cases, plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from kronos_pretrain.evaluate import knn
from kronos_pretrain.evaluate.linear import STRENGTHS, _strength, fit, held_out, predict
from kronos_pretrain.evaluate.metrics import scores


@pytest.fixture
def problem():
    """Three overlapping classes in eight dimensions, 120 to learn from and 60 to test on."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, 180)
    x = rng.normal(size=(180, 8)) * [1, 2, 3, 1, 1, 5, 1, 1] + np.eye(8)[codes] * 2
    return torch.from_numpy(x), torch.from_numpy(codes)


def test_scores_by_hand():
    true = torch.tensor([0, 0, 0, 0, 2, 2])
    predicted = torch.tensor([0, 0, 0, 1, 2, 0])
    result = scores(true, predicted)
    assert result["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result["macro_f1"] == pytest.approx((2 * 3 / (4 + 4) + 2 * 1 / (2 + 1)) / 2)


def test_scores_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 5, 200)
    predicted = rng.integers(0, 6, 200)  # one class is only ever said
    result = scores(torch.from_numpy(true), torch.from_numpy(predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes"):
        assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))
    assert result["macro_f1"] == pytest.approx(f1_score(true, predicted, labels=np.unique(true), average="macro"))


def test_one_near_neighbour_outvotes_two_far_ones():
    train = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.1, 3.0]])
    codes = torch.tensor([0, 1, 1])
    test = torch.tensor([[1.0, 0.3]])
    assert knn.predict(train, codes, test, classes=2, k=3).tolist() == [0]  # cosines 0.96, 0.29, 0.32
    assert knn.predict(train, codes, test, classes=2, k=3, temperature=10.0).tolist() == [1]
    assert knn.predict(train, codes, test, classes=2, k=20).tolist() == [0]  # more neighbours than patches


def naive_knn(train, codes, test, k, temperature):
    """The same vote, patch by patch."""
    out = []
    for x in test.numpy():
        cosine = [float(x @ t / np.linalg.norm(x) / np.linalg.norm(t)) for t in train.numpy()]
        votes = dict.fromkeys(range(3), 0.0)
        for i in sorted(range(len(cosine)), key=lambda i: -cosine[i])[:k]:
            votes[int(codes[i])] += np.exp(cosine[i] / temperature)
        out.append(max(votes, key=votes.get))
    return out


@pytest.mark.parametrize(("k", "temperature"), [(20, 0.07), (5, 1.0)])
def test_knn_is_the_plain_vote(problem, k, temperature, monkeypatch):
    monkeypatch.setattr(knn, "BLOCK", 7)
    x, codes = problem
    result = knn.predict(x[:120], codes[:120], x[120:], classes=3, k=k, temperature=temperature)
    assert result.tolist() == naive_knn(x[:120], codes[:120], x[120:], k, temperature)
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        knn.predict(7 * x[:120][order], codes[:120][order], x[120:], classes=3, k=k, temperature=temperature), result
    )


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_the_fit_is_scikit_learn_s(problem, strength):
    x, codes = problem
    weight, bias = fit(x, codes, classes=3, strength=strength)
    theirs = LogisticRegression(C=1 / (len(x) * strength), tol=1e-8, max_iter=5000).fit(x.numpy(), codes.numpy())
    np.testing.assert_allclose(weight.numpy(), theirs.coef_, atol=2e-3)
    np.testing.assert_allclose((bias - bias.mean()).numpy(), theirs.intercept_ - theirs.intercept_.mean(), atol=5e-3)


def test_the_probe_standardises_and_chooses_its_strength(problem):
    x, codes = problem
    result = predict(x[:120], codes[:120], x[120:], classes=3)
    scaler = StandardScaler().fit(x[:120].numpy())
    z = torch.from_numpy(scaler.transform(x[:120].numpy()))
    strength = _strength(z, codes[:120], 3)
    theirs = LogisticRegression(C=1 / (120 * strength), tol=1e-8, max_iter=5000).fit(z.numpy(), codes[:120].numpy())
    assert result.tolist() == theirs.predict(scaler.transform(x[120:].numpy())).tolist()
    assert torch.equal(predict(1e3 * x[:120].float() + 5, codes[:120], 1e3 * x[120:].float() + 5, classes=3), result)


def test_noise_wants_a_strong_penalty_and_signal_any(problem):
    x, codes = problem
    rng = torch.Generator().manual_seed(0)
    noise = torch.cat([x[:, :1], torch.randn(180, 300, generator=rng, dtype=x.dtype)], dim=1)
    assert _strength(noise, codes, 3) >= 1e-2
    assert _strength(torch.eye(3, dtype=x.dtype)[codes], codes, 3) == STRENGTHS[0]


def test_features_that_never_change_do_no_harm():
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]] * 6)
    codes = torch.tensor([0, 1] * 6)
    assert predict(x, codes, x, classes=2).tolist() == codes.tolist()


def test_every_fifth_of_a_class_is_held_out():
    codes = torch.tensor([0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
    assert held_out(codes).nonzero().flatten().tolist() == [5, 11]  # the fifth and the tenth 0, no 1
    few = torch.tensor([0, 1, 0, 1])
    assert _strength(few[:, None].double(), few, 2) == STRENGTHS[2]  # nothing to choose by
