"""Where a run's samples and first weights come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kronos_pretrain.data.corpus import Corpus
from kronos_pretrain.data.simulated import simulate
from kronos_pretrain.evaluate.labelled import Labelled
from kronos_pretrain.init_weights import check_vocabulary, starting_model, starting_state
from kronos_pretrain.network import Network

if TYPE_CHECKING:
    import torch

    from kronos_pretrain.config.schema import Config

CELL_WINDOW = 64  # pixels: a cell with its surroundings, as tl.embed cuts it


def open_corpus(config: Config) -> Corpus:
    """Return the corpus on disk, or simulated tissue."""
    if config.data.simulate.images:
        return simulate(config.data.simulate, config.data.patch)
    return Corpus.open(config.data.corpus)


def open_labelled(config: Config) -> Labelled:
    """Return the labelled patches that frozen features are judged by."""
    if config.watch.simulated_cells:
        from kronos_pretrain.evaluate.cut import simulated  # the scverse stack, which machines that train may lack

        return simulated(
            config.watch.simulated_cells,
            size=min(config.views.global_size, CELL_WINDOW),
            seed=config.data.simulate.seed + 1,
        )
    return Labelled.load(config.watch.labelled)


def open_start(config: Config, corpus: Corpus) -> dict[str, torch.Tensor] | None:
    """Return the weights to start from, if the run starts from some; their marker ids must be those of the corpus."""
    if not config.run.start:
        return None
    model = starting_model(config.run.start)
    check_vocabulary(model.vocabulary, corpus.vocabulary)
    return starting_state(config.run.start, Network(config), config, model=model)
