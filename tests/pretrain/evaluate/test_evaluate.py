"""All scores of one look at labelled patches."""

from __future__ import annotations

import pytest
import torch

from kronos_pretrain.evaluate import Evaluation, evaluate
from kronos_sc.models import Features

KEYS = {
    f"evaluate/{kind}{probe}_{score}"
    for kind in ("", "marker_", "mean_marker_")
    for probe in ("knn", "linear")
    for score in ("balanced_accuracy", "macro_f1")
}


def test_a_network_that_sees_the_class_and_one_that_sees_nothing(labelled, vocabulary, moments):
    scores = evaluate(moments, labelled(), vocabulary)
    assert scores.keys() == KEYS
    assert all(isinstance(value, float) for value in scores.values())
    assert scores["evaluate/linear_balanced_accuracy"] == scores["evaluate/mean_marker_knn_macro_f1"] == 1

    def blind(pixels, ids):
        out = moments(pixels, ids)
        return Features(torch.ones_like(out.cls), torch.ones_like(out.markers), out.tokens)

    scores = evaluate(blind, labelled(), vocabulary)
    assert (
        scores["evaluate/knn_balanced_accuracy"]
        == scores["evaluate/marker_linear_balanced_accuracy"]
        == pytest.approx(1 / 3)
    )
    assert scores["evaluate/mean_marker_knn_balanced_accuracy"] == 1  # what one gets without a network


def test_looks_repeat_and_the_baseline_is_computed_once(labelled, vocabulary, moments, monkeypatch):
    one = Evaluation(labelled(), vocabulary, batch=8)
    first = one.scores(moments)
    probed = []
    probe = Evaluation._probe
    monkeypatch.setattr(
        Evaluation, "_probe", lambda self, features, kind: probed.append(kind) or probe(self, features, kind)
    )
    assert one.scores(moments) == first
    assert probed == ["cls", "marker"]
    assert one.pictures(moments, count=2).shape[2] == 3


def test_the_user_s_random_numbers_and_gradients_are_left_alone(labelled, vocabulary, moments):
    before = torch.get_rng_state()
    evaluate(moments, labelled(), vocabulary)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
