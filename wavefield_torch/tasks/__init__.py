"""The tasks of the papers: one module each, generator in, tensors out."""

from wavefield_torch.tasks.adding import AddingBatch, adding_batch
from wavefield_torch.tasks.continuation import continuation, continuation_batch, right_share
from wavefield_torch.tasks.copying import CopyBatch, copy_batch, sequence_length
from wavefield_torch.tasks.history import HistoryBatch, history_batch, history_loss, sign_accuracy
from wavefield_torch.tasks.images import (
    ImageSequences,
    cifar_noise,
    data_folder,
    mnist,
    ns_cifar10,
    pixel_permutation,
    small_digits,
    split,
)

__all__ = [
    "AddingBatch",
    "CopyBatch",
    "HistoryBatch",
    "ImageSequences",
    "adding_batch",
    "cifar_noise",
    "continuation",
    "continuation_batch",
    "copy_batch",
    "data_folder",
    "history_batch",
    "history_loss",
    "mnist",
    "ns_cifar10",
    "pixel_permutation",
    "right_share",
    "sequence_length",
    "sign_accuracy",
    "small_digits",
    "split",
]
