"""Image classification pixel by pixel or row by row: sMNIST, psMNIST, nsCIFAR10, and small digits that need no files.

Keller et al. (ICLR 2024), sections 2.3 and 2.4. Data are read from a folder in their published formats (IDX for MNIST,
the binary version for CIFAR-10, or its JPEG form); nothing is ever downloaded.
"""

from __future__ import annotations

import gzip
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

PARTS = ("train", "test")
CIFAR_STEPS = 1000  # 32 rows of the image, then noise
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class ImageSequences:
    """Images as sequences, all of them on one device.

    `pixels` (samples, steps, I) is uint8 and becomes [0, 1] in `batch`; `tail` (T', I), the same for every sample, is
    appended to each sequence (the noise of nsCIFAR10); `order` (steps,) permutes the steps.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    order: torch.Tensor | None = None
    tail: torch.Tensor | None = None
    top: float = 255.0  # the value of a white pixel

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences x (T, B, I) and labels (B,) of the samples `index` (B,).

        The shared tail is copied for every sample; on a CPU `wave_scan` detects what all samples of a batch share.
        """
        x = self.pixels[index].transpose(0, 1).to(torch.float32) / self.top
        if self.order is not None:
            x = x[self.order]
        if self.tail is not None:
            x = torch.cat([x, self.tail[:, None].expand(-1, index.numel(), -1)])
        return x, self.labels[index]


def mnist(folder, part: str, *, permutation: torch.Tensor | None = None, device=None) -> ImageSequences:
    """MNIST as 784 single pixels; psMNIST with a fixed `permutation` of the steps.

    Parameters
    ----------
    folder : path
        With the four standard IDX files, plain or gzipped, in it or in its subfolder ``mnist``.
    part : {"train", "test"}

    Raises
    ------
    FileNotFoundError
        Naming the file that was looked for, and where to get it.
    ValueError
        If a file is not an IDX file or is cut short.
    """
    images, labels = mnist_images(folder, part)
    pixels = torch.from_numpy(images.reshape(len(images), -1, 1))
    _check_order(permutation, pixels.shape[1])
    return _on(device, pixels, labels, order=permutation)


def mnist_images(folder, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images of MNIST (samples, 28, 28) and their digits (samples,), uint8, as the files hold them; see `mnist`."""
    _check_part(part)
    images, labels = (_read_idx(_find(folder, "mnist", name)) for name in MNIST_FILES[part])
    return images, labels


def ns_cifar10(folder, part: str, *, noise: torch.Tensor, device=None) -> ImageSequences:
    """Noisy sequential CIFAR-10: 32 rows of 96 numbers, then noise to 1000 steps.

    Parameters
    ----------
    folder : path
        With ``cifar-10-batches-bin`` (the published binary version) or ``cifar10_jpeg.npz`` in it or in its subfolder
        ``cifar10``. The published Python version is a pickle, and no pickle is loaded here.
    noise : Tensor, shape (968, 96)
        Drawn once and the same for every sample, training and test (`cifar_noise`).
    """
    _check_part(part)
    if noise.shape != (CIFAR_STEPS - 32, 96):
        raise ValueError(f"noise must have shape {(CIFAR_STEPS - 32, 96)}, got {tuple(noise.shape)}")
    images, labels = _read_cifar(Path(folder), part)  # (samples, row, column, colour)
    return _on(device, torch.from_numpy(images.reshape(len(images), 32, 96)), labels, tail=noise)


def small_digits(part: str, *, permutation: torch.Tensor | None = None, device=None) -> ImageSequences:
    """The 8 × 8 digits bundled with scikit-learn as 64 single pixels: real data, no files, minutes on a laptop.

    1438 samples to train on and 359 to test, every fifth one, as the set gives them in the order of their writers.
    """
    from sklearn.datasets import load_digits

    _check_part(part)
    bundle = load_digits()
    testing = np.arange(len(bundle.target)) % 5 == 4
    chosen = testing if part == "test" else ~testing
    pixels = torch.from_numpy(bundle.data[chosen].astype(np.uint8)[..., None])
    _check_order(permutation, 64)
    return _on(device, pixels, bundle.target[chosen], order=permutation, top=16.0)


def pixel_permutation(steps: int, *, generator: torch.Generator) -> torch.Tensor:
    """One fixed random order of the steps, for psMNIST; save it with the run."""
    return torch.randperm(steps, generator=generator, device=generator.device)


def cifar_noise(*, generator: torch.Generator) -> torch.Tensor:
    """The noise of nsCIFAR10, N(0, 1) of shape (968, 96): one tensor for all samples; save it with the run."""
    return torch.randn(CIFAR_STEPS - 32, 96, generator=generator, device=generator.device)


def split(samples: int, held_out: int, *, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices to train on and to validate on, drawn at random: 57k/3k for MNIST, 47k/3k for CIFAR-10.

    Examples
    --------
    >>> train, validation = split(60_000, 3_000, generator=torch.Generator().manual_seed(0))
    >>> len(train), len(validation)
    (57000, 3000)
    """
    if not 0 < held_out < samples:
        raise ValueError(f"held_out must lie between 1 and {samples - 1}, got {held_out}")
    order = torch.randperm(samples, generator=generator, device=generator.device)
    return order[held_out:], order[:held_out]


def _on(device, pixels, labels, **more):
    more = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in more.items()}
    return ImageSequences(pixels.to(device), torch.as_tensor(np.asarray(labels, np.int64)).to(device), **more)


def _check_part(part):
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(map(repr, PARTS))}, got {part!r}")


def _check_order(permutation, steps):
    if permutation is None:
        return
    if permutation.shape != (steps,) or not torch.equal(permutation.sort().values.cpu(), torch.arange(steps)):
        raise ValueError(f"permutation must hold each of 0…{steps - 1} once, got shape {tuple(permutation.shape)}")


def _find(folder, subfolder, name):
    tried = [Path(folder) / part / f"{name}{ending}" for part in ("", subfolder) for ending in ("", ".gz")]
    for path in tried:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no {name}[.gz] in {folder} or {Path(folder) / subfolder}: give the folder that holds the published files of "
        f"{subfolder}, with --data or WAVEFIELD_DATA (nothing is downloaded)"
    )


def _read_idx(path):
    """An IDX file: two zero bytes, the type (8: unsigned byte), the number of axes, their lengths, the data."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins with {raw[:4].hex()}")
    shape = np.frombuffer(raw, ">u4", raw[3], offset=4).astype(int) if len(raw) >= 4 + 4 * raw[3] else [-1]
    data = np.frombuffer(raw, np.uint8, offset=min(4 + 4 * raw[3], len(raw)))
    if data.size != np.prod(shape):
        raise ValueError(f"{path} is damaged: it holds {data.size} bytes where its header says {np.prod(shape)}")
    return data.reshape(shape).copy()


def _read_cifar(folder, part):
    for place in (folder, folder / "cifar10"):
        if (place / "cifar-10-batches-bin").is_dir():
            return _read_cifar_binary(place / "cifar-10-batches-bin", part)
        if (place / "cifar10_jpeg.npz").is_file():
            return _read_cifar_jpeg(place / "cifar10_jpeg.npz", part)
    raise FileNotFoundError(
        f"no cifar-10-batches-bin folder and no cifar10_jpeg.npz in {folder} or {folder / 'cifar10'}: give the folder "
        "that holds CIFAR-10 in its published binary version, with --data or WAVEFIELD_DATA (nothing is downloaded)"
    )


def _read_cifar_binary(folder, part):
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] if part == "train" else ["test_batch.bin"]
    records = []
    for name in names:
        raw = np.fromfile(folder / name, np.uint8)
        if raw.size == 0 or raw.size % 3073:
            raise ValueError(
                f"{folder / name} is damaged: its {raw.size} bytes are not a multiple of 3073, the size of a record"
            )
        records.append(raw.reshape(-1, 3073))
    records = np.concatenate(records)
    return np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), records[:, 0]


def _read_cifar_jpeg(path, part):
    from PIL import Image

    try:
        with np.load(path, allow_pickle=False) as bundle:
            data, offsets, labels = (bundle[f"{part}_{name}"] for name in ("jpeg", "offsets", "labels"))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged or of another kind: {error}") from error
    images = np.empty((len(labels), 32, 32, 3), np.uint8)
    for k in range(len(labels)):
        with Image.open(io.BytesIO(data[offsets[k] : offsets[k + 1]].tobytes())) as picture:
            images[k] = np.asarray(picture.convert("RGB"))
    return images, labels


def data_folder(given: str | os.PathLike | None = None) -> Path:
    """The folder of data sets: `given`, or that named by the environment variable WAVEFIELD_DATA.

    Raises
    ------
    FileNotFoundError
        If neither names a folder.
    """
    folder = given or os.environ.get("WAVEFIELD_DATA")
    if not folder:
        raise FileNotFoundError("no data folder: name one with --data DIR or the environment variable WAVEFIELD_DATA")
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"the data folder {folder} does not exist")
    return Path(folder)
