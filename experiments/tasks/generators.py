"""Generators that depend on the seed, the purpose and the step alone.

Every batch is a function of the seed and of the step, so that an interrupted run resumes with the data it would have
had: no state of a random generator needs to be kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

TRAINING, VALIDATION, WEIGHTS, ORDER, FIXED, NOISE = range(6)  # what a generator is for


def generator_for(seed: int, purpose: int, step: int = 0, device="cpu") -> torch.Generator:
    """Return the generator of a seed, purpose and step, independent of all others."""
    state = np.random.SeedSequence((seed, purpose, step)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


@contextlib.contextmanager
def seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Draws from PyTorch's own generators, as those of a model's noise, depend on the seed and the step alone."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(generator_for(seed, NOISE, step).initial_seed())
        yield
