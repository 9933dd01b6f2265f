"""Random numbers as pure functions of where they are used: no state to save, none to lose."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class RngStream(IntEnum):
    """What a random number is for; different streams never share one."""

    SAMPLE = 1
    VIEWS = 2
    MASKS = 3
    DROP_PATH = 4
    WEIGHTS = 5
    SIMULATION = 6


def generator(seed: int, stream: RngStream, *, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator of one place: the same arguments give the same numbers on any process, worker or machine.

    Philox is counter-based: step and index go into the upper words of the counter, which the numbers drawn here never
    reach, so nothing has to be skipped or stored to start in the middle of a run.
    """
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=[0, 0, index, step]))
