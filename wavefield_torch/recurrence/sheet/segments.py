"""How the backward pass of the sheet finds the states of a segment: from its end, by the inverse step, or forward."""

from __future__ import annotations

import logging
import math

import torch

from wavefield_torch.recurrence.sheet.reference import kept_and_gain

logger = logging.getLogger(__name__)

# How much an error of rounding may grow while a segment is computed from its end: float32 then agrees to 1e-5.
_GROWTH = {torch.float32: 40.0, torch.float64: 1e4}


def invertible(problem, every: int) -> bool:
    """Whether segments of `every` steps are computed from their ends, by the inverse of the step.

    A GPU is waited for; while a CUDA graph is captured that is not possible, and they are computed from the beginning.
    """
    if problem.y0.numel() == 0 or (problem.y0.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    low, high = (float(a) for a in problem.damping.aminmax())
    kept, _ = kept_and_gain(high, problem.dt, problem.scheme)
    growth = math.inf if kept <= 0 or low < 0 else kept ** -min(every, problem.steps)
    exact = growth <= _GROWTH[problem.y0.dtype]
    way = "by the inverse of the step" if exact else "from their beginnings"
    logger.debug(
        "sheet_scan: damping up to %.3g; segments of %d steps are computed again %s (rounding grows by %.3g)",
        high, every, way, growth,
    )  # fmt: skip
    return exact


def gains(dt: float, scheme: str) -> tuple[float, float]:
    """(a, b) of g = a + b κ, with which forces enter the velocity."""
    return {"semi-implicit": (dt, 0.0), "damping-implicit": (0.0, dt), "centred": (dt / 2, dt / 2)}[scheme]
