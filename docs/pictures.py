"""The pictures of the explanations, drawn while the documentation is built: `python docs/pictures.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import analysis
import wavefield as wf
from analysis import synthetic
from wavefield import figures, plot


def draw(folder: Path) -> None:
    """Draw every picture into `folder`."""
    for name, picture in PICTURES.items():
        with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
            figure = picture()
            figure.savefig(folder / f"{name}.png", dpi=130)
            plt.close(figure)


def directions():
    """Waves to +x, to −x and standing, in space–time, and where their power lies in the signed spectrum."""
    ring = synthetic.ring(64, dx=0.1, units="mm")
    options = {"frequency": 12 / 256, "time_units": "ms"}
    waves = {
        "to +x: +k": synthetic.plane(ring, 256, wavenumber=5 / 6.4, **options),
        "to −x: −k": synthetic.plane(ring, 256, wavenumber=-5 / 6.4, **options),
        "standing: both": synthetic.standing(ring, 256, wavenumber=5 / 6.4, **options),
    }
    figure, axes = plt.subplots(2, 3, figsize=(9, 5), layout="constrained", sharey="row")
    for (name, rec), (top, bottom) in zip(waves.items(), axes.T, strict=True):
        field = rec.activity.isel(time=slice(0, 64))
        top.pcolormesh(field.time, field.position, field.T, cmap="RdBu_r", vmin=-2, vmax=2, rasterized=True)
        top.set(title=name, xlabel="time (ms)")
        power = analysis.wavenumber_frequency_spectrum(rec, window="boxcar", detrend=None).power
        shown = power.sel(frequency=slice(0, 0.12))
        bottom.pcolormesh(shown.wavenumber, shown.frequency, shown, cmap="magma_r", rasterized=True)
        bottom.axvline(0, color="0.6", lw=0.6)
        bottom.set(xlabel="wavenumber (mm$^{-1}$)", xlim=(-2.5, 2.5))
    axes[0, 0].set_ylabel("position (mm)")
    axes[1, 0].set_ylabel("frequency (1/ms)")
    return figure


def courant():
    """One hump after 150 steps of travel, at Courant number 1 and below, one-way and two-way."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    hump = np.exp(-0.5 * ((np.arange(256) - 40) / 2.5) ** 2)[None]
    for number, speed in enumerate((1.0, 0.9, 0.5)):
        steps = round(150 / speed)
        one_way = wf.transport(speed).power(steps)(hump)[0]
        # what a hump that travels to +x alone was one step before: here it is shifted by Fourier transform
        k = np.fft.rfftfreq(256)
        before = np.fft.irfft(np.fft.rfft(hump[0]) * np.exp(2j * np.pi * k * speed), 256)
        two_way = wf.wave(speed).power(steps)(np.stack([hump[0], before]))[0]
        for ax, field in zip(axes, (one_way, two_way), strict=True):
            ax.plot(field, color=plot.colour_of(number), lw=1.2, label=f"Courant number {speed:g}")
    for ax, name in zip(axes, ("one-way, upwind: spreads", "two-way, leapfrog: short waves lag"), strict=True):
        ax.axvline(190, color="0.6", ls=":", lw=1)
        ax.set(title=name, xlabel="position", xlim=(120, 225))
    axes[0].set_ylabel("activity after travelling 150 positions")
    axes[0].legend(frameon=False, fontsize="small", loc="upper left")
    return figure


def ranks():
    """How many of the last inputs one snapshot of a ring of 64 positions can tell apart."""
    steps = [*range(4, 129, 4)]
    cases = [
        (wf.transport(1.0), {}, "one-way, Courant number 1"),
        (wf.wave(1.0), {"previous": True}, "two-way, both levels seen"),
        (wf.wave(1.0), {}, "two-way, one level seen"),
        (wf.static(), {}, "no wave"),
    ]
    figure, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    for number, (operator, options, name) in enumerate(cases):
        rank = wf.snapshot_rank(operator, 64, steps=steps, **options)["rank"]
        style = ("-", "--", "-.", ":")[number]
        ax.plot(steps, rank, style, color=plot.colour_of(number), lw=2, label=name)
    ax.plot(steps, steps, color="0.75", lw=0.8, zorder=0)
    ax.set(xlabel="steps since rest", ylabel="distinguishable inputs", ylim=(0, 80))
    ax.legend(frameon=False, fontsize="small", loc="upper left")
    return figure


def blindness():
    """A smooth field in which nothing travels, and its direction index under two nulls."""
    ring = synthetic.ring(32)
    field = synthetic.smooth_noise(ring, 128, seed=3)
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
    axes[0].pcolormesh(field.time, field.position, field.activity.T, cmap="RdBu_r", vmin=-3, vmax=3, rasterized=True)
    axes[0].set(xlabel="time", ylabel="position", title="nothing travels here")
    for null, ax in zip(("position", "swap"), axes[1:], strict=True):
        test = analysis.direction_test(field, null=null, draws=299, seed=0)
        ax.hist(test.null_index, bins=np.linspace(-0.4, 0.4, 33), color="0.75")
        ax.axvline(float(test.index), color=plot.colour_of(1), lw=2)
        ax.set(xlabel="direction index", title=f"null: {null}, p = {float(test.p_value):.3f}", yticks=[])
    return figure


PICTURES = {
    "memory-of-a-wave": figures.memory_of_a_wave,
    "directions": directions,
    "courant": courant,
    "ranks": ranks,
    "blindness": blindness,
}

if __name__ == "__main__":
    draw(Path(sys.argv[1]))
