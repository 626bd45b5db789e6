"""What was found: one row for each event, or for each of the alternatives for one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Places:
    """Rows of events with their places, and what is to be said about all of them."""

    ring: np.ndarray
    age: np.ndarray  # steps before the last
    place: np.ndarray  # flat
    amplitude: np.ndarray
    error: np.ndarray  # standard deviation of the amplitude
    confidence: np.ndarray
    ambiguous: np.ndarray  # 0: no; else the group whose rows are alternatives
    facts: dict = field(default_factory=dict)
    warnings: list = field(default_factory=list)

    @classmethod
    def none(cls, facts: dict) -> Places:
        """No event."""
        whole, number = np.zeros(0, np.int64), np.zeros(0)
        return cls(whole, whole, whole, number, number, number, whole, facts)

    def __len__(self):
        return self.age.size
