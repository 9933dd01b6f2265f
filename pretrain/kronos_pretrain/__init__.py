"""Pretraining of marker-aware vision transformers with DINOv2, from a laptop to many GPUs.

`python -m kronos_pretrain --help` lists the commands.
"""

__all__: list[str] = []
