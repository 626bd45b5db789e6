from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import analysis
import wavefield as wf
from analysis import plot_memory

SYSTEM = wf.history.task("T3")


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(80, 64)))[0]
    return analysis.recover_waves(*wf.history.rnn_weights(SYSTEM, basis), length=8)


def test_every_eigenvalue_is_drawn_once_and_counted(found):
    ax = plot_memory.unit_circle(found, SYSTEM)
    points = {line.get_label(): line.get_xydata() for line in ax.lines[1:]}
    assert set(points) == {"fading (44)", "persisting (36)", "theory (36)"}
    drawn = points["persisting (36)"] @ [1, 1j]
    apart = np.abs(drawn[:, None] - points["theory (36)"] @ [1, 1j])
    assert apart.min(axis=1).max() < 1e-9
    np.testing.assert_allclose(np.abs(drawn), 1, atol=1e-9)
    ax.figure.canvas.draw()


def test_theory_may_be_given_as_its_matrix_or_eigenvalues_too(found):
    for theory in (SYSTEM, SYSTEM.matrix(), SYSTEM.spectrum()):
        drawn = plot_memory.unit_circle(found, theory).lines[-1]
        assert drawn.get_label() == "theory (36)"
        np.testing.assert_allclose(np.abs(drawn.get_xydata() @ [1, 1j]), 1, atol=1e-9)
    with pytest.raises(ValueError, match="theory must be a square matrix"):
        plot_memory.unit_circle(found, np.ones((2, 3)))


def test_what_theory_has_far_outside_the_circle_is_inside_the_picture(found):
    system = wf.history.fibonacci(1, 2)  # grows by the golden ratio
    ax = plot_memory.unit_circle(found, system)
    assert ax.get_xlim()[1] > system.spectrum()[0] > 1.6


def test_the_picture_of_the_recurrence_is_the_operator_with_a_mark_for_each_slot(found):
    ax = plot_memory.transformed_recurrence(found)
    np.testing.assert_array_equal(ax.images[0].get_array(), found.operator)
    assert [text.get_text() for text in ax.get_yticklabels()] == [str(slot) for slot in range(1, 9)]
    ax.figure.canvas.draw()


def test_columns_are_the_states_and_move_left_by_one_from_image_to_image():
    rec = wf.history.simulate(SYSTEM, np.random.default_rng(1).normal(size=(2, 8, 8)), steps=25)
    figure = plot_memory.travelling_columns(rec, trial=1)
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(images) == 18
    for before, after in pairwise(images):
        np.testing.assert_array_equal(after[:, :-1], before[:, 1:])
    figure.canvas.draw()
    chosen = plot_memory.travelling_columns(rec, times=[3, 20])
    assert [ax.get_title() for ax in chosen.axes if ax.get_title()] == ["t = 4", "t = 21"]


def test_gradients_are_drawn_as_medians_with_their_bounds():
    norms = np.exp(-np.arange(10)) * np.array([[1.0], [2.0], [3.0]])
    dims = ("trial", "lag")
    result = xr.Dataset(
        {"gradient_norm": (dims, norms), "bound_product": (dims, 2 * norms), "bound_wave": (dims, 3 * norms)},
        {"lag": np.arange(10)},
    )
    ax = plot_memory.gradients({"before": result, "after": result.drop_vars("bound_wave")})
    assert ax.get_yscale() == "log"
    assert len(ax.lines) == 7  # two medians, three bounds, and one entry of the legend for each kind of bound
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["before", "after", "bound of a product", "bound of waves"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), norms[1])
    assert len(plot_memory.gradients({"before": result}, bounds=False).lines) == 1


def test_what_was_found_is_said_in_words(found):
    text = plot_memory.describe(found)
    assert "36 of 80 directions persist" in text
    assert "slots of each line: 8, 7, 6, 5, 4, 3, 2, 1" in text
    assert "shift and boundary row: 100.0 % of the operator, as this grounding makes it of any recurrence" in text
    assert "inputs enter the newest slot: 100.0 %, which holds 22.2 % of the waves" in text
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(80, 64)))[0]
    evidence = analysis.recover_waves(*wf.history.rnn_weights(SYSTEM, basis), length=8, grounding="output")
    assert "shift and boundary row: 100.0 % of the operator\n" in plot_memory.describe(evidence)
