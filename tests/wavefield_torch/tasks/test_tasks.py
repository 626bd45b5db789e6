import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from wavefield_torch import tasks

DATA = Path(os.environ.get("WAVEFIELD_DATA") or Path(__file__).parents[4] / "shared" / "data")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def symbols_of(batch):
    assert (batch.x.sum(-1) == 1).all()
    return batch.x.argmax(-1)


@pytest.mark.parametrize(("delay", "blanks"), [(10, 9), (30, 39), (80, 89), (480, 489)])
def test_copy_is_laid_out_as_in_the_published_code(delay, blanks):
    # the code's argument is label + 20 (10 at label 0), its sequences that + 10 long, the delimiter at index −11
    batch = tasks.copy_batch(7, delay, generator=seeded())
    symbols = symbols_of(batch)
    assert len(symbols) == delay + 30
    assert ((symbols[:10] >= 1) & (symbols[:10] <= 8)).all()
    assert (symbols[10 : 10 + blanks] == 0).all()
    assert (symbols[-11] == 9).all()
    assert (symbols[-10:] == 0).all()
    assert (batch.target[:-10] == 0).all()
    torch.testing.assert_close(batch.target[-10:], symbols[:10])


def test_at_delay_zero_the_delimiter_takes_the_place_of_the_tenth_token():
    batch = tasks.copy_batch(5, 0, generator=seeded())
    symbols = symbols_of(batch)
    assert len(symbols) == 20
    assert (symbols[9] == 9).all()
    assert (batch.target[-1] == 9).all()
    torch.testing.assert_close(batch.target[-10:], symbols[:10])


@pytest.mark.parametrize("delay", [0, 10, 480])
def test_copy_can_be_laid_out_as_in_the_text(delay):
    batch = tasks.copy_batch(3, delay, generator=seeded(), layout="text")
    symbols = symbols_of(batch)
    assert len(symbols) == delay + 20
    assert (symbols[10 : 10 + delay] == 0).all()
    assert (symbols[10 + delay] == 9).all()
    assert (symbols[11 + delay :] == 0).all()
    torch.testing.assert_close(batch.target[-10:], symbols[:10])


def test_copy_tokens_are_uniform():
    target = tasks.copy_batch(20_000, 30, generator=seeded()).target[-10:]
    frequency = torch.bincount(target.flatten(), minlength=10)[1:9] / target.numel()
    assert (frequency - 1 / 8).abs().max() < 5 * (0.125 * 0.875 / target.numel()) ** 0.5


def test_adding_marks_one_value_in_each_half_and_asks_for_their_sum():
    x, target = tasks.adding_batch(5000, 101, generator=seeded())
    markers = x[..., 1]
    assert (markers[:50].sum(0) == 1).all()
    assert (markers[50:].sum(0) == 1).all()
    torch.testing.assert_close((x[..., 0] * markers).sum(0), target)
    assert markers.any(1).all()  # every step of either half may be marked
    assert abs(target.var().item() - 1 / 6) < 0.02  # what always answering 1 costs


@pytest.mark.parametrize(
    "make", [lambda g: tasks.copy_batch(4, 10, generator=g), lambda g: tasks.adding_batch(4, 50, generator=g)]
)
def test_the_same_seed_draws_the_same_batch(make):
    for a, b in zip(make(seeded(3)), make(seeded(3)), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(make(seeded(3))[0], make(seeded(4))[0])


def test_small_digits_are_the_bundled_pictures_row_by_row():
    from sklearn.datasets import load_digits

    test, train = tasks.small_digits("test"), tasks.small_digits("train")
    assert len(test) + len(train) == 1797
    x, labels = test.batch(torch.arange(3))
    assert x.shape == (64, 3, 1)
    np.testing.assert_allclose(x[:, 1, 0].reshape(8, 8), load_digits().images[9] / 16)
    assert labels[1] == load_digits().target[9]


def test_a_permutation_is_of_the_steps_and_the_same_for_all():
    order = tasks.pixel_permutation(64, generator=seeded())
    plain, _ = tasks.small_digits("test").batch(torch.arange(4))
    permuted, _ = tasks.small_digits("test", permutation=order).batch(torch.arange(4))
    torch.testing.assert_close(permuted, plain[order])


def test_a_split_is_disjoint_and_whole():
    train, held = tasks.split(100, 30, generator=seeded())
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(100))
    assert len(held) == 30


def test_a_split_is_drawn_at_random_from_the_generator():
    (_, one), (_, same), (_, other) = (tasks.split(10_000, 1000, generator=seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert 50 < len(set(one.tolist()) & set(other.tolist())) < 150  # a tenth of the thousand
    assert one.double().mean().item() == pytest.approx(5000, abs=400)  # 4 standard errors
    order = tasks.pixel_permutation(400, generator=seeded())
    assert (order == torch.arange(400)).sum() < 10
    noise = tasks.cifar_noise(generator=seeded())
    assert noise.std().item() == pytest.approx(1, rel=0.02)
    assert abs(noise.mean().item()) < 0.02


def write_idx(path, array):
    header = b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    raw = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_are_read_plain_or_packed(tmp_path, ending):
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{ending}", images)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{ending}", np.array([3, 1, 4]))
    x, labels = tasks.mnist(tmp_path, "test").batch(torch.arange(3))
    np.testing.assert_allclose(x[:, :, 0].T, images.reshape(3, -1) / 255, rtol=1e-6)
    assert labels.tolist() == [3, 1, 4]


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        tasks.mnist(tmp_path, "train")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((2, 28, 28)))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(2))
    whole = (tmp_path / "t10k-images-idx3-ubyte").read_bytes()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="damaged"):
        tasks.mnist(tmp_path, "test")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="not an IDX file"):
        tasks.mnist(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-bin"):
        tasks.ns_cifar10(tmp_path, "train", noise=torch.zeros(968, 96))


def test_binary_cifar_becomes_rows_of_pixels_and_the_noise_follows(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)  # planes of red, green, blue
    records = np.concatenate([np.array([[7], [2]], np.uint8), image.reshape(2, -1)], axis=1)
    (folder / "test_batch.bin").write_bytes(records.tobytes())
    noise = tasks.cifar_noise(generator=seeded())
    x, labels = tasks.ns_cifar10(tmp_path, "test", noise=noise).batch(torch.arange(2))
    assert x.shape == (1000, 2, 96)
    np.testing.assert_allclose(x[5, 1], image[1, :, 5].T.reshape(-1) / 255, rtol=1e-6)
    torch.testing.assert_close(x[32:, 0], noise)
    torch.testing.assert_close(x[32:, 1], noise)
    assert labels.tolist() == [7, 2]


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs the MNIST files in WAVEFIELD_DATA")
def test_real_mnist_is_whole():
    train, test = tasks.mnist(DATA, "train"), tasks.mnist(DATA, "test")
    assert (len(train), len(test)) == (60_000, 10_000)
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    # the mean and deviation of MNIST's training pixels that everyone normalises with
    pixels = train.pixels.double() / 255
    assert abs(pixels.mean().item() - 0.1307) < 1e-4
    assert abs(pixels.std().item() - 0.3081) < 1e-4


@pytest.mark.parametrize(
    "call",
    [
        lambda: tasks.copy_batch(4, -1, generator=seeded()),
        lambda: tasks.copy_batch(4, 2.5, generator=seeded()),
        lambda: tasks.copy_batch(4, 10, generator=seeded(), layout="paper"),
        lambda: tasks.adding_batch(4, 1, generator=seeded()),
        lambda: tasks.small_digits("validation"),
        lambda: tasks.small_digits("test", permutation=torch.zeros(64, dtype=torch.long)),
        lambda: tasks.split(10, 10, generator=seeded()),
    ],
)
def test_bad_arguments_are_refused(call):
    with pytest.raises((ValueError, TypeError), match=r"must|needs"):
        call()
