# The public names and the modules they are in, which are loaded when a name is first used.

from . import history
from .capacity.conditioning import snapshot_conditioning, snapshot_rank
from .capacity.exact_readout import exact_readout
from .capacity.memory_capacity import (
    capacity_against_channels,
    capacity_against_damping,
    capacity_against_noise,
    capacity_against_speed,
    measured_capacity,
    memory_capacity,
)
from .decoding.anywhere.picture import read_picture
from .decoding.decode import decode
from .drums.modes import modes
from .drums.shapes import extent_from_spectrum, isospectral_drums, square_from_fundamental
from .operators.cortex import cortical_sheet
from .operators.dispersion import phase_speeds
from .operators.encoder import driven_ends, encoder_at
from .operators.energy import energy
from .operators.equations import (
    absorbing_layer,
    courant_limit,
    second_difference,
    static,
    transport,
    wave,
)
from .operators.operator import Stability, WaveOperator
from .recordings.recording import open_recording, recording, save_recording, validate_recording
from .recordings.writer import RecordingWriter
from .simulation.drive import load_drive, spike_trains, spikes
from .simulation.simulate import DivergenceError, operator_of, reverse, simulate
from .simulation.wavelets import gaussian, ricker, tone_burst
from .version import __version__

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
    "exact_readout",
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
    "read_picture",
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
