"""Model cards: what a model is, where it comes from and what one may do with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """Facts about a model.

    Parameters
    ----------
    name
        The name that `models.load` takes.
    title
        One line.
    licence
        Of the weights.
    features
        Kinds of features it gives, the default one first: "marker" (one vector per marker) or "cls" (one vector per
        unit).
    gated
        Whether access must be asked for.
    trained
        Whether the weights were learned; False for demonstrations, None where there are no weights.
    source
        Where the weights come from.
    architecture
        Short form.
    citation
        Paper.
    patch_multiple
        Window sizes must be multiples of this (pixels).
    training_data
        What the weights were learned from.
    resolution
        Micrometres per pixel, or magnification, of that data.
    notes
        Whatever a user should know before trusting it.
    diagnostic
        What the LayerScale gammas of a checkpoint say about the blocks it was trained with.
    """

    name: str
    title: str
    licence: str
    features: tuple[str, ...] = ("marker", "cls")
    gated: bool = False
    trained: bool | None = True
    source: str = ""
    architecture: str = ""
    citation: str = ""
    patch_multiple: int = 16
    training_data: str = ""
    resolution: str = ""
    notes: str = ""
    diagnostic: str = ""

    @property
    def label(self) -> str:
        """Name for log lines; says so when the weights are untrained."""
        if self.trained is False and "untrained" not in self.name:
            return f"{self.name} (untrained)"
        return self.name

    @property
    def state(self) -> str:
        """What the weights are worth, in words."""
        return {True: "trained", False: "UNTRAINED: for demonstrations only", None: "none"}[self.trained]

    def __str__(self) -> str:
        weights = f"{self.state}; licence {self.licence}"
        if self.gated:
            weights += "; gated: access must be granted by the owner"
        rows = {
            "name": f"{self.name} – {self.title}",
            "weights": weights,
            "source": self.source,
            "architecture": self.architecture,
            "features": ", ".join(self.features),
            "trained on": " at ".join(part for part in (self.training_data, self.resolution) if part),
            "citation": self.citation,
            "notes": self.notes,
            "blocks": self.diagnostic,
        }
        return "\n".join(f"{key:<13}{value}" for key, value in rows.items() if value)

    __repr__ = __str__
