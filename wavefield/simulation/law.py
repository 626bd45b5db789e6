"""The law of a field: all that decides how it moves, apart from its state and its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from wavefield.operators.operator import WaveOperator
from wavefield.recordings.schema import space_dims
from wavefield.values import digest, read_only, rebuild, same, set_fields

_OPTIONAL = (  # arrays an operator may have
    "profile",
    "damping_profile",
    "restoring_profile",
    "density",
    "boundary_row",
    "mask",
)


@dataclass(frozen=True, eq=False)
class Law:
    """What moved a field, or is to move it. Laws are equal where all that they hold is.

        h[t+1] = σ( u ⋆ h[t] + V e[t] + b ),      e[t] = x[t],  or x[t] − x[t−2] for a pulse

    Parameters
    ----------
    operator : WaveOperator
        u, with as many rings as the encoder.
    encoder : ndarray, shape (rings, N, inputs), of a sheet (rings, Ny, Nx, inputs), optional
        V; None where nothing enters, "everywhere" where every cell of a sheet is an input (a movie).
    source : {"direct", "pulse", "force"}
        How an input enters; ``"direct"`` for a one-way field.
    nonlinearity : {"identity", "relu", "tanh"}
        σ.
    bias : ndarray, shape (rings, N) or (rings, Ny, Nx), optional
        b.
    """

    operator: WaveOperator
    encoder: np.ndarray | str | None = None
    source: str = "direct"
    nonlinearity: str = "identity"
    bias: np.ndarray | None = None

    def __post_init__(self):
        for name in ("encoder", "bias"):
            if (array := getattr(self, name)) is not None and not isinstance(array, str):
                set_fields(self, **{name: read_only(np.array(array, dtype=float))})

    def __eq__(self, other) -> bool:
        return same(self, other) if isinstance(other, Law) else NotImplemented

    def __hash__(self) -> int:
        return digest(self)

    def __reduce__(self):
        return rebuild(self)

    @classmethod
    def of(cls, rec: xr.Dataset) -> Law:
        """Return the law that moved a recording, from the variables and attributes it carries.

        What a recording does not say is that of a linear field without bias, which takes its inputs as they are.

        Raises
        ------
        ValueError
            Naming what the recording lacks.
        """
        operator = operator_of(rec)
        space = space_dims(operator.dims)
        encoder = rec.attrs.get("encoder_kind")
        if "encoder" in rec:
            encoder = rec["encoder"].transpose("channel", *space, "input").values
        return cls(
            operator,
            encoder,
            rec.attrs.get("source_kind", "direct"),
            rec.attrs.get("nonlinearity", "identity"),
            rec["bias"].transpose("channel", *space, missing_dims="ignore").values if "bias" in rec else None,
        )

    @property
    def linear(self) -> bool:
        """Whether states, inputs and bias add."""
        return self.nonlinearity == "identity"

    @property
    def pulse(self) -> bool:
        """Whether an input is taken back two steps later."""
        return self.source == "pulse"

    def continues(self, earlier: Law) -> bool:
        """Whether a field that moved under the earlier law moves on under this one as if nothing had changed.

        Where nothing has entered yet, it does not matter how it would have.
        """
        return self == (replace(earlier, encoder=self.encoder) if earlier.encoder is None else earlier)

    def described(self) -> dict:
        """The law as `recording` takes it: variables and attributes, from which `Law.of` makes it again."""
        op = self.operator
        dx, boundary = (list(part) if isinstance(part, tuple) else part for part in (op.dx, op.boundary))
        sheet = {"mask": None if op.mask is None else op.mask.astype(np.int8), "edge": op.edge, "rim": op.rim}
        return (sheet if op.dims == 2 else {}) | {
            "kernel": op.kernel,
            "profile": op.profile,
            "damping_profile": op.damping_profile,
            "restoring_profile": op.restoring_profile,
            "density": op.density,
            "boundary_row": op.boundary_row,
            "encoder": None if isinstance(self.encoder, str) else self.encoder,
            "encoder_kind": self.encoder if isinstance(self.encoder, str) else None,
            "bias": self.bias,
            "dx": dx,
            "dt": op.dt,
            "boundary": boundary,
            "driven_end": op.driven_end,
            "levels": op.levels,
            "nonlinearity": self.nonlinearity,
            "source_kind": self.source,
        }


def operator_of(rec: xr.Dataset) -> WaveOperator:
    """Return the operator that a recording was made with, from the kernel and attributes it carries.

    Raises
    ------
    ValueError
        Naming what the recording lacks.
    """
    lacking = ["kernel"] * ("kernel" not in rec) + [name for name in ("boundary", "dx", "dt") if name not in rec.attrs]
    if lacking:
        raise ValueError(f"the recording does not say what moved it: it has no {', '.join(lacking)}")
    optional: dict[str, Any] = {name: rec[name].values for name in _OPTIONAL if name in rec}
    optional |= {name: kind(rec.attrs[name]) for name, kind in (("edge", str), ("rim", int)) if name in rec.attrs}
    boundary, dx = rec.attrs["boundary"], rec.attrs["dx"]
    return WaveOperator(
        rec["kernel"].values,
        boundary if isinstance(boundary, str) else tuple(map(str, boundary)),
        float(dx) if np.ndim(dx) == 0 else tuple(map(float, dx)),
        float(rec.attrs["dt"]),
        levels=int(rec.attrs.get("levels", 1)),
        driven_end=int(rec.attrs.get("driven_end", -1)),
        **optional,
    )
