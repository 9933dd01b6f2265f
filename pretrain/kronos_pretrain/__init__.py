"""Pretraining of marker-aware vision transformers with DINOv2, from a laptop to many GPUs: `python -m kronos_pretrain --help`."""

__all__: list[str] = []
