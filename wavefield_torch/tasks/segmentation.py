"""How the classes that a model gives to pixels are scored."""

from __future__ import annotations

from torch import Tensor


def segmentation_scores(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the scores of each image; class 0 is the background.

    Parameters
    ----------
    predicted, target : Tensor (B, H, W)
        Classes, as whole numbers.

    Returns
    -------
    dict of str to Tensor (B,)
        accuracy
            Share of right pixels.
        foreground_accuracy
            The same of pixels that are not background in the target.
        background_false_positives
            Share of the background that was given another class, which no accuracy of the foreground shows.
        iou
            Intersection over union of the one-hot classes, both summed over pixels and all classes. Every wrong pixel
            counts twice in the union, so that it is a / (2 − a) with a the accuracy.
        iou_without_background
            The same summed over all classes but the background: false positives on the background count.
        published_iou_foreground
            As published: restricted to pixels that are foreground in the target, and so a / (2 − a) with a the
            foreground accuracy.

        NaN where an image has no such pixel.

    Notes
    -----
    The column "iou" of the first published results combines class numbers bit by bit and means nothing; it was
    corrected later, and the corrected ones are those computed here.

    Examples
    --------
    >>> import torch
    >>> target = torch.tensor([[[0, 0, 1, 2]]])
    >>> scores = segmentation_scores(torch.tensor([[[1, 0, 1, 1]]]), target)
    >>> {name: round(float(value), 3) for name, value in scores.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'accuracy': 0.5, 'foreground_accuracy': 0.5, 'background_false_positives': 0.5, 'iou': 0.333,
     'iou_without_background': 0.25, 'published_iou_foreground': 0.333}
    """
    if predicted.shape != target.shape or target.dim() != 3:
        got = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        raise ValueError(f"predicted and target must have one shape (B, H, W), got {got}")
    predicted, target = predicted.flatten(1), target.flatten(1)
    right, foreground = predicted == target, target != 0
    hit, pixels = (right & foreground).double().sum(1), foreground.double().sum(1)
    accuracy, found = right.double().mean(1), hit / pixels
    taken = (predicted != 0).double().sum(1)
    return {
        "accuracy": accuracy,
        "foreground_accuracy": found,
        "background_false_positives": (~right & ~foreground).double().sum(1) / (~foreground).double().sum(1),
        "iou": accuracy / (2 - accuracy),
        "iou_without_background": hit / (taken + pixels - hit),
        "published_iou_foreground": found / (2 - found),
    }
