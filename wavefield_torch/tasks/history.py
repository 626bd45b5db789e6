"""History tasks: see s states of ±1, then continue the sequence alone, x_t = f(x_{t−1}, …, x_{t−s}) with a linear f.

Karuvally, Sejnowski and Siegelmann (ICML 2024) and the published code: the maps T1–T4 of `wavefield.history.task`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch

from wavefield.checks import positive_int
from wavefield.history import HistorySystem, task

HORIZONS = (10, 20, 40, 60, 100)  # output steps of the curriculum, a stage up whenever accuracy passes the threshold
TEST_HORIZON = 200


class HistoryBatch(NamedTuple):
    """One batch: inputs `x` (T, B, d), the states to answer `target` (T, B, d), and the steps that count `scored` (T,).

    The first s steps are the input phase, not scored; in the output phase the input is zero.
    """

    x: torch.Tensor
    target: torch.Tensor
    scored: torch.Tensor


def history_batch(
    batch: int,
    system: str | HistorySystem,
    horizon: int,
    *,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> HistoryBatch:
    """Draw a batch of fresh sequences of s + `horizon` steps.

    The states of the input phase are ±1, independent and equally likely. The network is fed zeros from then on, never
    its own outputs, and has to answer x_{s+1}, x_{s+2}, ….

    Parameters
    ----------
    batch : int
        Sequences B.
    system : str or HistorySystem
        ``T1`` to ``T4``, or any linear system: Fibonacci, a random one.
    horizon : int
        Steps of the output phase.
    generator : torch.Generator
        On the device on which the states are drawn; the batch is made there, then moved to `device` if that is
        another.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above, the system is not linear, or it grows beyond the range of `dtype` within the
        horizon.

    Examples
    --------
    >>> x, target, scored = history_batch(3, "T1", 10, generator=torch.Generator().manual_seed(0))
    >>> x.shape, scored.tolist().index(True), torch.equal(target[8:16], x[:8])
    (torch.Size([18, 3, 8]), 8, True)
    """
    system = _published(system) if isinstance(system, str) else system
    if not isinstance(system, HistorySystem):
        raise TypeError(f"system must be one of T1 to T4 or a HistorySystem, got {type(system).__name__}")
    batch, horizon = positive_int(batch, "batch"), positive_int(horizon, "horizon")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    where, (s, d) = generator.device, (system.length, system.dimension)
    seen = torch.randint(0, 2, (s, batch, d), generator=generator, device=where).to(dtype) * 2 - 1
    future = torch.from_numpy(_continuation(system, horizon)).to(where, dtype)  # (horizon · d, s · d)
    if not torch.isfinite(future).all():
        raise ValueError(f"horizon must keep {system!r} within the range of {dtype}, got {horizon}: it grows")
    answers = (seen.transpose(0, 1).flatten(1) @ future.T).unflatten(1, (horizon, d)).transpose(0, 1)
    rest = seen.new_zeros(horizon, batch, d)
    scored = torch.arange(s + horizon, device=where) >= s
    drawn = HistoryBatch(torch.cat([seen, rest]), torch.cat([torch.zeros_like(seen), answers]), scored)
    return HistoryBatch(*(part.to(device or where) for part in drawn))


def history_loss(output: torch.Tensor, batch: HistoryBatch) -> torch.Tensor:
    """Return the mean squared error over the output phase."""
    return torch.nn.functional.mse_loss(output[batch.scored], batch.target[batch.scored])


def sign_accuracy(output: torch.Tensor, batch: HistoryBatch) -> torch.Tensor:
    """Return the fraction of entries of the output phase whose sign is right, the accuracy of the paper.

    An output of exactly 0 counts half: a network that has faded into silence is at chance, as in the published tables.
    A state of exactly 0, which Fibonacci sequences of ±1 pass through, has no sign and does not count.

    Examples
    --------
    >>> batch = history_batch(3, "T2", 5, generator=torch.Generator().manual_seed(0))
    >>> sign_accuracy(0.1 * batch.target, batch).item(), sign_accuracy(-batch.target, batch).item()
    (1.0, 0.0)
    """
    answer, target = output[batch.scored], batch.target[batch.scored]
    right = (answer * target > 0).float() + 0.5 * (answer == 0)
    return right[target != 0].mean()


_published = cache(task)  # one object a name, so that its continuation is computed once


@lru_cache(maxsize=32)
def _continuation(system: HistorySystem, horizon: int) -> np.ndarray:
    """Map from the s states seen to the `horizon` next ones, (horizon · d, s · d), exact for integer weights."""
    d = system.dimension
    phi, state = system.matrix(), np.eye(system.length * d)
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):  # growth is refused by the caller
        for _ in range(horizon):
            state = phi @ state
            rows.append(state[-d:])
    return np.concatenate(rows)
