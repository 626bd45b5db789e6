"""The law of a field: all that decides how it moves, apart from its state and its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from wavefield.operators.operator import WaveOperator
from wavefield.values import digest, read_only, rebuild, same, settle


@dataclass(frozen=True, eq=False)
class Law:
    """What moved a field, or is to move it. Laws are equal where all that they hold is.

        h[t+1] = σ( u ⋆ h[t] + V e[t] + b ),      e[t] = x[t],  or x[t] − x[t−2] for a pulse

    Parameters
    ----------
    operator : WaveOperator
        u, with as many rings as the encoder.
    encoder : ndarray, shape (rings, N, inputs), optional
        V; None where nothing enters.
    source : {"direct", "pulse", "force"}
        How an input enters; ``"direct"`` for a one-way field.
    nonlinearity : {"identity", "relu", "tanh"}
        σ.
    bias : ndarray, shape (rings, N), optional
        b.
    """

    operator: WaveOperator
    encoder: np.ndarray | None = None
    source: str = "direct"
    nonlinearity: str = "identity"
    bias: np.ndarray | None = None

    def __post_init__(self):
        for name in ("encoder", "bias"):
            if (array := getattr(self, name)) is not None:
                settle(self, **{name: read_only(np.array(array, dtype=float))})

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
        encoder = rec["encoder"].transpose("channel", "position", "input").values if "encoder" in rec else None
        return cls(
            operator_of(rec),
            encoder,
            rec.attrs.get("source_kind", "direct"),
            rec.attrs.get("nonlinearity", "identity"),
            rec["bias"].transpose("channel", "position", missing_dims="ignore").values if "bias" in rec else None,
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
        return {
            "kernel": op.kernel,
            "profile": op.profile,
            "boundary_row": op.boundary_row,
            "encoder": self.encoder,
            "bias": self.bias,
            "dx": op.dx,
            "dt": op.dt,
            "boundary": op.boundary,
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
    optional = {name: rec[name].values for name in ("profile", "boundary_row") if name in rec}
    return WaveOperator(
        rec["kernel"].values,
        rec.attrs["boundary"],
        float(rec.attrs["dx"]),
        float(rec.attrs["dt"]),
        levels=int(rec.attrs.get("levels", 1)),
        driven_end=int(rec.attrs.get("driven_end", -1)),
        **optional,
    )
