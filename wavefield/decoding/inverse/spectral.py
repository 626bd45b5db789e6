"""The forward map of a ring too long to be written out, mode by mode.

A periodic operator acts on each spatial frequency k by itself. With x̂ the orthonormal Fourier transform along every
ring, the trace of an input of age a is M̂(k)ᵃ V̂(k), and a step costs a product of small matrices for every k.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np

from wavefield.operators.design import Design

_EXACT = 1e-12  # relative error of a step mode by mode up to which the operator counts as periodic
_ROUNDING = 1e-15  # part of a mode that is taken for zero


@dataclass(frozen=True, eq=False)
class SpectralDesign(Design):
    """A design whose step is made mode by mode; its methods return what those of `Design` do, but for `responses`."""

    modes: np.ndarray = field(kw_only=True)  # M̂, (C, C, K)
    size: int = field(kw_only=True)  # N

    @classmethod
    def of(cls, design: Design, size: int) -> SpectralDesign | None:
        """Return the same map mode by mode; None if a step of the design does not treat all positions alike."""
        channels, rest = divmod(design.step.shape[0], size)
        if rest:  # more than levels of so many positions: the fields of a rim
            return None
        firsts = design.step[:, np.arange(channels) * size].toarray()  # what a unit at position 0 of each becomes
        modes = np.fft.rfft(firsts.T.reshape(channels, channels, size)).transpose(1, 0, 2)
        spectral = cls(**{f.name: getattr(design, f.name) for f in fields(Design)}, modes=modes, size=size)
        probe = np.random.default_rng(0).normal(size=(design.step.shape[0], 1))
        stepped = design.step @ probe
        error = np.abs(spectral._field(spectral._stepped(spectral._spectrum(probe))) - stepped).max()
        complete = design.seen.size % size == 0 and (np.diff(design.seen.reshape(-1, size), axis=1) == 1).all()
        return spectral if complete and error <= _EXACT * np.abs(stepped).max() else None

    def responses(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (t, spectrum (C, inputs, K)): what one unit of each input at onset t has become, the latest first.

        A spectrum has the norm of the state.
        """
        response = self._spectrum(self.entry)
        ago: list[np.ndarray] = []
        for t in range(self.steps - 1, -1, -1):
            yield t, response - ago.pop(0) if len(ago) == 2 else response
            if self.pulse:
                ago.append(response)
            response = self._stepped(response)

    def adjoint(self, snapshot) -> np.ndarray:
        """Return Fᵀ y, shape (steps, inputs), of a snapshot (R,)."""
        state = np.zeros((self.entry.shape[0], 1))
        state[self.seen, 0] = snapshot
        state = self._spectrum(state)
        entering = self._spectrum(self.entry).conj().transpose(1, 0, 2).reshape(self.inputs, -1)
        products = np.empty((self.steps, self.inputs))
        for t in range(self.steps - 1, -1, -1):
            products[t] = (entering @ state.ravel()).real
            state = self._stepped(state, backwards=True)
        if self.pulse:
            products[:-2] -= products[2:]
        return products

    def columns(self, chosen=None) -> np.ndarray:
        """Return the matrix of F, (R, steps · inputs), or the chosen columns of it."""
        chosen = np.arange(self.shape[1]) if chosen is None else np.asarray(chosen)
        matrix = np.zeros((chosen.size, self.seen.size))
        order = np.argsort(-(chosen // self.inputs), kind="stable")  # the latest onsets first, as they are made
        first = 0
        for t, spectrum in self.responses():
            last = first
            while last < order.size and chosen[order[last]] // self.inputs == t:
                last += 1
            if last > first:
                field = self._field(spectrum[:, chosen[order[first:last]] % self.inputs])
                matrix[order[first:last]] = field[self.seen].T
            first = last
            if first == order.size:
                break
        return matrix.T

    def norms(self) -> np.ndarray:
        """Return the norm of every column, shape (steps, inputs), zero where nothing is left of an input."""
        seen = np.unique(self.seen // self.size)
        seen = slice(None) if seen.size == len(self.modes) else seen
        norms = np.zeros((self.steps, self.inputs))
        for t, spectrum in self.responses():
            parts = spectrum[seen].view(float)
            norms[t] = np.sqrt(np.einsum("cik,cik->i", parts, parts))
        return norms

    @cached_property
    def _scale(self):
        """Weights (K,) under which the half spectrum of a real field has its norm."""
        scale = np.full(self.modes.shape[2], np.sqrt(2 / self.size))
        scale[0] = np.sqrt(1 / self.size)
        if self.size % 2 == 0:
            scale[-1] = np.sqrt(1 / self.size)
        return scale

    @cached_property
    def _terms(self):
        """For each channel those that act on it and their modes, None where these are 1; and the same backwards."""
        modes = np.where(np.abs(self.modes) > _ROUNDING * np.abs(self.modes).max(), self.modes, 0)
        real = np.abs(modes.imag).max() <= _ROUNDING * np.abs(modes).max()
        modes = modes.real if real else modes
        return [
            [(i, _factor(of)) for i, of in enumerate(row) if of.any()]
            for row in modes
        ], [
            [(o, _factor(of.conj())) for o, of in enumerate(row) if of.any()]
            for row in modes.swapaxes(0, 1)
        ]  # fmt: skip

    def _spectrum(self, state):
        """Weighted half spectrum (C, inputs, K) of a state (S, inputs)."""
        return (
            np.fft.rfft(np.ascontiguousarray(state.T.reshape(state.shape[1], -1, self.size).swapaxes(0, 1)))
            * self._scale
        )

    def _field(self, spectrum):
        """State (S, inputs) of a spectrum."""
        return np.fft.irfft(spectrum / self._scale, n=self.size).transpose(0, 2, 1).reshape(-1, spectrum.shape[1])

    def _stepped(self, spectrum, backwards=False):
        stepped = np.empty_like(spectrum)
        for out, terms in zip(stepped, self._terms[backwards], strict=True):
            if not terms:
                out[...] = 0
            for n, (i, of) in enumerate(terms):
                if n == 0:
                    np.multiply(spectrum[i], 1.0 if of is None else of, out=out)
                else:
                    out += spectrum[i] if of is None else of * spectrum[i]
        return stepped


def _factor(of):
    """A factor of every mode: None where it is 1, one number where it is the same for all."""
    if (of == of[0]).all():
        return None if of[0] == 1 else of[0]
    return of
