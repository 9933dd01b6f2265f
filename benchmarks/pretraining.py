"""How much does label-free training on simulated tissue improve frozen features?

Probes before and after, for several seeds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from kronos_pretrain.config import load
from kronos_pretrain.trainer import train
from kronos_pretrain.watch import read
from kronos_sc import settings

PROBES = {
    "class token, k-NN": "evaluate/knn_balanced_accuracy",
    "class token, linear": "evaluate/linear_balanced_accuracy",
    "marker features, k-NN": "evaluate/marker_knn_balanced_accuracy",
    "marker features, linear": "evaluate/marker_linear_balanced_accuracy",
    "mean intensities, k-NN": "evaluate/mean_marker_knn_balanced_accuracy",
    "mean intensities, linear": "evaluate/mean_marker_linear_balanced_accuracy",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=300, help="a multiple of 20; the configuration itself runs for 3,000"
    )
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    settings.progress = False
    pairs_of: dict[str, list[tuple[float, float]]] = {name: [] for name in PROBES}
    print(
        f"vitti16_cpu, {options.steps} steps of 64 samples, {options.cells} simulated cells of other images; balanced "
        "accuracy before → after"
    )
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            overrides = [
                f"run.folder={Path(folder) / 'run'}",
                f"run.seed={seed}",
                f"run.epoch_steps={options.steps // 20}",
                "watch.every=10",
                f"watch.evaluate_every={options.steps}",
                f"watch.simulated_cells={options.cells}",
                "watch.pictures=0",
                "watch.tensorboard=false",
                f"checkpoints.every={options.steps}",
            ]
            started = time.perf_counter()
            log = read(train(load("vitti16_cpu", overrides)))
            seconds = time.perf_counter() - started
        if log["step"][-1] != options.steps:
            raise SystemExit(f"stopped at step {log['step'][-1]:.0f} of {options.steps}")
        for name, key in PROBES.items():
            values = [value for value in log[key].tolist() if value == value]  # NaN in lines that hold no evaluation
            pairs_of[name].append((values[0], values[-1]))
        speed = statistics.median(value for value in log["speed/images_per_s"].tolist() if value == value)
        print(
            f"seed {seed} ({seconds:.0f} s, {speed:.0f} samples/s): "
            + "; ".join(f"{n} {p[-1][0]:.3f} → {p[-1][1]:.3f}" for n, p in pairs_of.items())
        )
    for name, pairs in pairs_of.items():
        before, after = ([pair[i] for pair in pairs] for i in (0, 1))
        print(
            f"{name:<26}{statistics.mean(before):.3f} → {statistics.mean(after):.3f}   least gain "
            f"{min(a - b for b, a in pairs):+.3f}"
        )


if __name__ == "__main__":
    main()
