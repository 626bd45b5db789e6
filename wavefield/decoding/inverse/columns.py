"""The columns of a design matrix and their scalar products, which the search for a support works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

RIVAL = 0.25  # least correlation of columns that may stand for each other
_ALL_PRODUCTS = 2048  # 32 MiB of scalar products


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of a design matrix and their scalar products: all where there is room, else as they are needed."""

    matrix: np.ndarray  # (R, n)
    most_kept: int = _ALL_PRODUCTS  # columns up to which all scalar products are kept
    _rows: dict = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """n."""
        return self.matrix.shape[1]

    @cached_property
    def squares(self) -> np.ndarray:
        """Squared norm of every column."""
        return np.einsum("rn,rn->n", self.matrix, self.matrix)

    def products(self, chosen) -> np.ndarray:
        """Scalar products of the chosen columns with all, (len(chosen), n)."""
        if self._gram is not None:
            return self._gram[chosen].reshape(-1, self.count)
        missing = [j for j in chosen if j not in self._rows]
        if missing:
            self._rows.update(zip(missing, self.matrix[:, missing].T @ self.matrix, strict=True))
        return np.array([self._rows[j] for j in chosen]).reshape(-1, self.count)

    def among(self, chosen) -> np.ndarray:
        """Scalar products of the chosen columns with each other."""
        if self._gram is not None:
            return self._gram[np.ix_(chosen, chosen)]
        part = self.matrix[:, chosen]
        return part.T @ part

    def correlation(self, chosen) -> np.ndarray:
        """Absolute correlation of the chosen columns with all, (len(chosen), n)."""
        norms = np.sqrt(self.squares)
        return np.abs(self.products(chosen)) / (norms[chosen][:, None] * norms)

    @cached_property
    def _gram(self):
        return self.matrix.T @ self.matrix if self.count <= self.most_kept else None
