"""Which responses a request has: by fast transforms where the boundaries have them, else by stepping."""

from __future__ import annotations

import numpy as np

from wavefield.decoding.anywhere.modal import ModalResponses, modal_responses
from wavefield.decoding.anywhere.stepped import SteppedResponses
from wavefield.operators.operator import WaveOperator
from wavefield.operators.power import can_jump
from wavefield.operators.rim import step_with_rim


def responses_of(
    operator: WaveOperator, positions: tuple, ages: int, *, both: bool, pulse: bool
) -> ModalResponses | SteppedResponses:
    """Return what a unit event leaves at every place, for so many ages.

    Parameters
    ----------
    operator : WaveOperator
        Two-way.
    positions : tuple of int
        Positions along each axis.
    ages : int
        Ages 0 (the last step) to ages − 1.
    both : bool
        Whether the level before is seen.
    pulse : bool
        Whether an event is taken back two steps later.

    Raises
    ------
    ValueError
        If the operator has one level.
    """
    if operator.levels != 2:
        raise ValueError(
            "sites='anywhere' reads two-way fields: what a one-way field has carried along tells when or where it "
            "entered, but not both"
        )
    if can_jump(operator) and operator.diagonal:
        taps, weight = operator.taps, operator.previous_weight
        return modal_responses(taps, weight, positions, operator.boundaries, ages, both=both, pulse=pulse)
    inside = np.ones(positions, bool) if operator.mask is None else np.array(operator.mask, bool)
    step = step_with_rim(operator, positions) if operator.rim else operator.matrix(positions)
    return SteppedResponses(step, positions, operator.rings, ages, both, pulse, inside)
