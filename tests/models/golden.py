"""The golden recipe: weights and inputs that anyone can draw again."""

import numpy as np
import torch


def fill(net: torch.nn.Module) -> None:
    """Give every tensor of the state dict, in sorted order, the values of the recipe."""
    state = net.state_dict()
    for j, key in enumerate(sorted(state)):
        z = np.random.RandomState(j).randn(state[key].numel()).reshape(state[key].shape).astype(np.float32)
        if key.endswith("gamma"):
            z = 0.5 + 0.1 * z
        elif "norm" in key and key.endswith("weight"):
            z = 1 + 0.1 * z
        elif key in ("pos_embed", "cls_token", "register_tokens", "mask_token"):
            z = 0.5 * z
        else:
            z = 0.05 * z
        state[key] = torch.from_numpy(z.astype(np.float32))
    net.load_state_dict(state)


def pixels(size: int, *, batch: int = 2, markers: int = 3) -> torch.Tensor:
    """Return the recipe's input."""
    return torch.from_numpy(np.random.RandomState(1000 + size).randn(batch, markers, size, size).astype(np.float32))


IDS = torch.tensor([[4, 248, 294], [4, 28, 322]])
