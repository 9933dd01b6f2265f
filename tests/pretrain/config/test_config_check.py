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
        (
            "optim.batch=1",
            r"loss\.koleo=0\.1 pushes samples apart and needs at least two at a time, got optim\.batch=1",
        ),
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


FOLLOWED = [
    ("data.simulate.images=0", "data.simulate.images to at least 1", "data.simulate.images=1"),
    ("data.corpus=a", 'data.corpus=""', 'data.corpus=""'),
    ("data.corpus=a", "or data.simulate.images=0", "data.simulate.images=0"),
    ("data.simulate.size=64", "smaller than one sample, data.patch=96", "data.simulate.size=96"),
    ("model.heads=5", "48 allows 1, 2, 3, 4, 6, 8, 12, 24 heads", "model.heads=6"),
    ("model.chunks=3", "4 allows 1, 2, 4 chunks", "model.chunks=2"),
    ("views.global_size=70", "64 or 80", "views.global_size=80"),
    ("views.local_size=112", "larger than a sample, data.patch=96", "views.local_size=96"),
    ("loss.dino=0 loss.ibot=0", "give one of them a weight", "loss.dino=1"),
    ("views.global_size=16", "set loss.ibot=0 or a larger view", "loss.ibot=0"),
    ("views.global_size=16", "set loss.ibot=0 or a larger view", "views.global_size=64"),
    ("masks.fraction=0", "hide some, or set loss.ibot=0", "loss.ibot=0"),
    ("masks.fraction=0", "hide some, or set loss.ibot=0", "masks.fraction=0.5"),
    ("optim.batch=1", "set loss.koleo=0 or more samples", "loss.koleo=0"),
    ("optim.batch=1 loss.koleo=0 loss.centering=sinkhorn", "use 'softmax'", "loss.centering=softmax"),
    ("optim.warmup_epochs=5", "longer than the run, run.epochs=4", "run.epochs=6"),
    ("optim.freeze_last_layer_epochs=4", "covers the whole run", "optim.freeze_last_layer_epochs=1"),
    ("parallel.micro_batch=3", "must divide optim.batch=8", "parallel.micro_batch=4"),
    ("run.precision=float16", "use 'auto'", "run.precision=auto"),
    ("watch.evaluate_every=5", "watch.simulated_cells to a number", "watch.simulated_cells=100"),
    ("watch.evaluate_every=5", "or watch.evaluate_every=0", "watch.evaluate_every=0"),
]


@pytest.mark.row(
    "settings that contradict each other (view not a multiple of the token, warm-up longer than the run, two sources "
    "of samples, iBOT without hidden tokens, KoLeo with one sample, …)"
)
@pytest.mark.parametrize(("overrides", "says", "then"), FOLLOWED)
def test_what_the_message_says_ends_the_contradiction(overrides, says, then) -> None:
    with pytest.raises(ValueError, match=" ") as error:
        load("debug", overrides.split())
    assert says in str(error.value)
    load("debug", [*overrides.split(), then])


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"^2 settings contradict each other:\n- model\.chunks=3 .*\n- views\.local_size=20 "
    ):
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


@pytest.mark.row("batch that the processes cannot share, float16 without a GPU")
def test_settings_that_fit_the_machine() -> None:
    """Those that the messages above ask for: a multiple of 3, another number format, more samples per process."""
    check_machine(load("debug", ["optim.batch=9"]), processes=3, device="cpu")
    check_machine(load("debug", ["run.device=auto", "run.precision=float32"]), processes=1, device="cpu")
    check_machine(load("debug"), processes=8, device="cpu")
    check_machine(load("debug", ["parallel.micro_batch=1"]), processes=2, device="cpu")
    check_machine(load("vits16"), processes=8, device="cuda")
