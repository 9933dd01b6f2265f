"""Throughput of every encoder on cells of 18 markers × 64 pixels, as a ratio to `kronos-untrained`.

Both are timed in pairs within one run. Weights are random except where there are none: speed does not depend on them.
`--model` adds others by name (`timm:…`, a folder).
"""

import argparse
import statistics
import time

import torch

from kronos_sc import models
from kronos_sc.models import Model
from kronos_sc.models.encoders.backbones import BACKBONES
from kronos_sc.models.encoders.ca_mae import CaMae
from kronos_sc.models.encoders.resize import Fit
from kronos_sc.models.encoders.vision import VisionModel
from kronos_sc.models.inference import instructions
from kronos_sc.models.inference.runner import auto_batch
from kronos_sc.models.nets.ca_mae import ChannelViT
from kronos_sc.models.nets.plain_vit import PlainViT

MARKERS = 18
SIZE = 64


def small(net: torch.nn.Module) -> torch.nn.Module:
    """Give a network made without memory some weights, quickly."""
    net.to_empty(device="cpu")
    with torch.no_grad():
        for value in net.parameters():
            value.uniform_(-0.02, 0.02)
    return net


def load_model(name: str) -> tuple[Model, str]:
    """Return a model and what its weights are."""
    if name == "ca-mae":
        with torch.device("meta"):
            net = ChannelViT()
        return CaMae(small(net)), "random"
    for origin in BACKBONES:
        if origin.card.name == name:
            with torch.device("meta"):
                net = PlainViT(origin.config)
            return VisionModel(
                small(net), origin.card, fit=Fit(name, "crop", origin.config.patch), key=origin.key
            ), "random"
    if name == "kronos":  # the same network with the blocks that the released package runs
        return models.load("kronos-untrained", blocks="official"), "random"
    model = models.load(name, blocks="all" if name == "kronos-untrained" else None)
    if model.card.trained is False:
        return model, "random"
    if model.net is None:
        return model, "none"
    return model, "trained"


def round_of(model: Model, x: torch.Tensor, masks: torch.Tensor, kind: str, seconds: float) -> float:
    """Return the best units per second of repeated calls."""
    ids = torch.zeros(x.shape[:2], dtype=torch.long)
    best = 0.0
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        model.encode(x, ids, masks, (kind,))
        now = time.perf_counter()
        best = max(best, len(x) / (now - start))
        if now > end:
            return best


def inputs(model: Model, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch as large as the runner makes it, and masks of round cells."""
    batch = auto_batch(model, SIZE, MARKERS, device=torch.device("cpu"), dtype=dtype)
    grid = torch.arange(SIZE) - SIZE / 2 + 0.5
    disc = grid[:, None] ** 2 + grid**2 < 12**2
    return torch.randn(batch, MARKERS, SIZE, SIZE).to(model.input_format), disc.expand(batch, -1, -1).clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="another model, by name or folder")
    parser.add_argument("--only", action="append", default=[], help="these and no others")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    names = options.only or [
        "mean-marker",
        "mean-marker+",
        "kronos",
        "ca-mae",
        *(origin.card.name for origin in BACKBONES),
    ]
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.dtype}, {MARKERS} markers × {SIZE} "
        "px, pixels in memory"
    )
    print(
        "\n| model | weights | parameters | tokens per cell | cells/s | ratio to `kronos-untrained` "
        "|\n|---|---|---|---|---|---|"
    )
    reference = models.load("kronos-untrained", blocks="all").at(torch.device("cpu"), dtype)
    with torch.inference_mode(), instructions.products(dtype, torch.device("cpu")):
        reference_inputs = inputs(reference, dtype)
        round_of(reference, *reference_inputs, "marker", 0)
        for name in ["kronos-untrained", *names, *options.model]:
            model, weights = load_model(name)
            if model.net is not None:
                model = model.at(torch.device("cpu"), dtype)
            x = inputs(model, dtype)
            kind = model.card.features[0]
            round_of(model, *x, kind, 0)
            pairs = [
                (
                    round_of(model, *x, kind, options.seconds),
                    round_of(reference, *reference_inputs, "marker", options.seconds),
                )
                for _ in range(options.rounds)
            ]
            parameters = "none"
            tokens = ""
            if model.net is not None:
                parameters = f"{sum(value.numel() for value in model.net.parameters()) / 1e6:.1f} M"
                tokens = model.tokens(SIZE, MARKERS)
            print(
                f"| `{name}`{' (official blocks)' * (name == 'kronos')} | {weights} | {parameters} | {tokens} | "
                f"{statistics.median(p[0] for p in pairs):,.3g} | "
                f"{statistics.median(p[0] / p[1] for p in pairs):.3g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
