"""Throughput of the forward pass as a share of this machine's own matrix-product rate, same number format, same run."""

import argparse
import statistics
import time

import torch

from kronos_sc import models
from kronos_sc.models import KronosViT
from kronos_sc.models.inference import instructions
from kronos_sc.models.inference.runner import auto_batch

SIDE = 2048


def flops(net: KronosViT, markers: int, size: int) -> int:
    """Return multiply-adds × 2 of one image: linear maps, attention and the patch embedding."""
    c = net.config
    n = (size // net.config.patch) ** 2
    tokens = 1 + c.registers + markers * n
    linear = 2 * tokens * c.dim * c.dim * (4 + 2 * c.mlp_ratio)
    attention = 4 * tokens * tokens * c.dim
    return len(net.running) * (linear + attention) + 2 * markers * n * c.patch**2 * c.dim


def rate(work: float, call, seconds: float) -> float:
    """Return the best GFLOP/s of repeated calls."""
    best = float("inf")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return work / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="per measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; matrix product {SIDE}³; official blocks; best "
        "call of each round"
    )
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), instructions.products(dtype, torch.device("cpu")):
            model = models.load("kronos-untrained", blocks="official").at(torch.device("cpu"), dtype)
            net = model.net
            a = torch.randn(SIDE, SIDE).to(dtype)
            for markers, size in ((18, 64), (10, 224)):
                batch = auto_batch(model, size, markers, device=torch.device("cpu"), dtype=dtype)
                x = torch.randn(batch, markers, size, size).to(dtype)
                ids = torch.arange(128, 128 + markers).expand(batch, -1)
                net(x, ids)
                pairs = []
                for _ in range(options.rounds):
                    matrix = rate(2 * SIDE**3, lambda a=a: a @ a, options.seconds / 2)
                    forward = rate(
                        batch * flops(net, markers, size), lambda x=x, ids=ids, net=net: net(x, ids), options.seconds
                    )
                    pairs.append((forward, matrix))
                forward, matrix = (statistics.median(p[i] for p in pairs) for i in (0, 1))
                share = statistics.median(p[0] / p[1] for p in pairs)
                print(
                    f"{str(dtype).removeprefix('torch.'):9} {markers} markers × {size:3} px, batch {batch:2}: "
                    f"{forward:6.0f} GFLOP/s, matrix product {matrix:6.0f} GFLOP/s, share {share:.2f}, "
                    f"{forward * 1e9 / flops(net, markers, size):.0f} units/s"
                )


if __name__ == "__main__":
    main()
