"""How far back a trained end looks along a line whose kernel of travel is not the exact shift."""

import numpy as np
import pytest
import torch
from torch import nn

import wavefield as wf
from wavefield_torch import TravellingMemory

SLOTS, NOISE, STEPS = 16, 0.1, 100
KERNELS = {
    "shift": [0, 0, 1],
    "fading": [0, 0, 0.9],
    "two speeds": [0, 0, 0, 0.5, 0.5],
    "mixing": [0, 0.2, 0.8],
    "mixing both ways": [0.1, 0.1, 0.8],
}


class NoisyEnd(nn.Module):
    """A linear end that sees every slot through noise."""

    def __init__(self, rng):
        super().__init__()
        self.weight, self.rng, self.noise = nn.Parameter(torch.zeros(SLOTS).double()), rng, None

    def forward(self, histories):
        if self.noise is None:
            self.noise = torch.from_numpy(NOISE * self.rng.standard_normal(histories.shape))
        return torch.einsum("...sd,s->...d", histories + self.noise, self.weight)


def capacity_of(kernel, lags):
    """MC_k = g_kᵀ (P + σ²)⁻¹ g_k, g_k = A^k e: the line as a matrix whose last row is empty, as its end is held."""
    reach = len(kernel) // 2
    matrix = sum(value * np.eye(SLOTS, k=at - reach) for at, value in enumerate(kernel))
    matrix[-1] = 0
    responses = [np.eye(SLOTS)[-1]]
    for _ in range(60 * SLOTS):
        responses.append(matrix @ responses[-1])
    responses = np.array(responses)
    seen = responses.T @ responses + NOISE**2 * np.eye(SLOTS)
    return np.array([responses[lag] @ np.linalg.solve(seen, responses[lag]) for lag in lags])


@pytest.mark.parametrize("kernel", KERNELS)
def test_memory_of_a_line_is_that_of_the_open_operator_with_its_kernel(kernel):
    operator = wf.WaveOperator([[KERNELS[kernel]]], "open", boundary_row=np.zeros((1, 1, SLOTS)))
    exact = wf.memory_capacity(operator, SLOTS, max_lag=SLOTS + 4, noise=NOISE)
    np.testing.assert_allclose(exact.capacity[0], capacity_of(KERNELS[kernel], range(SLOTS + 5)), rtol=0, atol=1e-9)


@pytest.mark.validate
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_trained_end_remembers_what_the_capacity_says(kernel, draws, measured):
    """The share of the variance of a past state that an end trained to give it back explains, on states held out."""
    batch = draws(32, 512)
    for lag, expected in zip(lags := (0, 5, 10, 15), capacity_of(KERNELS[kernel], lags), strict=True):
        rng = np.random.default_rng([lag, 22])
        net = TravellingMemory(1, SLOTS, boundary=NoisyEnd(rng), travel=KERNELS[kernel], dtype=torch.float64)
        optimiser = torch.optim.LBFGS(net.boundary.parameters(), max_iter=30, line_search_fn="strong_wolfe")

        def unexplained(net=net, rng=rng, lag=lag):
            states = torch.from_numpy(rng.standard_normal((STEPS, batch, 1)))
            net.boundary.noise = None
            return lambda: (net.parallel(states)[1 + lag :] - states[: -1 - lag]).square().mean()

        loss = unexplained()

        def closure(optimiser=optimiser, loss=loss):
            optimiser.zero_grad()
            value = loss()
            value.backward()
            return value

        optimiser.step(closure)
        share = 1 - float(unexplained()().detach())
        measured(f"capacity at lag {lag}", share, f"{expected:.3f}, exactly")
        assert share == pytest.approx(expected, abs=4 / np.sqrt(batch * STEPS) + 0.01)
