"""Wave fields: simulate them, read their memory back from one snapshot, record them, see them."""

from wavefield.equations import courant_limit, second_difference, static, transport, wave
from wavefield.operator import Stability, WaveOperator

__all__ = ["Stability", "WaveOperator", "courant_limit", "second_difference", "static", "transport", "wave"]
