"""Scenes to segment: what is drawn is what is published, nothing overlaps, and scores mean what they say."""

import math
from importlib import import_module
from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from wavefield_torch.tasks import (
    digit_scenes,
    digit_segmentation,
    multi_digits,
    polygons,
    segmentation_scores,
    tetrominoes,
)
from wavefield_torch.tasks.digit_scenes import DIGITS
from wavefield_torch.tasks.scenes import free_place

SHAPES = {  # as they are known, one way round
    "I": [[1, 1, 1, 1]],
    "O": [[1, 1], [1, 1]],
    "T": [[1, 1, 1], [0, 1, 0]],
    "S or Z": [[0, 1, 1], [1, 1, 0]],
    "J or L": [[1, 0, 0], [1, 1, 1]],
}
polygons_module = import_module("wavefield_torch.tasks.polygons")  # as the next one, behind a function's name
tetrominoes_module = import_module("wavefield_torch.tasks.tetrominoes")  # its name in the package is the function's


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def scenes():
    return tetrominoes(400, generator=seeded())


def pool(samples=40):
    """Blobs that look like digits to a program: grey disks with holes."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(samples, 28, 28)), (0, 3, 3))
    return np.clip(900 * smooth + 100, 0, 255).astype(np.uint8), rng.integers(0, 10, samples).astype(np.uint8)


@pytest.mark.parametrize(
    "draw",
    [
        lambda g: tetrominoes(3, size=32, cell=3, generator=g),
        lambda g: polygons(3, size=32, generator=g),
        lambda g: multi_digits(*pool(), 3, size=64, digit_size=20, generator=g),
    ],
    ids=["tetrominoes", "polygons", "digits"],
)
def test_scenes_follow_the_seed(draw):
    one, same, other = draw(seeded()), draw(seeded()), draw(seeded(1))
    for name in ("images", "masks", "layout"):
        assert torch.equal(getattr(one, name), getattr(same, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    x, target = one.batch(torch.tensor([2, 0]))
    assert x.dtype == torch.float32
    assert 0 <= x.min() < x.max() <= 1
    assert torch.equal(target[1], one.masks[0].long())


# ------------------------------------------------------------------------------------------------- tetrominoes


def test_every_piece_is_a_tetromino_of_its_kind_and_none_overlap(scenes):
    turned = {
        name: [np.rot90(shape, k).tolist() for shape in (np.array(a), np.fliplr(a)) for k in range(4)]
        for name, a in SHAPES.items()
    }
    for layout, mask, image in zip(scenes.layout[:100], scenes.masks, scenes.images, strict=False):
        pieces = layout[layout[:, 0] >= 0]
        assert int((mask > 0).sum()) == len(pieces) * 4 * 49  # no pixel is covered twice
        assert torch.equal((image.sum(0) > 0) & (mask == 0), torch.zeros_like(mask, dtype=torch.bool))
        if len(pieces[:, 0].unique()) < len(pieces):
            continue  # two of a kind may touch
        for kind, _, _, row, column, *_ in pieces.tolist():
            cells = (mask[row : row + 28 : 7, column : column + 28 : 7] == kind + 1).numpy()
            found, _ = ndimage.label(cells)
            found = [cells[box].astype(int).tolist() for box in ndimage.find_objects(found)]
            assert any(shape in turned[scenes.classes[kind + 1]] for shape in found)


def test_a_box_fits_where_it_lies_on_the_sheet_and_nothing_is_taken_inside():
    taken = torch.rand(4, 12, 12, generator=seeded()) < 0.05
    extent = torch.tensor([[3, 2], [1, 4], [12, 1], [2, 2]])
    found = tetrominoes_module._free_boxes(taken, extent)
    for sheet, (height, width), free in zip(taken, extent.tolist(), found, strict=True):
        for row in range(12):
            for column in range(12):
                box = sheet[row : row + height, column : column + width]
                assert free[row, column] == (box.shape == (height, width) and not box.any())


def test_a_shape_fits_where_none_of_its_pixels_meets_one_that_is_taken():
    taken = torch.rand(3, 12, 12, generator=seeded()) < 0.1
    shapes = torch.rand(3, 4, 4, generator=seeded(1)) < 0.5
    found = digit_scenes._free(taken, shapes)
    for sheet, shape, free in zip(taken, shapes, found, strict=True):
        for row in range(12):
            for column in range(12):
                under = sheet[row : row + 4, column : column + 4]
                assert free[row, column] == (under.shape == (4, 4) and not (under & shape).any())


def test_pieces_are_as_frequent_as_published(scenes):
    kinds = scenes.layout[..., 0]
    pieces = (kinds >= 0).sum(1)
    assert (torch.bincount(pieces, minlength=6)[1:] / 400 - 0.2).abs().max() < 0.06  # 3.7 standard errors
    for number, of_scene in zip(pieces, kinds, strict=True):
        most = torch.bincount(of_scene[of_scene >= 0]).max()
        assert most <= (1 if number < 5 else 2)
    chosen = scenes.layout[kinds >= 0]
    assert (torch.bincount(chosen[:, 0]) / len(chosen) - 0.2).abs().max() < 0.04
    assert (torch.bincount(chosen[:, 2]) / len(chosen) - 0.25).abs().max() < 0.04
    for kind in range(5):
        mirrored = chosen[chosen[:, 0] == kind, 1].double().mean()
        assert mirrored == pytest.approx(0.5, abs=0.1) if kind > 2 else mirrored == 0
    assert chosen[:, 5:].double().mean() == pytest.approx(127.5, abs=3)
    assert (chosen[:, 5:].min(), chosen[:, 5:].max()) == (0, 255)


def test_background_scores_are_near_the_published_ones(scenes):
    scores = segmentation_scores(torch.zeros_like(scenes.masks), scenes.masks)
    assert scores["accuracy"].mean() == pytest.approx(0.8556, abs=0.01)  # published, of other scenes
    assert scores["iou"].mean() == pytest.approx(0.7538, abs=0.015)
    assert not scores["foreground_accuracy"].any()


def test_the_edge_of_a_cell_is_half_as_bright_again_modulo_256(scenes):
    bright = 0
    for layout, image in zip(scenes.layout, scenes.images, strict=True):
        kind, mirrored, turns, row, column, *colour = layout[0].tolist()
        if (kind, turns % 2, mirrored) != (1, 0, 0):
            continue
        edge = [(c + c // 2) % 256 for c in colour]
        cell = image[:, row : row + 7, column : column + 7]
        assert cell[:, 3, 3].tolist() == cell[:, 1, 5].tolist() == colour
        assert cell[:, 0, 0].tolist() == cell[:, 6, 3].tolist() == cell[:, 3, 0].tolist() == edge
        bright += sum(c > 170 for c in colour)
    assert bright  # some have passed 255


def test_all_free_places_are_equally_likely():
    free = torch.zeros(1, 5, 6, dtype=torch.bool)
    free[0, [0, 2, 4, 4], [5, 1, 0, 3]] = True
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    found, y, x = free_place(free.expand(4000, -1, -1), uniform)
    assert found.all()
    assert torch.bincount(y * 6 + x).tolist() == [0] * 5 + [1000] + [0] * 7 + [1000] + [0] * 10 + [1000, 0, 0, 1000]
    assert not free_place(torch.zeros(2, 3, 3, dtype=torch.bool), uniform[:2])[0].any()


# ------------------------------------------------------------------------------------------------------ digits


def test_a_digit_is_what_is_brighter_than_half():
    images, labels = pool()
    scenes = digit_segmentation(images, labels, size=28)
    assert torch.equal(scenes.images[:, 0], torch.as_tensor(images))
    for image, mask, label in zip(images, scenes.masks.numpy(), labels, strict=True):
        assert (mask == np.where(image > 127, label + 1, 0)).all()
    large = digit_segmentation(images, labels)
    exact = torch.nn.functional.interpolate(
        torch.as_tensor(images)[:, None].double() / 255, scale_factor=2, mode="bilinear"
    )
    assert torch.equal(large.masks > 0, exact[:, 0] > 0.5)
    assert (large.images / 255 - exact).abs().max() <= 0.5 / 255 + 1e-6


def test_digits_of_a_scene_do_not_overlap_and_are_those_of_the_pool():
    images, labels = pool()
    scenes = multi_digits(images, labels, 60, size=96, digit_size=30, generator=seeded())
    assert scenes.classes == DIGITS
    for layout, mask in zip(scenes.layout, scenes.masks, strict=True):
        pixels = 0
        for which, row, column in layout[layout[:, 0] >= 0].tolist():
            grey = torch.nn.functional.interpolate(
                torch.as_tensor(images[which])[None, None].double(), (30, 30), mode="bilinear"
            )
            shape = grey[0, 0] > 50
            there = mask[row : row + 30, column : column + 30][shape]
            assert (there == labels[which] + 1).all()
            pixels += int(shape.sum())
        assert int((mask > 0).sum()) == pixels
    digits = (scenes.layout[..., 0] >= 0).sum(1)
    assert set(digits.tolist()) == {1, 2, 3, 4}
    assert torch.equal(scenes.images[:, 0] == 255, scenes.masks > 0)


# ---------------------------------------------------------------------------------------------------- polygons


def test_shapes_have_the_area_and_the_corners_of_their_kind():
    scenes = polygons(150, size=96, generator=seeded())
    seen = set()
    for layout, mask in zip(scenes.layout, scenes.masks.numpy(), strict=True):
        for kind, radius, _, row, column in layout[layout[:, 0] >= 0].tolist():
            sides = {0: 3, 1: 4, 2: 5, 3: 6, 4: 10**6}[int(kind)]
            area = sides / 2 * radius**2 * math.sin(2 * math.pi / sides)
            distance = np.hypot(*np.ogrid[-row : 96 - row, -column : 96 - column][:2])
            own = (mask == kind + 1) & (distance <= radius + 1)
            assert own.sum() == pytest.approx(area, abs=2.5 * radius)  # of a circumference of some 6 radii
            assert 0.04 * 96**2 <= area * (1 + 1e-9) <= 0.09 * 96**2 * (1 + 2e-9)
            covered = own[distance < radius * math.cos(math.pi / sides) - 1]
            assert covered.all()  # the circle within
            seen.add(int(kind))
    assert seen == set(range(5))
    first, second = scenes.layout[(scenes.layout[..., 0] >= 0).all(1)].unbind(1)
    assert (torch.hypot(*(first - second)[:, 3:].T) > first[:, 1] + second[:, 1]).all()


def test_a_centre_is_free_where_its_circle_touches_neither_the_edge_nor_a_shape():
    radius = torch.tensor([3.0, 4.5], dtype=torch.float64)
    earlier = torch.tensor([[[0, 2.5, 0, 11, 15]], [[-1, 9, 0, 11, 15]]], dtype=torch.float64)  # the second is none
    found = polygons_module._free(earlier, radius, 24)
    for n, r in enumerate(radius.tolist()):
        for row, column in product(range(24), range(24)):
            inside = min(row, column) - r >= 0 and max(row, column) + r <= 23
            apart = n == 1 or math.hypot(row - 11, column - 15) > 2.5 + r + 1
            assert bool(found[n, row, column]) == (inside and apart)


def test_numbers_kinds_areas_and_angles_are_drawn_evenly():
    layout = polygons(500, size=32, generator=seeded()).layout
    there = layout[..., 0] >= 0
    assert (there.sum(1) == 2).double().mean().item() == pytest.approx(0.5, abs=0.09)  # 4 standard errors
    chosen = layout[there]
    kinds = torch.bincount(chosen[:, 0].long(), minlength=5) / len(chosen)
    assert (kinds - 0.2).abs().max() < 0.06
    squares = chosen[chosen[:, 0] == 1]
    share = 2 * squares[:, 1] ** 2 / 32**2  # of the image; a square of diagonal 2 r has the area 2 r²
    assert share.mean().item() == pytest.approx(0.065, abs=0.005)
    assert share.std().item() == pytest.approx(0.05 / 12**0.5, rel=0.15)
    assert chosen[:, 2].mean().item() == pytest.approx(math.pi, abs=0.27)
    assert 6.2 < chosen[:, 2].max() < 2 * math.pi
    digits = multi_digits(*pool(), 300, size=48, digit_size=16, generator=seeded()).layout[..., 0]
    several = (digits >= 0).sum(1)
    assert (torch.bincount(several, minlength=5)[1:] / 300 - 0.25).abs().max() < 0.1
    assert digits[digits >= 0].double().mean().item() == pytest.approx(19.5, abs=1.7)  # of a pool of forty
    assert {0, 39} <= set(digits.flatten().tolist())


# ------------------------------------------------------------------------------------------------------ scores


def test_scores_are_those_of_sets_of_pixels():
    rng = torch.Generator().manual_seed(3)
    predicted, target = (torch.randint(4, (5, 6, 7), generator=rng) for _ in range(2))
    scores = segmentation_scores(predicted, target)
    for b in range(5):
        p, t = [{(i, c) for i, c in enumerate(x[b].flatten().tolist())} for x in (predicted, target)]
        p_fg, t_fg = ({pair for pair in x if pair[1]} for x in (p, t))
        inside = {pair for pair in p if dict(t)[pair[0]]}  # predictions where the target is foreground
        assert scores["accuracy"][b] == pytest.approx(len(p & t) / 42)
        assert scores["iou"][b] == pytest.approx(len(p & t) / len(p | t))
        assert scores["iou_without_background"][b] == pytest.approx(len(p_fg & t_fg) / len(p_fg | t_fg))
        assert scores["published_iou_foreground"][b] == pytest.approx(len(inside & t_fg) / len(inside | t_fg))
        assert scores["foreground_accuracy"][b] == pytest.approx(len(p_fg & t_fg) / len(t_fg))
        false = sum(1 for i, c in p if c and not dict(t)[i])
        assert scores["background_false_positives"][b] == pytest.approx(false / (42 - len(t_fg)))


def test_marking_everything_is_punished_only_by_scores_that_count_false_positives():
    target = torch.zeros(1, 10, 10, dtype=torch.long)
    target[0, :2, :5] = 1
    scores = segmentation_scores(torch.ones_like(target), target)
    assert scores["foreground_accuracy"] == scores["published_iou_foreground"] == 1
    assert scores["background_false_positives"] == 1
    assert scores["iou_without_background"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tetrominoes(3, size=32, generator=seeded()), "size must be at least 9 cells"),
        (lambda: tetrominoes(0, generator=seeded()), "count must be at least 1"),
        (lambda: polygons(3, size=8, generator=seeded()), "size must be at least 16"),
        (lambda: multi_digits(*pool(), 3, size=64, generator=seeded()), "size must be at least twice digit_size"),
        (lambda: segmentation_scores(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3)), "must have one shape"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
