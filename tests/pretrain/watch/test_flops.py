"""Operations of a step: against torch's counter on the real modules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kronos_pretrain.config.schema import Config, Head, Masks, Model, Views
from kronos_pretrain.heads import Head as HeadModule
from kronos_pretrain.watch.flops import matrix_rate, sample_flops, sample_tokens
from kronos_sc.models import KronosViT, ViTConfig

CONFIG = Config(
    model=Model(dim=48, depth=4, heads=3, chunks=2, registers=4, drop_path=0.0),
    views=Views(global_size=64, local_size=32, local_count=3),
    masks=Masks(fraction=1.0, ratio=(0.5, 0.5)),
    head=Head(prototypes=96, hidden=64, bottleneck=32),
)


@pytest.mark.parametrize("markers", [2, 5])
def test_a_step_costs_what_torch_counts(markers: int) -> None:
    """Student and teacher on 2 samples, with attention as plain matrix products so that the counter sees them."""
    b, large, small = 2, 64, 32
    shape = ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4)
    student = KronosViT(shape)
    teacher = KronosViT(shape)
    head = HeadModule(CONFIG.head, 48)
    teacher_head = HeadModule(CONFIG.head, 48)
    for frozen in (
        teacher,
        teacher_head,
    ):  # rather than no_grad, under which processors run a fused product that is not counted
        frozen.requires_grad_(requires_grad=False)
    ids = torch.arange(markers)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        out = [
            student(torch.zeros(n, markers, s, s), ids.expand(n, markers)) for n, s in ((2 * b, large), (3 * b, small))
        ]
        hidden = out[0].tokens[:, :, :2].reshape(-1, 48)  # half of the 4 × 4 positions, on every marker
        scores = head(torch.cat([*(o.cls for o in out), hidden]))
        seen = teacher(torch.zeros(2 * b, markers, large, large), ids.expand(2 * b, markers))
        teacher_head(torch.cat([seen.cls, seen.tokens[:, :, :2].reshape(-1, 48)]))
        scores.sum().backward()
    assert sample_flops(CONFIG, markers) * b == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_dropped_paths_save_their_share_of_the_blocks() -> None:
    """A third of the student's blocks, which are most of the step at the paper's size, is left out."""
    full, dropped = (sample_flops(replace(Config(), model=Model(drop_path=rate)), 3) for rate in (0.0, 0.3))
    assert 0.73 < dropped / full < 0.8


def test_attention_grows_with_the_square_of_the_markers() -> None:
    one, two, four = (sample_flops(CONFIG, m) for m in (8, 16, 32))
    assert (four - two) > 2.05 * (two - one)


def test_tokens_by_hand() -> None:
    """Three markers, 2 global views of 4 × 4 and 3 local ones of 2 × 2."""
    assert sample_tokens(CONFIG, 3) == 3 * (2 * 16 + 3 * 4)


def test_the_rate_is_that_of_a_matrix_product() -> None:
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32) < 1e15
