"""What an estimator finds before it is put into units and intervals, and why it may find nothing."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """Slowness s = k/f of one trial and channel, with its covariance, or the status that says why there is none."""

    status: str = "ok"
    slowness: np.ndarray | None = None  # (D,)
    covariance: np.ndarray | None = None  # (D, D)
    frequency: float = np.nan  # mean frequency of what travels
    explained: float = np.nan  # share of the power that travels as the plane wave found
    delay: np.ndarray | None = None  # (site,)
    r_squared: float = np.nan
