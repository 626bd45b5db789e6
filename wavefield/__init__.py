"""Wave fields: simulate them, read their memory back from one snapshot, record them, see them."""

from wavefield import history
from wavefield.capacity.conditioning import snapshot_conditioning, snapshot_rank
from wavefield.capacity.memory_capacity import (
    capacity_against_channels,
    capacity_against_damping,
    capacity_against_noise,
    capacity_against_speed,
    measured_capacity,
    memory_capacity,
)
from wavefield.decoding.decode import decode
from wavefield.modes.drums import extent_from_spectrum, isospectral_drums, square_from_fundamental
from wavefield.modes.modes import modes
from wavefield.operators.cortex import cortical_sheet
from wavefield.operators.dispersion import phase_speeds
from wavefield.operators.encoder import driven_ends, encoder_at
from wavefield.operators.energy import energy
from wavefield.operators.equations import (
    absorbing_layer,
    courant_limit,
    second_difference,
    static,
    transport,
    wave,
)
from wavefield.operators.operator import Stability, WaveOperator
from wavefield.recordings.recording import open_recording, recording, save_recording, validate_recording
from wavefield.recordings.writer import RecordingWriter
from wavefield.simulation.drive import load_drive, spike_trains, spikes
from wavefield.simulation.simulate import DivergenceError, operator_of, reverse, simulate
from wavefield.simulation.wavelets import gaussian, ricker, tone_burst
from wavefield.version import __version__

__all__ = [
    "DivergenceError",
    "RecordingWriter",
    "Stability",
    "WaveOperator",
    "__version__",
    "absorbing_layer",
    "capacity_against_channels",
    "capacity_against_damping",
    "capacity_against_noise",
    "capacity_against_speed",
    "cortical_sheet",
    "courant_limit",
    "decode",
    "driven_ends",
    "encoder_at",
    "energy",
    "extent_from_spectrum",
    "gaussian",
    "history",
    "isospectral_drums",
    "load_drive",
    "measured_capacity",
    "memory_capacity",
    "modes",
    "open_recording",
    "operator_of",
    "phase_speeds",
    "recording",
    "reverse",
    "ricker",
    "save_recording",
    "second_difference",
    "simulate",
    "snapshot_conditioning",
    "snapshot_rank",
    "spike_trains",
    "spikes",
    "square_from_fundamental",
    "static",
    "tone_burst",
    "transport",
    "validate_recording",
    "wave",
]
