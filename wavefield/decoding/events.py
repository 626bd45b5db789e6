"""What a decoder gives back: one row for each past event, or for each of the alternatives for one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Events:
    """Rows of decoded events and what is to be said about all of them."""

    onset: np.ndarray
    input: np.ndarray
    amplitude: np.ndarray
    error: np.ndarray  # standard deviation of the amplitude
    confidence: np.ndarray
    period: np.ndarray  # 0: the onset is known; p: it is known modulo p
    ambiguous: np.ndarray  # 0: no; else the group whose rows are alternatives
    facts: dict = field(default_factory=dict)  # numbers and text for the attributes
    warnings: list = field(default_factory=list)

    def __len__(self):
        return self.onset.size

    def nonnegative(self) -> Events:
        """Return the rows whose amplitude is not negative, and a warning if there were others."""
        kept = self.amplitude >= 0
        if kept.all():
            return self
        rows = {name: getattr(self, name)[kept] for name in ROWS}
        return Events(**rows, facts=self.facts, warnings=[*self.warnings, not_listed(int((~kept).sum()), "rows have")])

    def sorted(self) -> Events:
        """Return the rows by onset, then input, with groups numbered as they appear."""
        place = self.onset * (self.input.max(initial=0) + 1) + self.input
        if (place[1:] >= place[:-1]).all() and not self.ambiguous.any():
            return self
        order = np.argsort(place, kind="stable")
        groups = self.ambiguous[order]
        if groups.any():
            seen, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
            first[seen == 0] = -1  # no group keeps its 0
            rank = np.argsort(np.argsort(first))
            groups = rank[inverse] + int(seen[0] != 0)
        rows = {name: getattr(self, name)[order] for name in ROWS[:-1]}
        return Events(**rows, ambiguous=groups, facts=self.facts, warnings=self.warnings)


ROWS = ("onset", "input", "amplitude", "error", "confidence", "period", "ambiguous")


def joined(parts: list[Events], facts: dict, warnings: list) -> Events:
    """Return the rows of several decoders in one table, their groups kept apart."""
    shift, groups = 0, []
    for part in parts:
        groups.append(np.where(part.ambiguous > 0, part.ambiguous + shift, 0))
        shift += int(part.ambiguous.max(initial=0))
    empty = {name: np.zeros(0, np.int64) for name in ("onset", "input", "period", "ambiguous")}
    rows = {
        name: np.concatenate([empty.get(name, np.zeros(0)), *(getattr(part, name) for part in parts)])
        for name in ROWS[:-1]
    }
    ambiguous = np.concatenate([empty["ambiguous"], *groups]).astype(np.int64)
    return Events(**rows, ambiguous=ambiguous, facts=facts, warnings=warnings)


def not_listed(count: int, kind: str) -> str:
    """Say that amplitudes were found that `nonnegative` excludes."""
    return (
        f"{count} {kind} negative amplitudes, which `nonnegative` excludes: they are not listed. If amplitudes may be "
        "negative, say nonnegative=False"
    )


def silent_inputs(entering, inputs) -> list[str]:
    """Name the inputs that are not among those entering."""
    return [f"input {i} enters nowhere: nothing can be known of it" for i in np.setdiff1d(np.arange(inputs), entering)]
