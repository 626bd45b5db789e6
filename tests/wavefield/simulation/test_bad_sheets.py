"""Whatever is given for a sheet: a finite field, or a sentence that names what does not fit."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wavefield as wf

NUMBERS = st.sampled_from(
    [0.5, 0.5, 0.4, 0.1, 0.7, 1, 0, -0.3, 2.0, np.nan, np.inf, "fast", None, [0.5, 0.4], np.float32(0.6), True]
)
ENDS = ["periodic", "fixed", "free", "absorbing", "open", "soft", None, 3]
BOUNDARIES = st.sampled_from(ENDS) | st.tuples(st.sampled_from(ENDS), st.sampled_from(ENDS)) | st.just(("fixed",) * 3)
SIZES = st.sampled_from([(6, 7), (1, 1), (2, 9), 8, (0, 4), (5,), (4, 5, 6), (-3, 4), (6.0, 7), "big", None, (30, 8)])
SHAPES = st.sampled_from([(6, 7), (1, 1), (7, 6), (6,), (6, 7, 1), (0, 0)])


@st.composite
def arrays(draw):
    """Masks, profiles and fields of shapes and kinds that fit or do not."""
    shape, kind = draw(SHAPES), draw(st.sampled_from(["ones", "random", "nan", "bool", "complex", "text"]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    made = {
        "ones": np.ones(shape),
        "random": rng.uniform(0.2, 1, shape),
        "nan": np.full(shape, np.nan),
        "bool": rng.random(shape) < 0.7,
        "complex": np.full(shape, 1j),
        "text": np.full(shape, "a"),
    }
    return made[kind]


EACH = {
    "damping": NUMBERS,
    "restoring": NUMBERS,
    "order": st.sampled_from([2, 4, 3, 8, "two", None]),
    "isotropic": st.sampled_from([True, False, 1]),
    "boundary": BOUNDARIES,
    "dx": st.sampled_from([1.0, (1.0, 2.0), (1, 0), (1, 2, 3), -1.0, "mm"]),
    "dt": NUMBERS,
    "profile": arrays(),
    "damping_profile": arrays(),
    "restoring_profile": arrays(),
    "density": arrays(),
    "mask": arrays(),
    "edge": st.sampled_from(["fixed", "free", "soft", 1]),
    "rim": st.sampled_from([2, 20, 0, -1, 1.5, None]),
}
FEW = st.lists(st.sampled_from(sorted(EACH)), unique=True, max_size=3)
OPTIONS = FEW.flatmap(lambda names: st.fixed_dictionaries({name: EACH[name] for name in names}))
DRIVES = st.sampled_from(
    [np.ones((3, 1)), np.ones(3), np.ones((2, 3, 1)), np.ones((3, 6, 7)), np.full((3, 1), np.nan), "loud", 3.0, None]
)
ENCODERS = st.sampled_from(
    ["own", "first", "everywhere", "twice", np.ones((1, 6, 7, 1)), np.ones((6, 7)), wf.encoder_at([(2, 3)], (6, 7))]
)


def answered(call):
    """What a call returns, None where it is refused in a sentence."""
    try:
        return call()
    except (ValueError, TypeError) as error:
        text = str(error)
        assert len(text.split()) >= 4, text
        assert "operands" not in text, text  # NumPy's own words tell nobody which argument it was
        assert "unexpected keyword" not in text, text
        assert "broadcast" not in text, text
        return None


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NUMBERS, OPTIONS, SIZES, DRIVES, ENCODERS, st.sampled_from([None, *[(6, 7)] * 3]))
def test_whatever_is_given_for_a_sheet_moves_or_is_refused_in_a_sentence(speed, options, size, drive, encoder, usual):
    operator = answered(lambda: wf.wave(speed, dims=2, **options))
    if operator is None:
        return
    rec = answered(lambda: wf.simulate(operator, drive, size=usual or size, encoder=encoder))
    if rec is None:
        return
    assert np.isfinite(rec.activity).all()
    answered(lambda: wf.modes(operator, usual or size, count=1))
    answered(lambda: wf.decode(rec))
    answered(lambda: wf.decode(rec, sites="anywhere"))


@pytest.mark.parametrize("places", [[(2, 3)], [(2.0, 3.0)], [(2, 9)], [2, 3], "middle", [], np.ones((2, 2, 2)), None])
@pytest.mark.parametrize("size", [(6, 7), 6, (6, 7, 8), "big"])
def test_wherever_inputs_are_to_enter_there_is_an_encoder_or_a_sentence(places, size):
    encoder = answered(lambda: wf.encoder_at(places, size))
    assert encoder is None or encoder.shape[1:-1] == ((size,) if isinstance(size, int) else size)


BY_POSITION = ["profile", "damping_profile", "restoring_profile", "density", "mask"]


@pytest.mark.parametrize("name", BY_POSITION)
@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(
    "given",
    [
        *(1.0, True, "soft", {"a": 1}, [], [[]], [[1, 2], [3]]),
        *(np.ones(3), np.ones((3, 3)), np.ones((3, 3, 3)), np.ones((0, 4))),
        *(np.ones(3) * 1j, np.array([1, np.nan]), np.array([[1, np.inf]])),
    ],
    ids=lambda given: f"{type(given).__name__}{np.shape(given) if isinstance(given, np.ndarray) else ''}",
)
def test_what_is_given_by_position_is_refused_by_its_own_name(name, dims, given):
    fits = isinstance(given, np.ndarray) and given.shape == (3,) * dims and given.dtype == float and name != "mask"
    fits = fits and not (name == "density" and dims == 2)
    with nullcontext() if fits else pytest.raises((ValueError, TypeError), match=f"^{name} "):
        wf.wave(0.5, dims=dims, **{name: given})


def test_two_shapes_by_position_are_refused_with_the_names_of_both():
    with pytest.raises(
        ValueError, match=r"restoring_profile must be of shape \(4, 4\), as the damping_profile, got \(5, 4"
    ):
        wf.wave(0.5, dims=2, damping_profile=np.ones((4, 4)), restoring_profile=np.ones((5, 4)))
    with pytest.raises(ValueError, match=r"profile must be of shape \(4, 5\), as the mask, got \(4, 4\)"):
        wf.wave(0.5, dims=2, profile=np.ones((4, 4)), mask=np.ones((4, 5), bool))


@pytest.mark.parametrize("boundary", ["periodic", "fixed", "free"])
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 1), (1, 2), (2, 1), (2, 2)], ids=str)
def test_the_smallest_media_move_as_fields_without_any(boundary, shape):
    law = {"dims": len(shape), "boundary": boundary}
    drive, plain = np.sin(np.arange(9.0)), wf.wave(0.6, 0.1, **law)
    expected = wf.simulate(plain, drive, size=shape, source="force").activity.values
    for same in ({"profile": np.ones(shape)}, {"damping_profile": np.full(shape, 0.1)}):
        op = wf.wave(0.6, 0.0 if "damping_profile" in same else 0.1, **law, **same)
        rec = wf.simulate(op, drive, source="force")
        np.testing.assert_allclose(rec.activity.values, expected, rtol=0, atol=1e-13)


SHEET, STATE = wf.wave(0.5, dims=2), np.ones((1, 4, 4))
TAKES = {
    "initial": lambda given: wf.simulate(SHEET, initial=given, steps=3),
    "velocity": lambda given: wf.simulate(SHEET, initial=STATE, velocity=given, steps=3),
    "previous": lambda given: wf.simulate(SHEET, initial=STATE, previous=given, steps=3),
    "bias": lambda given: wf.simulate(SHEET, initial=STATE, bias=given, steps=3),
    "encoder": lambda given: wf.simulate(SHEET, np.ones((3, 1)), encoder=given),
    "encoder of a snapshot": lambda given: wf.decode(STATE, SHEET, steps=5, encoder=given),
    "drive": lambda given: wf.simulate(SHEET, given, encoder="everywhere"),
    "snapshot": lambda given: wf.decode(given, SHEET, steps=5, sites="anywhere"),
    "snapshot of a picture": lambda given: wf.read_picture(given, operator=SHEET, steps=5),
    "domain": lambda given: wf.modes(SHEET, given),
    "size": lambda given: wf.simulate(SHEET, np.ones((3, 1)), size=given),
    "now": lambda given: wf.energy(SHEET, given, STATE),
    "before": lambda given: wf.energy(SHEET, STATE, given),
}
UNFIT = [
    1.0,
    [],
    {"a": 1},
    [[1, 2], [3]],
    np.ones(4),
    np.ones((1, 1, 1, 4, 4)),
    np.ones((1, 4, 4)) * 1j,
    STATE * np.nan,
]


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("number", range(len(UNFIT)))
def test_an_array_that_does_not_fit_is_refused_by_its_own_name(name, number):
    given = UNFIT[number]
    if name in ("now", "before") and isinstance(given, np.ndarray) and (given.ndim == 5 or np.isnan(given.flat[0])):
        return  # leading axes are kept, and so is NaN
    with pytest.raises((ValueError, TypeError), match=f"^{name.split()[0]} |^now and before"):
        TAKES[name](given)
