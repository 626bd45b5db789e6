"""Whatever is given for a sheet: a finite field, or a sentence that names what does not fit."""

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
