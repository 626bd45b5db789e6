"""Nonlinear history-dependent systems: sums of symbols modulo p, and maps and equations with a delay.

At all of these a linear driven end fails: the next state is no linear function of the history.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wavefield.checks import positive, positive_int
from wavefield.history.system import HistorySystem


def modular(
    lags: Sequence[int], modulus: int, *, symbols: int = 1, code: str = "onehot", length: int | None = None
) -> HistorySystem:
    """Return symbols that are sums of delayed ones, k_t = Σ_l k_{t−l} mod p: a linear recurring sequence over Z_p.

    Linear over Z_p, it is nonlinear in the code that a network sees. With the oldest state among the lags the map of
    histories is one-to-one, so that every sequence is periodic; with p = 2 it is a shift register with feedback.

    Parameters
    ----------
    lags : sequence of int
        Different ones, from 1 (the newest state) to the length.
    modulus : int
        p, at least 2.
    symbols : int
        Independent symbols in a state.
    code : {"onehot", "bipolar"}
        ``onehot``: p numbers for each symbol, 1 at its place, read by the largest. ``bipolar``, with p = 2 only: one
        number each, +1 for 0 and −1 for 1, read by the sign; the sum is then a product, x_t = Π_l sign x_{t−l}.
    length : int, optional
        s; by default the largest lag.

    References
    ----------
    S. W. Golomb, *Shift Register Sequences* (1967); R. Lidl and H. Niederreiter, *Finite Fields*, chapter 8 (1983).

    Examples
    --------
    >>> modular([1, 3], 2, code="bipolar").next([[-1.0], [1.0], [1.0]]).tolist()
    [-1.0]
    >>> modular([1, 2], 3).next([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).tolist()  # 2 + 1 = 0 mod 3
    [1.0, 0.0, 0.0]
    """
    lags = [positive_int(lag, "lags") for lag in lags]
    p, symbols = positive_int(modulus, "modulus", least=2), positive_int(symbols, "symbols")
    if not lags or len(set(lags)) < len(lags):
        raise ValueError(f"lags must be different integers, at least one, got {lags}")
    s = positive_int(max(lags) if length is None else length, "length", least=max(lags))
    if code not in ("onehot", "bipolar"):
        raise ValueError(f"code must be onehot or bipolar, got {code!r}")
    if code == "bipolar" and p != 2:
        raise ValueError(f"code must be onehot for a modulus of {p}: bipolar codes two symbols")
    slots = s - np.array(lags)

    def product(history):  # (…, s, symbols)
        return np.where(history[..., slots, :] < 0, -1.0, 1.0).prod(axis=-2)

    def total(history):  # (…, s, symbols · p)
        seen = history[..., slots, :].reshape(*history.shape[:-2], len(slots), symbols, p).argmax(axis=-1)
        return np.eye(p)[seen.sum(axis=-2) % p].reshape(*history.shape[:-2], symbols * p)

    if code == "bipolar":
        return HistorySystem(symbols, s, product, name=f"modular_{p}", batched=True)
    return HistorySystem(symbols * p, s, total, name=f"modular_{p}", batched=True)


def delayed_logistic(length: int = 2, rate: float = 2.1, *, dimension: int = 1) -> HistorySystem:
    """Return the logistic map with a delay, x_t = r x_{t−1} (1 − x_{t−s}), in `dimension` independent copies.

    A population limited by its size s generations ago. The state of rest 1 − 1/r is stable up to
    r = 1 + 2 sin(π / (4s − 2)) (2 at s = 2) and is surrounded by an invariant circle above, on which the sequence is
    quasi-periodic. Sequences that start on or near the circle stay in (0, 1); at s = 2 they do for r below 2.27.

    References
    ----------
    J. Maynard Smith, *Mathematical Ideas in Biology* (1968); D. G. Aronson, M. A. Chory, G. R. Hall and R. P. McGehee,
    "Bifurcations from an invariant circle for two-parameter families of maps of the plane", Communications in
    Mathematical Physics 83, 303 (1982).

    Examples
    --------
    >>> delayed_logistic(2, 2.0).next([[0.25], [0.5]]).tolist()
    [0.75]
    """
    rate = positive(rate, "rate")

    def grow(history):  # (…, s, d)
        return rate * history[..., -1, :] * (1 - history[..., 0, :])

    return HistorySystem(dimension, length, grow, name="delayed_logistic", batched=True)


def generalised_henon(length: int = 2, a: float = 1.76, b: float = 0.1, *, dimension: int = 1) -> HistorySystem:
    """Return the generalised Hénon map, x_t = a − x²_{t−s+1} − b x_{t−s}, in `dimension` independent copies.

    At s = 2 it is a Hénon map; at a = 1.76 and b = 0.1 it is chaotic with s − 1 positive exponents. From a start within
    [−1, 1] it stays in (−2, 2).

    References
    ----------
    M. Hénon, "A two-dimensional mapping with a strange attractor", Communications in Mathematical Physics 50, 69
    (1976); G. Baier and M. Klein, "Maximum hyperchaos in generalized Hénon maps", Physics Letters A 151, 281 (1990).

    Examples
    --------
    >>> generalised_henon(3, 1.5, 0.5).next([[1.0], [0.5], [0.0]]).tolist()
    [0.75]
    """
    s, a, b = positive_int(length, "length", least=2), positive(a, "a"), positive(b, "b")

    def fold(history):  # (…, s, d)
        return a - history[..., 1, :] ** 2 - b * history[..., 0, :]

    return HistorySystem(dimension, s, fold, name="generalised_henon", batched=True)


def mackey_glass(
    delay: int = 17,
    *,
    step: float = 1.0,
    production: float = 0.2,
    decay: float = 0.1,
    exponent: float = 10.0,
    dimension: int = 1,
) -> HistorySystem:
    """Return the Mackey–Glass equation, dx/dt = β x(t−τ) / (1 + x(t−τ)ⁿ) − γ x(t), in Euler steps of `step`.

        x_t = x_{t−1} + Δ ( β x_{t−s} / (1 + x_{t−s}ⁿ) − γ x_{t−1} )

    with s = `delay` steps. From positive states it stays positive, and below the larger of its first states and
    (β/γ) · max_x x / (1 + xⁿ). With the constants given it is chaotic at τ = s Δ = 17. Powers are those of |x|, so that
    the map is defined for every state.

    References
    ----------
    M. C. Mackey and L. Glass, "Oscillation and chaos in physiological control systems", Science 197, 287 (1977).

    Examples
    --------
    >>> mackey_glass(2, production=2.0, decay=0.5).next([[1.0], [0.5]]).tolist()
    [1.25]
    """
    step, beta, gamma = positive(step, "step"), positive(production, "production"), positive(decay, "decay")
    n = positive(exponent, "exponent")
    if step * gamma >= 1:
        raise ValueError(f"step must be below 1 / decay = {1 / gamma:g} for positive states to stay so, got {step}")

    def flow(history):  # (…, s, d)
        late, now = history[..., 0, :], history[..., -1, :]
        return now + step * (beta * late / (1 + np.abs(late) ** n) - gamma * now)

    return HistorySystem(dimension, delay, flow, name="mackey_glass", batched=True)
