"""The law of a field as one value: read from a recording, compared, and what follows where it changes."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest

import wavefield as wf
from wavefield.simulation.law import Law

RNG = np.random.default_rng(0)
WEIGHTS, BIAS = RNG.standard_normal((2, 16, 3)), RNG.standard_normal((2, 16))
ROW = RNG.standard_normal((2, 2, 16)) / 40
LAWS = {
    "one-way": Law(wf.transport([0.5, -0.5]), WEIGHTS, bias=BIAS),
    "profile": Law(wf.transport([0.5, 0.9], profile=np.linspace(0.2, 1, 16)), WEIGHTS, nonlinearity="relu"),
    "medium": Law(wf.wave([0.5, 0.9], 0.1, **wf.absorbing_layer(16, 7, reflection=0.1)), WEIGHTS, "pulse"),
    "density": Law(wf.wave([0.5, 0.9], density=np.linspace(1, 1.5, 16), boundary="free"), WEIGHTS, "force"),
    "pulse": Law(wf.wave([0.5, 0.9], dt=0.5), WEIGHTS, "pulse"),
    "force": Law(wf.wave([0.5, 0.9], boundary="fixed"), WEIGHTS, "force", "tanh", BIAS),
    "driven end": Law(
        wf.WaveOperator(wf.transport([-1, -1]).kernel, "open", boundary_row=RNG.standard_normal((2, 2, 16)) / 40),
        WEIGHTS,
    ),
    "driven first end": Law(
        wf.WaveOperator(wf.transport([1, 1]).kernel, "open", boundary_row=ROW, driven_end=0), WEIGHTS
    ),
}


def run(law, steps=5, **options):
    source = {} if law.source == "direct" else {"source": law.source}
    drive = RNG.standard_normal((steps, 3))
    return wf.simulate(
        law.operator, drive, encoder=law.encoder, nonlinearity=law.nonlinearity, bias=law.bias, **source, **options
    )


@pytest.mark.parametrize("name", LAWS)
def test_a_recording_tells_the_law_that_moved_it_in_memory_and_on_disk(name, tmp_path):
    law = LAWS[name]
    rec = run(law)
    assert Law.of(rec) == law
    turned = {name: rec[name].T for name in ("encoder", "bias") if name in rec}
    assert Law.of(rec.assign(turned)) == law
    with run(law, path=tmp_path / "field.nc") as rec:
        assert Law.of(rec) == law


def test_laws_are_equal_where_everything_that_they_hold_is():
    for name, law in LAWS.items():
        for other, second in LAWS.items():
            assert (law == copy.deepcopy(second)) == (name == other)
        assert hash(law) == hash(pickle.loads(pickle.dumps(law)))
    law = LAWS["force"]
    for change in (
        {"operator": wf.wave([0.5, 0.8], boundary="fixed")},
        {"encoder": WEIGHTS * [1, 1, 2]},
        {"source": "pulse"},
        {"nonlinearity": "relu"},
        {"bias": None},
    ):
        assert replace(law, **change) != law


@pytest.mark.parametrize("name", LAWS)
def test_a_field_that_goes_on_under_its_own_law_has_still_begun_at_rest(name):
    law = LAWS[name]
    first = run(law)
    assert run(law, initial=first).attrs["start"] == "rest"
    other = replace(law, bias=BIAS + 1)
    assert run(other, initial=first).attrs["start"] == "state"
    assert run(law, initial=run(other, initial=first)).attrs["start"] == "state"


def test_before_anything_has_entered_it_does_not_matter_how_it_would_have():
    silent = wf.simulate(wf.transport(0.5), size=16, steps=3)
    entered = wf.simulate(wf.transport(0.5), np.ones((3, 2)), initial=silent, encoder=np.ones((1, 16, 2)))
    assert entered.attrs["start"] == "rest"
