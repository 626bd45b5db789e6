"""The wave operator as a trainable recurrent network: WaveRNN, its baselines, and the scan that runs it."""

from wavefield.version import __version__
from wavefield_torch import tasks
from wavefield_torch.inspection.gradients import gradient_against_lag
from wavefield_torch.inspection.linearise import NotLinearisableError, input_jacobian, jacobian, linearised
from wavefield_torch.inspection.record import record
from wavefield_torch.models.baselines import GRU, LSTM, IdentityRNN, LocallyConnectedRNN, Tape
from wavefield_torch.models.history_rnn import elman, from_theory, open_line
from wavefield_torch.models.medium_rnn import MediumRNN
from wavefield_torch.models.published import count_parameters, from_reference, to_reference
from wavefield_torch.models.readout import SequenceModel, linear_readout, mlp_readout
from wavefield_torch.models.segmentation.conv_lstm import ConvLSTM
from wavefield_torch.models.segmentation.feed_forward import EncoderReadout, LocalCNN, UNet
from wavefield_torch.models.segmentation.layers import PixelMLP
from wavefield_torch.models.segmentation.linear_wave_machine import LinearWaveMachine
from wavefield_torch.models.segmentation.neural_wave_machine import NeuralWaveMachine
from wavefield_torch.models.segmentation.segmenter import Segmenter
from wavefield_torch.models.segmentation.time_readout import TimeReadout
from wavefield_torch.models.sheets.linear_sheet import LinearSheet
from wavefield_torch.models.sheets.wave_sheet import WaveSheet
from wavefield_torch.models.travelling_memory import AttentionEnd, LinearEnd, MLPEnd, TravellingMemory
from wavefield_torch.models.wave_rnn import WaveRNN, WaveRNNCell
from wavefield_torch.recurrence.cpu.memory_pool import free_memory, memory_limit
from wavefield_torch.recurrence.readout_scan import wave_scan_cross_entropy, wave_scan_readout
from wavefield_torch.recurrence.scan import wave_scan
from wavefield_torch.recurrence.sheet.scan import sheet_scan
from wavefield_torch.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from wavefield_torch.training.step import NotFiniteError, precise_logits, symbol_cross_entropy, training_step

__all__ = [
    "GRU",
    "LSTM",
    "AttentionEnd",
    "CheckpointError",
    "ConvLSTM",
    "EncoderReadout",
    "IdentityRNN",
    "LinearEnd",
    "LinearSheet",
    "LinearWaveMachine",
    "LocalCNN",
    "LocallyConnectedRNN",
    "MLPEnd",
    "MediumRNN",
    "NeuralWaveMachine",
    "NotFiniteError",
    "NotLinearisableError",
    "PixelMLP",
    "Segmenter",
    "SequenceModel",
    "Tape",
    "TimeReadout",
    "TravellingMemory",
    "UNet",
    "WaveRNN",
    "WaveRNNCell",
    "WaveSheet",
    "__version__",
    "count_parameters",
    "elman",
    "free_memory",
    "from_reference",
    "from_theory",
    "gradient_against_lag",
    "input_jacobian",
    "jacobian",
    "linear_readout",
    "linearised",
    "load_checkpoint",
    "memory_limit",
    "mlp_readout",
    "open_line",
    "precise_logits",
    "record",
    "save_checkpoint",
    "sheet_scan",
    "symbol_cross_entropy",
    "tasks",
    "to_reference",
    "training_step",
    "wave_scan",
    "wave_scan_cross_entropy",
    "wave_scan_readout",
]
