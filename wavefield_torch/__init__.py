"""The wave operator as a trainable recurrent network: WaveRNN, its baselines, and the scan that runs it."""

from wavefield_torch import tasks
from wavefield_torch.baselines import GRU, LSTM, IdentityRNN, LocallyConnectedRNN, Tape
from wavefield_torch.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wavefield_torch.interchange import from_reference, to_reference
from wavefield_torch.model import WaveRNN
from wavefield_torch.parameters import count_parameters
from wavefield_torch.readout import SequenceModel, linear_readout, mlp_readout
from wavefield_torch.record import record
from wavefield_torch.scan import wave_scan
from wavefield_torch.scan_readout import wave_scan_cross_entropy, wave_scan_readout
from wavefield_torch.training import NotFiniteError, precise_logits, symbol_cross_entropy, training_step

__all__ = [
    "GRU",
    "LSTM",
    "CheckpointError",
    "IdentityRNN",
    "LocallyConnectedRNN",
    "NotFiniteError",
    "SequenceModel",
    "Tape",
    "WaveRNN",
    "count_parameters",
    "from_reference",
    "linear_readout",
    "load_checkpoint",
    "mlp_readout",
    "precise_logits",
    "record",
    "save_checkpoint",
    "symbol_cross_entropy",
    "tasks",
    "to_reference",
    "training_step",
    "wave_scan",
    "wave_scan_cross_entropy",
    "wave_scan_readout",
]
