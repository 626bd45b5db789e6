"""`LinearSheet`: the steps of `sheet_scan`, all at once, and never unstable."""

import pytest
import torch

from wavefield_torch import LinearSheet, sheet_scan

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}


def sheet_and_state(coupled, scheme, dtype, *, C=2, H=7, W=6):
    """A sheet within the region of stability, with parameters that are nowhere alike, and a state."""
    generator = torch.Generator().manual_seed(0)
    sheet = LinearSheet(C, coupled=coupled, scheme=scheme, dtype=torch.float64)
    with torch.no_grad():
        sheet.kernel += 0.1 * torch.randn(sheet.kernel.shape, generator=generator, dtype=torch.float64)
        sheet.stiffness += 2 + torch.rand(C, generator=generator, dtype=torch.float64)
        sheet.damping += torch.rand(C, generator=generator, dtype=torch.float64)
    y0, z0 = torch.randn(2, 3, C, H, W, generator=generator, dtype=torch.float64).to(dtype)
    return sheet.to(dtype), y0.requires_grad_(), z0.requires_grad_()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
@pytest.mark.parametrize("coupled", [False, True], ids=["apart", "coupled"])
def test_all_steps_at_once_are_the_steps_one_by_one(coupled, scheme, dtype):
    sheet, y0, z0 = sheet_and_state(coupled, scheme, dtype)
    generator = torch.Generator().manual_seed(1)
    leaves = [y0, z0, *sheet.parameters()]
    for steps, driven, readout in (
        (100, False, 5),
        (100, True, 5),
        (1, False, None),
        (21, True, "max"),
        (9, False, "mean"),
    ):
        x = torch.randn(steps, *y0.shape, generator=generator, dtype=torch.float64).to(dtype) if driven else None
        if isinstance(readout, int):
            readout = torch.randn(readout, steps, generator=generator, dtype=torch.float64).to(dtype)
        found = sheet(y0, z0, x, steps=steps, readout=readout)
        options = dict(steps=steps, dt=sheet.dt, nonlinearity="identity", scheme=scheme, readout=readout)
        expected = sheet_scan(
            y0, z0, sheet.symmetric_kernel(), sheet.stiffness, sheet.damping, x, backend="reference", **options
        )
        weight = torch.randn(expected[0].shape, generator=generator, dtype=torch.float64).to(dtype)
        gradients = [torch.autograd.grad((o * weight).sum() + z.sum(), leaves) for o, (_, z) in (found, expected)]
        flat = [[o.detach(), y.detach(), z.detach()] for o, (y, z) in (found, expected)]
        for a, b in zip(*flat, strict=True):
            assert (a - b).abs().max() <= TOLERANCE[dtype] * b.abs().max()
        for a, b in zip(*gradients, strict=True):
            assert (a - b).abs().max() <= 10 * TOLERANCE[dtype] * b.abs().max()


@pytest.mark.parametrize("coupled", [False, True], ids=["apart", "coupled"])
@pytest.mark.parametrize("scheme", ["semi-implicit", "damping-implicit", "centred"])
def test_no_parameters_let_the_sheet_grow(coupled, scheme):
    """The largest eigenvalue of every mode's step has modulus 1 at most, wherever an optimiser may have gone."""
    from wavefield_torch.recurrence.sheet import linear

    generator = torch.Generator().manual_seed(2)
    for size in (0.1, 10.0, 1000.0):
        sheet = LinearSheet(3, coupled=coupled, scheme=scheme, dtype=torch.float64)
        for parameter in sheet.parameters():
            parameter.data += size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        pull, damping = (t.detach() for t in sheet.stable(6, 5))
        pull, damping = (pull, damping) if coupled else (pull[..., None, None], damping[:, None])
        matrix, _ = linear.step_of(pull, damping, sheet.dt, scheme)
        assert torch.linalg.eigvals(matrix).abs().max() <= 1 + 1e-7  # at 0 and at the edge two eigenvalues meet
        y0 = torch.randn(1, 3, 6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        _, (y, _) = sheet(y0, steps=500, return_sequence=False)
        assert y.abs().max() < 2000 * y0.abs().max()
        y.square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in sheet.parameters())


@pytest.mark.parametrize("damping", [0.0, 1.0, 9.0])
@pytest.mark.parametrize("scheme", ["semi-implicit", "centred"])
def test_readouts_interpolated_from_nodes_are_those_of_all_modes(scheme, damping, monkeypatch):
    from wavefield_torch.recurrence.sheet import linear

    generator = torch.Generator().manual_seed(0)
    found, steps = {}, 300
    sheet = LinearSheet(2, scheme=scheme, dtype=torch.float64)
    with torch.no_grad():
        sheet.kernel += 0.1 * torch.randn(sheet.kernel.shape, generator=generator, dtype=torch.float64)
        sheet.stiffness += torch.tensor([0.0, 0.3])
        sheet.damping += damping
    sheet.float()
    y0 = torch.randn(1, 2, 24, 26, generator=generator)
    readout = torch.randn(3, steps, generator=generator) / steps**0.5
    given = torch.randn(3, 1, 2, 24, 26, generator=generator)
    interpolated = linear.responses_by_nodes
    for way in ("nodes", "float32", "float64"):
        used = []
        monkeypatch.setattr(
            linear,
            "responses_by_nodes",
            lambda *a: used.append(rows := interpolated(*a) if way == "nodes" else None) or rows,  # noqa: B023
        )
        sheet.to(torch.float64 if way == "float64" else torch.float32)
        leaves = [t.to(sheet.kernel).requires_grad_() for t in (y0.clone(), readout.clone())]
        output, _ = sheet(leaves[0], steps=steps, readout=leaves[1])
        found[way] = [output.detach(), *torch.autograd.grad(output, [*leaves, *sheet.parameters()], given.to(output))]
        assert (used[0] is not None) == (way == "nodes")
    for ours, direct, exact in zip(*found.values(), strict=True):
        most = max(float((direct - exact).abs().max()), 1e-6 * float(exact.abs().max()))
        assert (ours - exact).abs().max() <= 5 * most


def test_gradients_by_finite_differences_also_where_eigenvalues_coincide_or_are_clipped():
    sheet = LinearSheet(2, coupled=True, dt=0.8, dtype=torch.float64)  # at first the channels are alike
    y0 = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def loss(kernel, stiffness, damping):
        values = dict(kernel=kernel, stiffness=stiffness, damping=damping)
        return torch.func.functional_call(sheet, values, (y0,), dict(steps=5))[0].square().sum()

    apart = torch.tensor([[0.3, 0.1], [-0.2, 0.4]], dtype=torch.float64)[:, :, None, None]
    for kernel in (sheet.kernel.detach(), sheet.kernel.detach() * 1.4 + apart):
        values = (kernel, torch.tensor([0.5, 0.5]).double(), torch.tensor([0.2, 0.2]).double())
        assert torch.autograd.gradcheck(loss, tuple(v.clone().requires_grad_() for v in values))


def test_a_pulse_spreads_at_the_speed_of_the_laplacian():
    """Without stiffness and damping the sheet is the wave equation with c = 1: fronts move steps · dt cells."""
    y0 = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(64) - 32, torch.arange(64) - 32, indexing="ij")
    radius = (y.double() ** 2 + x.double() ** 2).sqrt()
    y0[0, 0] = torch.exp(-(radius**2) / 8)
    _, (late, _) = LinearSheet(1, dtype=torch.float64)(y0, steps=200, return_sequence=False)
    assert late[0, 0][radius > 20 + 8].abs().max() < 1e-3
    ring = late[0, 0][32, 32:]  # along an axis
    assert 17 <= int(ring.argmax()) <= 21


def test_bad_input_is_named():
    sheet = LinearSheet(2)
    with pytest.raises(ValueError, match=r"y0 must be \(B, 2, H, W\)"):
        sheet(torch.zeros(1, 3, 4, 4), steps=3)
    with pytest.raises(ValueError, match="steps must be a positive integer"):
        sheet(torch.zeros(1, 2, 4, 4), steps=0)
    with pytest.raises(ValueError, match=r"readout must be \(F, 3\)"):
        sheet(torch.zeros(1, 2, 4, 4), steps=3, readout=torch.zeros(2, 4))
    for options in (
        dict(channels=0),
        dict(channels=1, kernel_size=2),
        dict(channels=1, dt=0),
        dict(channels=1, scheme="x"),
    ):
        with pytest.raises(ValueError, match="must be"):
            LinearSheet(**options)
    tensors = dict(y0=torch.zeros(1, 2, 4, 4), z0=None, kernel=torch.zeros(2, 2, 3, 3), damping=0.0, steps=3, dt=0.1)
    for change, message in (
        (dict(nonlinearity="tanh"), "needs nonlinearity='identity'"),
        (dict(boundary="fixed"), "boundary='periodic'"),
        (dict(stiffness=torch.zeros(2, 4, 4)), "stiffness that is the same in all places"),
    ):
        with pytest.raises(ValueError, match=message):
            sheet_scan(**(dict(nonlinearity="identity", stiffness=0.0) | tensors | change), parallel=True)
