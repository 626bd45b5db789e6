"""Training: one step, and checkpoints of it.

In come a model, a batch and an optimiser; out come losses (`step`) and files from which training resumes to the same
numbers (`checkpoint`).
"""

from wavefield_torch.training.step import NotFiniteError, precise_logits, symbol_cross_entropy, training_step

__all__ = ["NotFiniteError", "precise_logits", "symbol_cross_entropy", "training_step"]
