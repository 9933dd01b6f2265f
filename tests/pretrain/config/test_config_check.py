from __future__ import annotations

import pytest

from kronos_pretrain.config import check_machine, load


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("data.simulate.images=0", r"no source of samples: set data\.corpus"),
        ("data.corpus=a", r"data\.corpus='a' and data\.simulate\.images=2 are two sources"),
        ("data.simulate.size=64", r"data\.simulate\.size=64 is smaller than one sample, data\.patch=96"),
        ("model.heads=5", r"model\.heads=5 must divide half of model\.dim=48; 48 allows 1, 2, 3"),
        ("model.chunks=3", r"model\.chunks=3 must divide model\.depth=4; 4 allows 1, 2, 4 chunks"),
        ("views.global_size=70", r"views\.global_size=70 must be a multiple .*: 64 or 80"),
        ("views.local_size=8", r"views\.local_size=8 must be a multiple .*: 16"),
        ("views.local_size=112", r"views\.local_size=112 is larger than a sample, data\.patch=96"),
        ("views.global_size=112", r"views\.global_size=112 is larger"),
        ("loss.dino=0 loss.ibot=0", r"both 0, so the student has nothing to learn"),
        ("views.global_size=16", r"loss\.ibot=1\.0 needs tokens to hide"),
        ("masks.fraction=0", r"hide none of the 16 tokens"),
        ("masks.ratio=[0,0.05]", r"hide none of the 16 tokens"),
        ("optim.batch=1", r"loss\.koleo=0\.1 pushes samples apart and needs at least two at a time, got optim\.batch=1"),
        ("optim.batch=1 loss.koleo=0 loss.centering=sinkhorn", r"'sinkhorn' balances prototypes over samples"),
        ("optim.warmup_epochs=5", r"optim\.warmup_epochs=5 is longer than the run, run\.epochs=4"),
        ("teacher.temperature_epochs=4.5", r"teacher\.temperature_epochs=4\.5 is longer than the run"),
        ("optim.freeze_last_layer_epochs=4", r"covers the whole run, run\.epochs=4; the prototypes would never learn"),
        ("optim.lr_end=0.1", r"optim\.lr_end=0\.1 is above the peak, .* = 0\.000354"),
        ("optim.lr_start=0.01", r"optim\.lr_start=0\.01 is above optim\.lr=0\.004, to which the warm-up climbs"),
        ("parallel.micro_batch=3", r"parallel\.micro_batch=3 must divide optim\.batch=8"),
        ("run.precision=float16", r"run\.precision='float16' needs a GPU, but run\.device='cpu'"),
        ("watch.evaluate_every=5", r"watch\.evaluate_every=5 needs labelled cells"),
        ("watch.labelled=a watch.simulated_cells=5", r"two sets of labels"),
    ],
)
def test_contradictions_are_refused_by_name(overrides, message) -> None:
    with pytest.raises(ValueError, match=message):
        load("debug", overrides.split())


@pytest.mark.parametrize(
    "overrides",
    [
        "views.local_count=0 views.local_size=9",
        "loss.ibot=0 masks.fraction=0",
        "loss.ibot=0 views.global_size=16",
        "optim.batch=1 loss.koleo=0",
        "data.simulate.images=0 data.corpus=a",
        "optim.warmup_epochs=4",
        "run.device=auto run.precision=float16",
        "watch.evaluate_every=5 watch.simulated_cells=100",
        "views.global_size=96",
    ],
)
def test_what_only_looks_like_one_is_accepted(overrides) -> None:
    load("debug", overrides.split())


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^2 settings contradict each other:\n- model\.chunks=3 .*\n- views\.local_size=20 "):
        load("debug", ["views.local_size=20", "model.chunks=3"])


@pytest.mark.parametrize(
    ("overrides", "processes", "device", "message"),
    [
        ("", 3, "cpu", r"optim\.batch=8 cannot be shared by 3 processes"),
        ("parallel.micro_batch=4", 4, "cpu", r"must divide a process's share, 8 / 4 = 2"),
        ("parallel.shard=3", 4, "cpu", r"parallel\.shard=3 must divide the number of processes, 4"),
        ("run.device=auto run.precision=float16", 1, "cpu", r"needs a GPU and there is none"),
        ("parallel.micro_batch=1", 1, "cpu", r"loss\.koleo=0\.1 .* got parallel\.micro_batch=1 on 1 process"),
    ],
)
def test_settings_that_do_not_fit_the_machine(overrides, processes, device, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_machine(load("debug", overrides.split()), processes=processes, device=device)


def test_settings_that_fit_the_machine() -> None:
    check_machine(load("debug"), processes=8, device="cpu")
    check_machine(load("debug", ["parallel.micro_batch=1"]), processes=2, device="cpu")
    check_machine(load("vits16"), processes=8, device="cuda")
