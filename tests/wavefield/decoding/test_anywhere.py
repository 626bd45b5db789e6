"""Events of which nobody says where they entered: every place and onset of a sheet, from one snapshot.

The references are draws of known events, moved by `simulate` through an encoder that the decoder is not shown; the
noise is added to the last state.
"""

import time
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

import wavefield as wf
from wavefield.decoding.anywhere.candidates import Candidates
from wavefield.decoding.anywhere.reader import _Fit
from wavefield.decoding.anywhere.responses import responses_of

L_SHAPE = np.ones((64, 64), bool)
L_SHAPE[:32, 32:] = False
STUDIES = {  # operator, size, onsets, events, noise, level before seen, draws: reduced and full, least share exact
    "periodic, noise 1e-2": (wf.wave(0.7, dims=2), 64, 60, 12, 1e-2, True, (2, 1000), 0.99),
    "periodic, noise 1e-1": (wf.wave(0.7, dims=2), 64, 60, 12, 1e-1, True, (2, 1000), 0.95),
    "periodic, noise 1e-2, displacement": (wf.wave(0.7, dims=2), 64, 60, 12, 1e-2, False, (2, 300), 0.99),
    "periodic, noise 1e-1, displacement": (wf.wave(0.7, dims=2), 64, 60, 12, 1e-1, False, (2, 300), 0.9),
    "periodic, 30 in 200 onsets": (wf.wave(0.7, dims=2), 64, 200, 30, 1e-2, True, (1, 300), 0.99),
    "nine-point": (wf.wave(0.85, dims=2, isotropic=True), 64, 60, 12, 1e-2, True, (1, 100), 0.95),
    "damped": (wf.wave(0.7, 0.02, dims=2), 64, 60, 12, 1e-2, True, (1, 100), 0.95),
    "fixed": (wf.wave(0.7, dims=2, boundary="fixed"), 64, 60, 12, 1e-2, True, (1, 100), 0.95),
    "fixed and free": (wf.wave(0.7, dims=2, boundary=("fixed", "free")), 64, 60, 12, 1e-2, False, (1, 100), 0.95),
    "L-shaped": (wf.wave(0.7, dims=2, boundary="fixed", mask=L_SHAPE), 64, 60, 12, 1e-2, True, (1, 100), 0.95),
}
BINS = [(0, 0.5), (0.5, 0.6), (0.6, 0.8), (0.8, 0.9), (0.9, 0.97), (0.97, 1.01)]


def drawn(operator, size, onsets, counts, noise, rng, *, signed=False, source="pulse"):
    """Recording of as many trials as there are counts of events, noise on it, and the events: sets of (t, y, x)."""
    inside = np.ones((size, size), bool) if operator.mask is None else operator.mask
    cells = np.argwhere(inside)
    where = [cells[rng.choice(len(cells), n)] for n in counts]
    when = [rng.integers(0, onsets, n) for n in counts]
    first = np.cumsum([0, *counts])
    drive = np.zeros((len(counts), onsets, max(first[-1], 1)))
    for trial, start in enumerate(first[:-1]):
        number = start + np.arange(counts[trial])
        sign = rng.choice([-1, 1], counts[trial]) if signed else 1
        drive[trial, when[trial], number] = sign * rng.uniform(0.5, 1.5, counts[trial])
    at = np.concatenate([*where, cells[: drive.shape[2] - first[-1]]])
    encoder = wf.encoder_at(at, (size, size))
    rec = wf.simulate(operator, drive, encoder=encoder, save_every=None, source=source)
    for level in ("activity", "previous"):
        rec[level] = rec[level] + noise * rng.normal(size=rec[level].shape) * inside
    events = [
        {(int(t), int(y), int(x)) for t, (y, x) in zip(*trial, strict=True)} for trial in zip(when, where, strict=True)
    ]
    return rec, events


def rows(found, trial=None, above=0.0):
    """The events found, (t, y, x)."""
    chosen = found.confidence.values > above
    if trial is not None:
        chosen &= found.trial.values == trial
    return list(zip(*(found[name].values[chosen].tolist() for name in ("onset", "y", "x")), strict=True))


@pytest.mark.validate
@pytest.mark.parametrize("study", STUDIES)
def test_places_onsets_and_their_number_are_read_exactly(study, draws, measured):
    operator, size, onsets, count, noise, both, how_many, least = STUDIES[study]
    total, rng, right = draws(*how_many), np.random.default_rng(30), 0
    for first in range(0, total, 25):
        trials = min(25, total - first)
        rec, events = drawn(operator, size, onsets, [count] * trials, noise, rng)
        found = wf.decode(rec, sites="anywhere", previous=None if both else False)
        right += sum(sorted(events[k]) == sorted(rows(found, k, 0.5)) for k in range(trials))
    measured(f"share of {total} draws read exactly", right / total, f"at least {least}")
    assert right >= least * total - 3 * np.sqrt(total * least * (1 - least)) - 0.5


@pytest.mark.validate
@pytest.mark.parametrize("given", [True, False], ids=["noise given", "noise estimated"])
@pytest.mark.parametrize("signed", [False, True], ids=["positive", "signed"])
def test_a_sheet_of_noise_holds_no_sure_events(given, signed, draws, measured):
    """At most 0.05 rows of confidence above 0.9 a snapshot, among 245,760 places and onsets."""
    count = draws(8, 1000)
    silent = 0.05 * np.random.default_rng(31).normal(size=(2, count, 1, 64, 64))
    found = wf.decode(
        silent[0],
        wf.wave(0.7, dims=2),
        steps=60,
        previous=silent[1],
        noise=0.05 if given else None,
        nonnegative=not signed,
        sites="anywhere",
    )
    sure = int((found.confidence > 0.9).sum())
    measured("rows above 0.9 a silent snapshot", sure / count, "at most 0.05")
    assert sure <= 0.05 * count + 1


FIELDS = {  # operator, source, both levels, signed
    "0.7": (wf.wave(0.7, dims=2), "pulse", True, False),
    "0.7, displacement": (wf.wave(0.7, dims=2), "pulse", False, False),
    "0.2": (wf.wave(0.2, dims=2), "pulse", True, False),
    "force": (wf.wave(0.7, dims=2), "force", True, False),
    "damped": (wf.wave(0.7, 0.1, dims=2), "pulse", True, False),
    "fixed and free": (wf.wave(0.6, dims=2, boundary=("fixed", "free")), "pulse", False, False),
    "signed": (wf.wave(0.5, dims=2), "pulse", True, True),
}


@pytest.mark.validate
@pytest.mark.parametrize("given", [True, False], ids=["noise given", "noise estimated"])
@pytest.mark.parametrize("noise", [0.03, 0.1, 0.2, 0.3])
def test_confidence_in_a_place_and_onset_is_right_as_often_as_it_says(noise, given, draws, measured):
    """Over all fields, about six events on 32 by 32 cells in 40 onsets: each bin within 0.05 and three deviations."""
    total, rng = draws(1, 40), np.random.default_rng([32, int(1000 * noise), given])
    said, right = [], []
    for number, (operator, source, both, signed) in enumerate(FIELDS.values()):
        if total == 1 and number % 4 != int(10 * noise):
            continue
        rec, events = drawn(operator, 32, 40, rng.poisson(6, total), noise, rng, signed=signed, source=source)
        found = wf.decode(
            rec,
            sites="anywhere",
            noise=noise if given else None,
            previous=None if both else False,
            nonnegative=not signed,
        )
        said += found.confidence.values.tolist()
        right += [
            event in events[k] for k, event in zip(found.trial.values.tolist(), rows(found, above=-1.0), strict=True)
        ]
    said, right = np.array(said), np.array(right)
    for low, high in BINS:
        here = (said >= low) & (said < high)
        if here.sum() < 5:
            continue
        expected, share = said[here].mean(), right[here].mean()
        measured(f"share right of {here.sum()} rows said {expected:.3f}", share, "within 0.05")
        deviation = np.sqrt(max(expected * (1 - expected), 0.25 / here.sum()) / here.sum())
        assert abs(share - expected) <= 0.05 + 3 * deviation, (low, high, expected, share, here.sum())


@pytest.mark.parametrize("boundary", list(product(("periodic", "fixed", "free"), repeat=2)), ids="-".join)
@pytest.mark.parametrize("pulse", [True, False], ids=["pulse", "force"])
def test_responses_by_fast_transforms_are_those_of_stepping(boundary, pulse):
    """Columns, norms and scalar products against powers of the one-step matrix, to 1e-12."""
    operator, shape, ages = wf.wave(0.6, 0.05, dims=2, boundary=boundary), (7, 9), 8
    fast = responses_of(operator, shape, ages, both=True, pulse=pulse)
    step, entry = operator.matrix(shape).toarray(), np.eye(2 * 63)[:, :63]
    left = [entry]
    for _ in range(ages - 1):
        left.append(step @ left[-1])
    taken_back = [0 * entry, 0 * entry, *left] if pulse else [0 * entry] * ages
    exact = np.stack([now - before for now, before in zip(left, taken_back, strict=False)])  # (ages, 2·63, places)
    age, place = np.divmod(np.arange(ages * 63), 63)
    columns = fast.columns(np.zeros_like(age), age, place).reshape(ages, 63, -1).swapaxes(1, 2)
    np.testing.assert_allclose(columns, exact, atol=1e-12)
    norms = np.broadcast_to(fast.norms, (1, ages, *shape)).reshape(ages, -1)
    np.testing.assert_allclose(norms, np.linalg.norm(exact, axis=1), atol=1e-12)
    snapshot = np.random.default_rng(33).normal(size=(1, 1, 2, *shape))
    products = fast.correlate(snapshot).reshape(ages, -1)
    np.testing.assert_allclose(products, snapshot.ravel() @ exact, atol=1e-12)


def test_responses_of_a_masked_medium_are_those_of_its_matrix():
    """By stepping the adjoint: exact scalar products, norms within a tenth on average."""
    mask = np.ones((8, 8), bool)
    mask[:4, 4:] = False
    operator = wf.wave(0.5, 0.05, dims=2, boundary="fixed", mask=mask, profile=np.linspace(0.5, 1, 64).reshape(8, 8))
    stepped = responses_of(operator, (8, 8), 6, both=True, pulse=True)
    cell, age = np.flatnonzero(mask), 5
    power = np.linalg.matrix_power(operator.matrix((8, 8)).toarray(), 3)
    exact = (power @ (operator.matrix((8, 8)) @ operator.matrix((8, 8))).toarray() - power)[:, cell]
    columns = stepped.columns(np.zeros_like(cell), np.full_like(cell, age), cell)
    np.testing.assert_allclose(columns.T, exact, atol=1e-13)
    snapshot = np.random.default_rng(34).normal(size=(1, 1, 2, 8, 8))
    products = stepped.correlate(snapshot)[0, 0, age].ravel()
    np.testing.assert_allclose(products[cell], snapshot.ravel() @ exact, atol=1e-12)
    assert not products[~mask.ravel()].any()
    norms = stepped.norms[0, age].ravel()[cell]
    assert np.abs(norms / np.linalg.norm(exact, axis=0) - 1).mean() < 0.1


def test_amplitude_errors_are_those_of_the_draws():
    drive = np.tile(wf.spikes([[(4, 1.0)], [(20, 0.7)]], 30), (30, 1, 1))
    encoder = wf.encoder_at([(3, 5), (20, 11)], (24, 24))
    rec = wf.simulate(wf.wave(0.7, dims=2), drive, encoder=encoder, save_every=None)
    rec["activity"] = rec.activity + 0.05 * np.random.default_rng(36).normal(size=rec.activity.shape)
    found = wf.decode(rec, sites="anywhere", previous=False)
    sure = found.isel(event=found.confidence.values > 0.9)
    truth = np.where(sure.onset == 4, 1.0, 0.7)
    z = (sure.amplitude.values - truth) / sure.amplitude_error.values
    assert z.size == 60
    assert abs(z.mean()) < 0.5
    assert 0.75 < z.std() < 1.25


def test_units_channels_and_trials_are_told():
    """Two sheets of unequal spacing, one trial silent."""
    operator = wf.wave([0.5, 0.6], dims=2, dx=(0.5, 2.0), dt=0.25)
    encoder = np.zeros((2, 16, 12, 2))
    encoder[0, 3, 4, 0] = encoder[1, 10, 2, 1] = 1.0
    drive = np.zeros((2, 20, 2))
    drive[1, 4, 0], drive[1, 9, 1] = 1.0, 2.0
    found = wf.decode(wf.simulate(operator, drive, encoder=encoder, save_every=None), sites="anywhere")
    assert rows(found) == [(4, 3, 4), (9, 10, 2)]
    assert found.trial.values.tolist() == [1, 1]
    assert found.channel.values.tolist() == [0, 1]
    assert found.time.values.tolist() == [1.0, 2.25]
    assert found.y_position.values.tolist() == [1.5, 5.0]
    assert found.x_position.values.tolist() == [8.0, 4.0]
    np.testing.assert_allclose(found.amplitude, [1.0, 2.0], atol=1e-6)


def test_what_neighbouring_places_may_stand_for_is_listed_with_its_probability():
    """A slow wave has hardly moved: at a noise of a third of the amplitude several onsets and places are as likely."""
    rec, events = drawn(wf.wave(0.1, dims=2), 24, 30, [3], 0.3, np.random.default_rng(37))
    found = wf.decode(rec, sites="anywhere", noise=0.3)
    doubtful = found.isel(event=found.ambiguous.values > 0)
    assert (doubtful.confidence < 0.9).all()
    assert doubtful.sizes["event"] > 1
    for number in np.unique(doubtful.ambiguous):
        assert doubtful.confidence.values[doubtful.ambiguous.values == number].sum() < 4
    assert {event[1:] for event in events[0]} & {event[1:] for event in rows(found)}


def test_events_that_have_faded_are_reported():
    """Damped by 0.3 a step, an event of age 60 is e⁻⁹ of what it was."""
    rec, events = drawn(wf.wave(0.5, 0.3, dims=2), 24, 60, [4], 0.01, np.random.default_rng(38))
    found = wf.decode(rec, sites="anywhere")
    visible = found.attrs["visible"][0]
    assert 15 < visible < 50
    assert f"older than {visible} steps are hidden by the noise" in found.attrs["warnings"]
    assert {e for e in events[0] if e[0] > 60 - visible + 8} <= set(rows(found, 0, 0.9)) <= set(events[0])
    far = wf.decode(wf.simulate(wf.wave(0.5, 0.3, dims=2), np.eye(200, 1, -190), size=(16, 16)), sites="anywhere")
    assert 80 < far.attrs["horizon"] < 120
    assert "have left no trace" in far.attrs["warnings"]
    near = wf.decode(rec, sites="anywhere", horizon=10)
    assert "older than the horizon of 10 steps" in near.attrs["warnings"]


@pytest.mark.parametrize(("amplitudes", "visible"), [([2.0, -2.0], 4), ([0.21], 1), ([0.19], 0)])
def test_events_are_visible_while_the_median_place_exceeds_the_noise_and_its_extremes(amplitudes, visible):
    """Responses of 2⁻ᵃ at age a: beside a noise of 0.1, whose extremes are as large, A · 2⁻ᵃ must exceed 0.2."""
    norms = 0.5 ** np.arange(8.0)[:, None] * [0.1, 1.0, 1.0, 1.0, 9.0]  # the median place counts
    responses = SimpleNamespace(norms=np.stack([norms, 0.5 * norms]))  # and of the rings the one that shows most
    reader = SimpleNamespace(candidates=SimpleNamespace(extreme=1.0, responses=responses))
    fit = SimpleNamespace(reader=reader, noise=lambda: 0.1, support=[0], amplitudes=np.array(amplitudes))
    assert _Fit._visible(fit) == visible


def test_a_wrong_speed_is_reported_as_a_misfit():
    rec, _ = drawn(wf.wave(0.7, dims=2), 24, 20, [1], 0.02, np.random.default_rng(39))
    assert wf.decode(rec, sites="anywhere").attrs["misfit"][0] > 1e-4
    wrong = wf.decode(rec, wf.wave(0.65, dims=2), sites="anywhere")
    assert wrong.attrs["misfit"][0] < 1e-4
    assert "is it this operator" in wrong.attrs["warnings"]


def test_a_line_is_read_anywhere_too():
    rng = np.random.default_rng(40)
    encoder = wf.encoder_at([20, 50, 90], 128)
    rec = wf.simulate(wf.wave(0.8, boundary="fixed"), wf.spikes([[(4, 1.0)], [(13, 0.6)], [(22, 1.2)]], 30), 128,
                      encoder=encoder, save_every=None)  # fmt: skip
    rec["activity"] = rec.activity + 0.01 * rng.normal(size=rec.activity.shape)
    found = wf.decode(rec, sites="anywhere", previous=False)
    assert list(zip(found.onset.values.tolist(), found.x.values.tolist(), strict=True)) == [(4, 20), (13, 50), (22, 90)]


def test_places_and_onsets_that_leave_the_same_trace_share_their_probability():
    """On an undamped ring at Courant 1 an event and one of another age half a turn away end as the same two pulses."""
    ring = wf.simulate(wf.wave(1.0), wf.spikes([[(4, 1.0)]], 40), 64, encoder=wf.encoder_at([10], 64), save_every=None)
    found = wf.decode(ring, sites="anywhere", previous=False)
    same = [(4, 10), (10, 10), (36, 42)]  # ages 35, 29 = 64 − 35 and 3 = 35 − 32
    assert list(zip(found.onset.values.tolist(), found.x.values.tolist(), strict=True)) == same
    np.testing.assert_allclose(found.confidence, 1 / 3, atol=5e-3)
    assert np.unique(found.ambiguous).tolist() == [1]


def test_more_events_than_values_can_tell_are_not_claimed():
    rng = np.random.default_rng(42)
    rec, _ = drawn(wf.wave(0.7, dims=2), 12, 10, [100], 0.01, rng)
    found = wf.decode(rec, sites="anywhere")
    assert (found.confidence <= 0.5).all()
    assert "more events stand out" in found.attrs["warnings"]


@pytest.mark.validate
def test_a_large_sheet_is_read_in_seconds(draws, measured):
    """128 by 128 cells, 100 onsets, 20 events: 1,638,400 candidates in 2 s on an idle machine; a quarter in brief."""
    size = draws(64, 128)
    rec, events = drawn(wf.wave(0.7, dims=2), size, 100, [20], 0.01, np.random.default_rng(41))
    began = time.process_time()
    found = wf.decode(rec, sites="anywhere")
    took = time.process_time() - began
    measured("seconds of one processor", took, "2 s on an idle machine of two cores")
    assert took < 6
    assert set(rows(found)) == events[0]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sites": "everywhere"}, "sites must be None"),
        ({"encoder": "own"}, "leave out `encoder`"),
        ({"method": "tikhonov"}, "must be 'auto' or 'sparse'"),
        ({"operator": wf.transport(0.5, direction=0.0)}, "reads two-way fields"),
        ({"operator": wf.wave(0.5, dims=2, mask=np.ones((9, 9), bool))}, "size must be"),
        ({"snapshot": np.zeros((1, 1, 1, 8, 8))}, "must have shape"),
        ({"operator": wf.wave([0.5, 0.5], dims=2)}, "must have 2 rings"),
        ({"steps": None}, "steps must be given"),
    ],
)
def test_bad_arguments_are_named(given, text):
    arguments = {
        "snapshot": np.zeros((8, 8)),
        "operator": wf.wave(0.5, dims=2),
        "steps": 5,
        "sites": "anywhere",
    } | given
    with pytest.raises(ValueError, match=text):
        wf.decode(arguments.pop("snapshot"), arguments.pop("operator"), **arguments)


def test_what_stands_out_is_found_at_its_place_and_age():
    """The scalar product of a response with itself, over its norm, is its norm."""
    candidates = Candidates(responses_of(wf.wave(0.7, dims=2), (16, 16), 20, both=True, pulse=True))
    chosen = np.array([7 * 256 + 35])
    column = candidates.columns(chosen)[:, 0]
    values = candidates.standing_out(column)
    assert int(values.argmax()) == chosen[0]
    assert values.max() == pytest.approx(np.linalg.norm(column), rel=1e-5)


def test_candidates_that_noise_makes_stand_out_are_as_many_as_there_are():
    responses = responses_of(wf.wave(0.7, dims=2), (6, 7), 3, both=False, pulse=False)
    candidates = Candidates(responses)
    assert candidates.count == 6 * 7 * 3
    assert candidates.extreme == pytest.approx(np.sqrt(2 * np.log(126)))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("boundary", ["periodic", "fixed", ("free", "periodic"), "free"])
def test_products_with_the_responses_of_some_ages_are_those_of_their_columns(both, boundary):
    op, shape, rng = wf.wave(0.6, 0.05, dims=2, boundary=boundary), (5, 6), np.random.default_rng(0)
    responses = responses_of(op, shape, 7, both=both, pulse=True)
    snapshot = rng.standard_normal((1, 1, 1 + both, *shape))
    ring, age, place = (of.ravel() for of in np.indices((1, 7, 30)))
    columns = responses.columns(ring, age, place)
    expected = (columns @ snapshot.ravel()).reshape(1, 1, 7, *shape)
    for ages in (None, slice(0, 3), slice(2, 6)):
        found = responses.correlate(snapshot, ages)
        np.testing.assert_allclose(found, expected[:, :, ages or slice(None)], atol=1e-12)
    norms = np.broadcast_to(responses.norms, (1, 7, *shape))
    np.testing.assert_allclose(norms.ravel(), np.linalg.norm(columns, axis=1), rtol=1e-9)


def test_events_are_listed_by_onset_in_the_units_of_the_sheet():
    op, steps = wf.wave(0.5, dims=2, dx=(0.5, 2.0), dt=0.4), 8
    encoder = wf.encoder_at([(2, 9), (7, 4)], (10, 12))
    rec = wf.simulate(op, wf.spikes([[(6, 1.0)], [(1, 2.0)]], steps), encoder=encoder)
    found = wf.decode(rec, sites="anywhere")
    assert found.onset.values.tolist() == [1, 6]
    assert found.time.values.tolist() == pytest.approx([0.4, 2.4])
    assert list(zip(found.y.values, found.x.values, strict=True)) == [(7, 4), (2, 9)]
    assert found.y_position.values.tolist() == pytest.approx([3.5, 1.0])
    assert found.x_position.values.tolist() == pytest.approx([8.0, 18.0])
    scaled = rec.assign({name: rec[name] * 2.0**-40 for name in ("activity", "previous")})
    small = wf.decode(scaled, sites="anywhere")
    np.testing.assert_allclose(small.amplitude, 2.0**-40 * found.amplitude, rtol=1e-6)


def test_noise_on_a_drum_is_what_is_left_per_free_value_on_it():
    mask = np.ones((14, 14), bool)
    mask[:7, 7:] = False
    op, rng = wf.wave(0.6, dims=2, boundary="fixed", mask=mask), np.random.default_rng(3)
    rec = wf.simulate(op, wf.spikes([[(2, 1.0)]], 9), size=(14, 14), encoder=wf.encoder_at([(9, 5)], (14, 14)))
    for name in ("activity", "previous"):
        rec[name] = rec[name] + 0.02 * rng.standard_normal(rec[name].shape) * mask
    found = wf.decode(rec, sites="anywhere")
    assert found.onset.values.tolist() == [2]
    values = 2 * mask.sum()
    noise = found.attrs["residual"] * np.sqrt(values / (values - 1))
    assert found.attrs["noise"] == pytest.approx(noise)
    assert found.attrs["noise_error"] == pytest.approx(noise / np.sqrt(2 * (values - 1)))
    assert found.attrs["noise"] == pytest.approx(0.02, rel=0.15)
    assert found.attrs["misfit"] > 1e-3
    # σ/|trace|
    alone = wf.simulate(op, wf.spikes([[(2, 1.0)]], 9), size=(14, 14), encoder=wf.encoder_at([(9, 5)], (14, 14)))
    power = (alone.activity[-1] ** 2).sum() + (alone.previous**2).sum()
    assert found.amplitude_error.values[0] == pytest.approx(float(noise / np.sqrt(power)), rel=0.02)
