"""Random settings against plain NumPy stepping: simulate, continue, reverse, jump and decode, from one cell upwards.

The plain code puts there what stands beyond an end and adds up neighbours. It uses nothing of the package.
"""

import numpy as np
import pytest

import wavefield as wf

SECOND_DIFFERENCE = {  # Fornberg, Math. Comp. 51, 699 (1988), table 1
    2: {0: -2.0, 1: 1.0},
    4: {0: -5 / 2, 1: 4 / 3, 2: -1 / 12},
    6: {0: -49 / 18, 1: 3 / 2, 2: -3 / 20, 3: 1 / 90},
    8: {0: -205 / 72, 1: 8 / 5, 2: -1 / 5, 3: 8 / 315, 4: -1 / 560},
}
BEND = {"identity": lambda h: h, "relu": lambda h: np.where(h > 0, h, 0.0), "tanh": np.tanh}


def beyond(row, n, boundary):
    """Value of a row at any position n, also beyond its ends."""
    size = len(row)
    if boundary == "periodic":
        return row[n % size]
    if 0 <= n < size:
        return row[n]
    if boundary == "fixed":  # zero at −1 and size, odd about both
        if n in (-1, size):
            return 0.0
        return -beyond(row, -2 - n if n < 0 else 2 * size - n, boundary)
    if boundary == "free":  # even about the end cells
        return beyond(row, (-n if n < 0 else 2 * (size - 1) - n) if size > 1 else 0, boundary)
    return 0.0


def read(row, offset, boundary):
    """The row as seen `offset` cells further on."""
    if boundary == "periodic":
        return np.roll(row, -offset)
    return np.array([beyond(row, n + offset, boundary) for n in range(len(row))])


def convolved(kernel, field, boundary):
    """u ⋆ h of one level, kernel (C, C, K)."""
    out, half = np.zeros_like(field), kernel.shape[2] // 2
    for o, i, k in np.ndindex(kernel.shape):
        out[o] += kernel[o, i, k] * read(field[i], k - half, boundary)
    return out


def one_way(speeds, field, boundary, gain=1.0):
    """Upwind differences at local Courant numbers (N,)."""
    left, right = read(field, -1, boundary), read(field, 1, boundary)
    upstream = np.where(speeds > 0, left, right)
    return gain * (field + np.abs(speeds) * (upstream - field))


def two_way(now, before, r, g, order, boundary):
    """Leapfrog at Courant number r and halved damping g = γdt/2, of one ring (N,)."""
    size = len(now)
    bend = sum(
        weight * (read(now, k, boundary) + (read(now, -k, boundary) if k else 0))
        for k, weight in SECOND_DIFFERENCE[order].items()
    )
    if boundary == "absorbing":
        for n in [*range(1, order // 2), *range(size - order // 2, size - 1)]:  # the wide stencil has no room there
            bend[n] = now[n - 1] - 2 * now[n] + now[n + 1]
    new = (2 * now + r**2 * bend - (1 - g) * before) / (1 + g)
    if boundary == "absorbing":
        for end, inner in ((0, 1), (-1, -2)):
            new[end] = ((1 + r - g / 2) * now[inner] + (r - 1 - g / 2) * new[inner] + (1 - r - g / 2) * now[end]) / (
                1 + r + g / 2
            )
    return new


def two_way_profile(now, before, r, g, density, boundary):
    """Leapfrog in a medium of Courant numbers r (N,), halved damping g (N,) and density (N,), of order 2."""
    size, stiffness = len(now), density * r**2
    new = np.empty(size)
    for n in range(size):
        force = 0.0
        for there in (n - 1, n + 1):
            inside = 0 <= there < size or boundary == "periodic"
            m = there % size if boundary == "periodic" else abs(there) if there < size else 2 * (size - 1) - there
            if inside or boundary == "free":  # mean of r², springs one after the other
                face = (r[n] ** 2 + r[m] ** 2) / 2 * 2 / (1 / density[n] + 1 / density[m])
                force += face * (now[m] - now[n])
            else:
                force -= stiffness[n] * now[n]
        new[n] = (2 * now[n] + force / density[n] - (1 - g[n]) * before[n]) / (1 + g[n])
    return new


# ---- random settings ----------------------------------------------------------------------------------------------

ENDS = ("periodic", "fixed", "free", "absorbing")


def one_level(rng):
    """Return an operator of one level, its plain step of a field (rings, N), and N."""
    boundary = rng.choice(["periodic", "fixed", "absorbing", "open"])
    size, kind = int(rng.integers(1, 18)), rng.integers(4)
    if kind == 0:
        speed, gain = rng.choice([1.0, -1.0, rng.uniform(-1, 1)]), rng.choice([1.0, rng.uniform(0.8, 1)])
        operator = wf.transport(speed, gain=gain, boundary=boundary)
        return operator, lambda h: np.array([one_way(np.full(size, speed), row, boundary, gain) for row in h]), size
    if kind == 1 and size > 1:
        profile = rng.uniform(-1, 1, size)
        operator = wf.transport(0.9, boundary=boundary, profile=profile)
        return operator, lambda h: np.array([one_way(0.9 * profile, row, boundary) for row in h]), size
    channels, width = int(rng.integers(1, 4)), int(rng.choice([1, 3, 5, 7]))
    kernel = rng.normal(size=(channels, channels, width))
    kernel /= np.abs(kernel).sum(axis=(1, 2), keepdims=True) * rng.uniform(1, 1.3)
    if kind == 2:
        boundary = rng.choice(["periodic", "free", "fixed"])
        kernel = (kernel + kernel[:, :, ::-1]) / 2
    return wf.WaveOperator(kernel, boundary), lambda h: convolved(kernel, h, boundary), size


def two_levels(rng):
    """Return a two-way operator, its plain step (now, before) → new, and N."""
    boundary, order = rng.choice(ENDS), int(rng.choice([2, 2, 4, 6, 8]))
    damping = rng.choice([0.0, rng.uniform(0, 0.3)])
    least = order + 1 if boundary == "absorbing" else 1
    size = int(rng.integers(least, 20))
    r = rng.choice([1.0, rng.uniform(0.2, 1)]) * {2: 1.0, 4: 0.866, 6: 0.8134, 8: 0.7843}[order]
    if order == 2 and size > 2 and boundary != "absorbing" and rng.random() < 0.3:
        profile, more = rng.uniform(0.5, 1, size), rng.uniform(0, 0.2, size)
        density = rng.uniform(0.9, 1.1, size)
        operator = wf.wave(0.9 * r, damping, boundary=boundary, profile=profile, damping_profile=more, density=density)
        medium = 0.9 * r * profile, (damping + more) / 2, density, boundary
        return (
            operator,
            lambda now, before: np.array([two_way_profile(*row, *medium) for row in zip(now, before, strict=True)]),
            size,
        )
    operator = wf.wave(r, damping, order=order, boundary=boundary)
    given = r, damping / 2, order, boundary
    return (
        operator,
        lambda now, before: np.array([two_way(*row, *given) for row in zip(now, before, strict=True)]),
        size,
    )


def stepped(step, levels, encoder, drive, start, bend, bias, pulse):
    """All states of a run, stepped plainly, and the level before the last."""
    now, before = start
    states = []
    for t, x in enumerate(drive):
        e = x - drive[t - 2] if pulse and t >= 2 else x
        linear = step(now, before) if levels == 2 else step(now)
        now, before = bend(linear + encoder @ e + bias), now
        states.append(now)
    return np.array(states), before


def check(seed):
    """One random setting, all ways; returns which ways were taken."""
    rng = np.random.default_rng([seed, 15])
    levels = int(rng.integers(1, 3))
    operator, step, size = (one_level, two_levels)[levels - 1](rng)
    rings, steps = operator.rings, int(rng.integers(1, 14))
    if levels == 2:
        rings = int(rng.integers(1, 3))
    inputs = int(rng.integers(1, 4))
    encoder = rng.normal(size=(rings, size, inputs)) * (rng.random((rings, size, inputs)) < 0.5)
    drive = rng.normal(size=(steps, inputs)) * (rng.random((steps, inputs)) < 0.6)
    nonlinearity = rng.choice(["identity", "identity", "relu", "tanh"])
    bias = rng.normal(size=(rings, size)) * 0.1 if rng.random() < 0.3 else None
    pulse, start = levels == 2 and rng.random() < 0.5, np.zeros((2, rings, size))
    given = {}
    if rng.random() < 0.3:
        start = rng.normal(size=start.shape)
        given = {"initial": start[0]} | ({"previous": start[1]} if levels == 2 else {})
    law = {"encoder": encoder, "nonlinearity": nonlinearity, "bias": bias, "source": "pulse" if pulse else "force"}
    law["allow_growth"] = True
    plain, before = stepped(
        step, levels, encoder, drive, start, BEND[nonlinearity], 0.0 if bias is None else bias, pulse
    )
    rec = wf.simulate(operator, drive, size=size, **law, **given)
    scale = max(1.0, np.abs(plain).max())
    close = {"rtol": 0, "atol": 1e-11 * scale}
    np.testing.assert_allclose(rec.activity.values, plain, **close)
    taken = {f"{levels} levels", f"{operator.boundary} ends", str(nonlinearity)} | ({"tiny"} if size < 3 else set())
    if levels == 2:
        np.testing.assert_allclose(rec.previous.values, before, **close)
        taken |= {f"width {operator.kernel.shape[2]}"}
    if steps > 1:  # cut and continued
        cut = int(rng.integers(1, steps))
        begun = wf.simulate(operator, drive[:cut], size=size, **law, **given)
        on = wf.simulate(operator, drive[cut:], initial=begun, **law)
        np.testing.assert_allclose(on.activity.values, plain[cut:], **close)
    linear = nonlinearity == "identity"
    symmetric = operator.boundary == "periodic" or (operator.boundary in ("fixed", "free") and operator.symmetric)
    if linear and bias is None and operator.profile is None and symmetric:
        last = wf.simulate(operator, drive, size=size, save_every=None, method="jump", **law, **given)
        np.testing.assert_allclose(last.activity.values[0], plain[-1], rtol=0, atol=1e-9 * scale)
        taken.add("jump")
    damped = levels == 2 and operator.local_halved_damping(size).any()
    if levels == 2 and linear and not damped and operator.boundary != "absorbing":
        back = wf.reverse(rec)
        np.testing.assert_allclose(back.activity.values[0], start[0], rtol=0, atol=1e-9 * scale * 4**steps)
        taken.add("reverse")
    if linear and not given and operator.boundary != "open" and rng.random() < 0.5:
        taken |= decoded(operator, step, encoder, size, steps, rng)
    return taken


def decoded(operator, step, encoder, size, steps, rng):
    """Read a few events back: what is read leaves the same snapshot, and of what is certain all is true."""
    inputs = encoder.shape[2]
    drive = np.zeros((steps, inputs))
    drive[rng.integers(steps, size=2), rng.integers(inputs, size=2)] = rng.uniform(0.5, 1.5, 2)
    levels = operator.levels
    start = np.zeros((2, encoder.shape[0], size))
    states, before = stepped(step, levels, encoder, drive, start, BEND["identity"], 0.0, False)
    try:
        events = wf.decode(
            states[-1], operator, steps=steps, encoder=encoder, source="force", previous=before if levels == 2 else None
        )
    except ValueError as error:
        if "grows" in str(error):
            return set()
        raise
    assert (events.amplitude.values >= 0).all()
    clear = events.ambiguous.values == 0
    truth = drive[events.onset.values, events.input.values]
    sure = clear & (events.confidence.values > 0.99)
    scale = np.abs(states[-1]).max() + 1e-300
    weak = np.abs(events.amplitude_error.values) > 0.05  # hardly a trace is left
    if sure.all() and not weak.any() and events.sizes["event"]:
        read = np.zeros_like(drive)
        read[events.onset.values, events.input.values] = events.amplitude.values
        again, _ = stepped(step, levels, encoder, read, start, BEND["identity"], 0.0, False)
        np.testing.assert_allclose(again[-1], states[-1], rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(events.amplitude.values, truth, rtol=0, atol=1e-2)
        return {"decode"}
    return {"decode, not all determined"}


@pytest.mark.parametrize("batch", range(10))
def test_random_settings_agree_with_plain_stepping(batch):
    for number in range(20):
        check(1000 * batch + number)
