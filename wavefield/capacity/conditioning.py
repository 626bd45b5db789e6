"""What one snapshot determines: rank and conditioning of the map from inputs and their onsets to the field.

Column (t, i) of the map is the snapshot that one unit of input i leaves T − 1 − t steps after its arrival. Its
singular values say by how much the least visible combination of inputs is fainter than the most visible one, which is
the factor by which decoding by linear inversion amplifies noise; combinations beyond the rank leave no trace.

A two-way field seen without the level before it is symmetric about the place where an input entered, so that one input
reaches at most N/2 + 1 dimensions of a ring, however many steps are considered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from scipy import linalg

from wavefield.checks import positive_int
from wavefield.operators.design import design
from wavefield.operators.operator import WaveOperator


def snapshot_conditioning(
    operator: WaveOperator,
    size: int | tuple[int, ...],
    *,
    steps: int,
    encoder: str | ArrayLike = "own",
    inputs: int | None = None,
    source: str = "pulse",
    previous: bool = False,
) -> xr.Dataset:
    """Singular values, rank and condition of the map from the last `steps` steps of all inputs to one snapshot.

    Parameters
    ----------
    operator : WaveOperator
    size : int or pair of ints
        Positions N of each ring, (Ny, Nx) of a sheet.
    steps : int
        Onsets T of each input: the step of the snapshot and the T − 1 before it.
    encoder, inputs, source
        As in `simulate`; one input a ring by default.
    previous : bool
        Whether the snapshot of a two-way field shows the level before, too.

    Returns
    -------
    xarray.Dataset
        `singular_value` (mode), largest first, one for each column; `rank`, as many as are above rounding;
        `columns`, inputs · steps; `condition`, largest over smallest, infinite where the rank is below the columns.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as above.

    Examples
    --------
    >>> import wavefield as wf
    >>> result = snapshot_conditioning(wf.wave(1.0), 64, steps=32)
    >>> int(result["rank"]), round(float(result.condition), 2)
    (32, 1.41)
    >>> float(snapshot_conditioning(wf.static(), 64, steps=32).condition)
    inf
    """
    field = design(operator, size, steps, encoder=encoder, inputs=inputs, source=source, previous=previous)
    columns = field.shape[1]
    values, rank = np.zeros(columns), 0
    found = []
    for part, _, _ in field.parts():
        matrix = part.columns()
        singular = linalg.svdvals(matrix)
        rank += int((singular > singular[0] * max(matrix.shape) * np.finfo(float).eps).sum())
        found.append(singular)
    found = np.sort(np.concatenate(found))[::-1]
    values[: found.size] = found
    unit = {"units": "1"}
    return xr.Dataset(
        {
            "singular_value": ("mode", values, unit | {"long_name": "singular value of the snapshot"}),
            "rank": ((), rank, unit | {"long_name": "dimensions of the inputs that the snapshot shows"}),
            "columns": ((), columns, unit | {"long_name": "inputs times onsets"}),
            "condition": ((), values[0] / values[-1] if rank == columns else np.inf, unit | {"long_name": "condition"}),
        },
        coords={"mode": ("mode", np.arange(columns), unit | {"long_name": "mode"})},
        attrs={
            "method": "singular values of the map from inputs and onsets to the snapshot",
            "operator": repr(operator),
            "size": list(size) if isinstance(size, tuple) else size,
            "source_kind": "direct" if operator.levels == 1 else source,
            "readout": "displacement and the level before" if previous else "displacement",
        },
    )


def snapshot_rank(
    operator: WaveOperator, size: int | tuple[int, ...], *, steps: Sequence[int], **options: Any
) -> xr.Dataset:
    """`rank`, `columns` and `condition` of `snapshot_conditioning` for each number of steps, along the dim ``steps``.

    Examples
    --------
    >>> import wavefield as wf
    >>> snapshot_rank(wf.wave(0.9), 64, steps=[16, 33, 64, 200])["rank"].values.tolist()
    [16, 33, 33, 33]
    """
    steps = [positive_int(count, "steps") for count in steps]
    if not steps:
        raise ValueError("steps must hold at least one number of steps")
    result = [snapshot_conditioning(operator, size, steps=count, **options).drop_dims("mode") for count in steps]
    coordinate = xr.DataArray(steps, dims="steps", name="steps", attrs={"units": "1", "long_name": "steps looked back"})
    return xr.concat(result, coordinate)
