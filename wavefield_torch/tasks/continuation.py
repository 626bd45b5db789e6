"""Continuation tasks: see s states of a history-dependent system, linear or not, then continue it alone.

As the history tasks T1 to T4, which are among them; the others are nonlinear, or random. What counts as right depends
on how states are coded: a sign, the largest of a group, or a distance below a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from wavefield.checks import positive_int
from wavefield.history import (
    HistorySystem,
    delayed_logistic,
    generalised_henon,
    mackey_glass,
    modular,
    random_linear,
    task,
)
from wavefield_torch.tasks.history import HistoryBatch, sign_accuracy

TOLERANCE = 0.4  # of the standard deviation: up to there a prediction of a chaotic sequence is called valid


@dataclass(frozen=True)
class Continuation:
    """A system to be continued, how its states are coded, and what its first states are drawn from.

    Attributes
    ----------
    system : HistorySystem
    code : {"sign", "onehot", "real"}
    first : callable
        (generator, batch, s, d) → first states (batch, s, d), then `settle` steps of the system are run, unseen.
    settle : int
    symbols : int
        Groups of a one-hot state.
    centre, spread : float
        Mean and standard deviation of the states: networks see (x − centre) / spread.
    """

    system: HistorySystem
    code: str
    first: Callable
    settle: int = 0
    symbols: int = 1
    centre: float = 0.0
    spread: float = 1.0


@cache
def continuation(name: str) -> Continuation:
    """Return a named task.

    ===================  ==================================================================  ====  ====  ========
    name                 next state                                                          d     s     code
    ===================  ==================================================================  ====  ====  ========
    T1, T2, T3, T4       `wavefield.history.task`                                            8     8     sign
    random-linear        `random_linear`, rank 16 of 32                                      4     8     real
    parity               product of the states 3 and 8 steps ago, `modular` with p = 2       4     8     sign
    modular              sum mod 5 of those 2 and 8 steps ago                                5     8     onehot
    logistic             `delayed_logistic`, r = 1.5                                         1     4     real
    henon                `generalised_henon`                                                 1     4     real
    mackey-glass         `mackey_glass`                                                      1     17    real
    ===================  ==================================================================  ====  ====  ========

    Raises
    ------
    ValueError
        For another name.

    Examples
    --------
    >>> continuation("parity").system
    modular_2(dimension=4, length=8)
    """
    if name in ("T1", "T2", "T3", "T4"):
        return Continuation(task(name), "sign", _signs)
    if name == "random-linear":
        system = random_linear(4, 8, 16, generator=np.random.default_rng(2))
        return Continuation(system, "real", _normal, settle=50, spread=1.145)
    if name == "parity":
        return Continuation(modular((3, 8), 2, symbols=4, code="bipolar"), "sign", _signs)
    if name == "modular":
        return Continuation(modular((2, 8), 5), "onehot", _symbols)
    if name == "logistic":
        return Continuation(delayed_logistic(4, 1.5), "real", _near(1 - 1 / 1.5, 0.05), 200, centre=0.307, spread=0.183)
    if name == "henon":
        return Continuation(generalised_henon(4), "real", _near(0.0, 1.0), 100, centre=0.457, spread=1.024)
    if name == "mackey-glass":
        return Continuation(mackey_glass(), "real", _near(0.9, 0.4), 300, centre=0.929, spread=0.227)
    raise ValueError(f"name must be one of {', '.join(CONTINUATIONS)}, got {name!r}")


CONTINUATIONS = (
    "T1", "T2", "T3", "T4", "random-linear", "parity", "modular", "logistic", "henon", "mackey-glass",
)  # fmt: skip


def continuation_batch(
    batch: int,
    name: str,
    horizon: int,
    *,
    generator: torch.Generator,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> HistoryBatch:
    """Draw a batch of fresh sequences of s + `horizon` steps of a named task.

    Parameters
    ----------
    batch : int
        Sequences B.
    name : str
        One of `CONTINUATIONS`.
    horizon : int
        Steps of the output phase, in which the input is zero.
    generator : torch.Generator
        From which a seed is drawn, for all else.

    Returns
    -------
    HistoryBatch
        As of `history_batch`, but the target of the input phase is the input itself: the states in full, as teacher
        forcing wants them.

    Examples
    --------
    >>> x, target, scored = continuation_batch(3, "modular", 10, generator=torch.Generator().manual_seed(0))
    >>> x.shape, target.sum(-1).unique().tolist(), int(scored.sum())
    (torch.Size([18, 3, 5]), [1.0], 10)
    """
    chosen = continuation(name)
    batch, horizon = positive_int(batch, "batch"), positive_int(horizon, "horizon")
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
    system, (s, d) = chosen.system, (chosen.system.length, chosen.system.dimension)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    sequence = np.empty((batch, s + horizon + chosen.settle, d))
    sequence[:, :s] = chosen.first(np.random.default_rng(seed), batch, s, d)
    for t in range(s, sequence.shape[1]):
        sequence[:, t] = system.next(sequence[:, t - s : t])
    seen = (sequence[:, chosen.settle :].swapaxes(0, 1) - chosen.centre) / chosen.spread
    target = torch.from_numpy(seen).to(device or generator.device, dtype)
    scored = torch.arange(s + horizon, device=target.device) >= s
    return HistoryBatch(target * ~scored[:, None, None], target, scored)


def right_share(output: torch.Tensor, batch: HistoryBatch, name: str) -> torch.Tensor:
    """Return how much of the output phase is right, from 0 to 1, for the code of a named task.

    ``sign``: the share of right signs, as `sign_accuracy`. ``onehot``: the share of symbols that are read by the
    largest of their numbers. ``real``: the share of the horizon before the root mean squared error over the
    dimensions first exceeds 0.4 standard deviations, the valid prediction time of forecasts of chaos.

    Examples
    --------
    >>> batch = continuation_batch(3, "henon", 10, generator=torch.Generator().manual_seed(0))
    >>> right_share(batch.target, batch, "henon").item()
    1.0
    """
    chosen = continuation(name)
    if chosen.code == "sign":
        return sign_accuracy(output, batch)
    answer, target = output[batch.scored], batch.target[batch.scored]
    if chosen.code == "onehot":
        answer, target = (states.unflatten(-1, (chosen.symbols, -1)).argmax(-1) for states in (answer, target))
        return (answer == target).float().mean()
    valid = (answer - target).square().mean(-1).sqrt() <= TOLERANCE  # (T, B); NaN is not
    return valid.float().cumprod(0).mean()


def _signs(generator, batch, s, d):
    return generator.choice([-1.0, 1.0], size=(batch, s, d))


def _normal(generator, batch, s, d):
    return generator.normal(size=(batch, s, d))


def _symbols(generator, batch, s, d):
    return np.eye(d)[generator.integers(d, size=(batch, s))]


def _near(middle, reach):
    def drawn(generator, batch, s, d):
        return middle + reach * generator.uniform(-1, 1, size=(batch, s, d))

    return drawn
