"""Shapes of the networks, by name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kronos_sc._core.checks import known, one_of


@dataclass(frozen=True)
class ViTConfig:
    """Shape of a marker-aware vision transformer (paper, Online Methods; Table S24).

    Parameters
    ----------
    dim
        Width of a token.
    depth
        Transformer blocks.
    heads
        Attention heads; divides `dim`.
    chunks
        Groups in which the blocks are stored; the official forward runs the first block of each.
    patch
        Edge of a token in pixels.
    grid
        Rows and columns of the learned positional table.
    registers
        Register tokens.
    mlp_ratio
        Hidden width of the MLP over `dim`.
    """

    dim: int = 384
    depth: int = 12
    heads: int = 6
    chunks: int = 4
    patch: int = 16
    grid: int = 14
    registers: int = 16
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads) or self.depth % self.chunks:
            msg = (
                f"heads ({self.heads}) must divide half of dim ({self.dim}) and chunks ({self.chunks}) must divide "
                f"depth ({self.depth})."
            )
            raise ValueError(msg)

    def blocks_run(self, blocks: str) -> tuple[int, ...]:
        """Return the indices of the blocks that run: `"all"`, or the `"official"` first one of each chunk."""
        one_of(blocks, ("official", "all"), name="blocks")
        step = self.depth // self.chunks if blocks == "official" else 1
        return tuple(range(0, self.depth, step))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


CONFIGS = {
    "vits16": ViTConfig(),
    "vitl16": ViTConfig(dim=1024, depth=24, heads=16),
    "tiny": ViTConfig(dim=48, depth=4, heads=3, chunks=2, registers=4),
}


def config(model_type: str) -> ViTConfig:
    """Return the configuration of a named architecture."""
    fix = "Use one of these as model_type in config.json."
    return CONFIGS[known(model_type, CONFIGS, what="architecture", fix=fix)]
