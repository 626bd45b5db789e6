"""The tasks of the papers: one module each, generator in, tensors out."""

from wavefield_torch.tasks.adding import AddingBatch, adding_batch
from wavefield_torch.tasks.continuation import continuation, continuation_batch, right_share
from wavefield_torch.tasks.copying import CopyBatch, copy_batch, sequence_length
from wavefield_torch.tasks.digit_scenes import digit_segmentation, multi_digits
from wavefield_torch.tasks.history import HistoryBatch, history_batch, history_loss, sign_accuracy
from wavefield_torch.tasks.images import (
    ImageSequences,
    cifar_noise,
    data_folder,
    mnist,
    mnist_images,
    ns_cifar10,
    pixel_permutation,
    small_digits,
    split,
)
from wavefield_torch.tasks.polygons import polygons
from wavefield_torch.tasks.scenes import Scenes
from wavefield_torch.tasks.segmentation import segmentation_scores
from wavefield_torch.tasks.tetrominoes import tetrominoes

__all__ = [
    "AddingBatch",
    "CopyBatch",
    "HistoryBatch",
    "ImageSequences",
    "Scenes",
    "adding_batch",
    "cifar_noise",
    "continuation",
    "continuation_batch",
    "copy_batch",
    "data_folder",
    "digit_segmentation",
    "history_batch",
    "history_loss",
    "mnist",
    "mnist_images",
    "multi_digits",
    "ns_cifar10",
    "pixel_permutation",
    "polygons",
    "right_share",
    "segmentation_scores",
    "sequence_length",
    "sign_accuracy",
    "small_digits",
    "split",
    "tetrominoes",
]
