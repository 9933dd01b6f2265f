"""Pretraining of marker-aware vision transformers with DINOv2 (the trainer arrives in a later release)."""

__all__: list[str] = []
