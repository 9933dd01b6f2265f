"""A plain per-cell pipeline, as a careful user would write it without this package.

One file per cell, then a loop over batches:

1. Cut: for each cell, slice the lazy image and labels of the store around its centroid, write one `.npy` of the pixels
   of that cell alone.
2. Embed: a `DataLoader` over the files (no workers, the cores belong to the network), scale and z-score in float64,
   float32 forward with attention written out (softmax of queries times keys, times values), ordinary `Conv2d`, `Linear`
   and `GELU`; 16 cells per batch.

Same weights, same windows, same masks: the features must agree.
"""

import copy
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import spatialdata as sd
import torch
from skimage.measure import regionprops_table
from torch import nn
from torch.utils.data import DataLoader, Dataset

from kronos_sc.models import KronosViT

BATCH = 16


class PlainAttention(nn.Module):
    """softmax(Q Kᵀ / √e) V."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.heads = attention.heads
        self.qkv = attention.qkv
        self.proj = attention.proj

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5, dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, t, d))


class PlainBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.norm1 = block.norm1
        self.attn = PlainAttention(block.attn)
        self.gamma1 = block.ls1.gamma
        self.norm2 = block.norm2
        self.gamma2 = block.ls2.gamma
        self.mlp = nn.Sequential(block.mlp.fc1, nn.GELU(), block.mlp.fc2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.gamma1 * self.attn(self.norm1(x))
        return x + self.gamma2 * self.mlp(self.norm2(x))


class PlainNet(nn.Module):
    """The network from ordinary layers; takes the weights of ours."""

    def __init__(self, net: KronosViT) -> None:
        super().__init__()
        net = copy.deepcopy(net).float()
        self.net = net
        self.conv = net.patch_embed.proj
        self.blocks = nn.Sequential(*(PlainBlock(net.block(index)) for index in net.running))

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Return the mean token of each marker (b, m · d)."""
        net = self.net
        (b, m, h, w) = pixels.shape
        tokens = self.conv(pixels.reshape(b * m, 1, h, w))  # b·m, d, r, c
        rows, columns = tokens.shape[2:]
        tokens = tokens.flatten(2).transpose(1, 2).reshape(b, m, rows * columns, -1)
        tokens = (
            tokens + net.marker_table[ids][:, :, None] + net.position(rows, columns).reshape(1, 1, rows * columns, -1)
        )
        cls = (net.cls_token + net.pos_embed[:, :1]).expand(b, -1, -1)
        x = torch.cat([cls, net.register_tokens.expand(b, -1, -1), tokens.flatten(1, 2)], dim=1)
        x = net.norm(self.blocks(x))
        return x[:, 1 + net.config.registers :].reshape(b, m, rows * columns, -1).mean(2).flatten(1)


class Files(Dataset):
    """Normalised pixels of each cell from its file."""

    def __init__(self, files: list[Path], panel: SimpleNamespace, max_value: float) -> None:
        self.files = files
        self.max_value = max_value
        self.mean, self.std = (np.asarray(values, np.float64)[:, None, None] for values in (panel.mean, panel.std))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        stored = np.load(self.files[index])
        pixels = stored[:-1]
        mask = stored[-1] > 0
        z = (pixels.astype(np.float64) / self.max_value - self.mean) / self.std
        return torch.from_numpy((z * mask).astype(np.float32))


def cut(
    sdata: sd.SpatialData, cells: np.ndarray, channels: list[str], size: int, folder: Path
) -> tuple[list[Path], float]:
    """Write one file per cell: its window of each channel, and its mask; return the files and the seconds it took."""
    image = sdata.images["image"]
    labels = sdata.labels["cells"].data
    pixels = image.data[[list(image.coords["c"].to_numpy()).index(name) for name in channels]]
    height, width = pixels.shape[1:]
    found = regionprops_table(
        np.asarray(labels), properties=("label", "centroid")
    )  # a table of cells has them; not timed
    centre = {
        int(label): (y, x) for label, y, x in zip(found["label"], found["centroid-0"], found["centroid-1"], strict=True)
    }
    start = time.perf_counter()
    files = []
    for cell in cells.tolist():
        top, left = (int(np.floor(c + 0.5)) - size // 2 for c in centre[cell])
        y0 = max(top, 0)
        y1 = min(top + size, height)
        x0 = max(left, 0)
        x1 = min(left + size, width)
        stored = np.zeros((len(channels) + 1, size, size), pixels.dtype)
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        stored[:-1, *inside] = pixels[:, y0:y1, x0:x1].compute()
        stored[-1, *inside] = labels[y0:y1, x0:x1].compute() == cell
        files.append(folder / f"{cell}.npy")
        np.save(files[-1], stored)
    return files, time.perf_counter() - start


def embed(net: KronosViT, files: list[Path], panel: SimpleNamespace, max_value: float) -> tuple[np.ndarray, float]:
    """Return features of all files (cells, m · d) and the seconds it took."""
    plain = PlainNet(net).eval()
    ids = torch.as_tensor(np.asarray(panel.id, np.int64))[None]
    start = time.perf_counter()
    with torch.inference_mode():
        parts = [plain(x, ids.expand(len(x), -1)) for x in DataLoader(Files(files, panel, max_value), batch_size=BATCH)]
    return torch.cat(parts).numpy(), time.perf_counter() - start
