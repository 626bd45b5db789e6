"""Pictures of working memory on a wave: spectrum, recurrence in the wave basis, travelling states, gradients.

Matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from analysis.plot import new_axes
from analysis.working_memory.eigenvalues import eigenvalues_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THEORY, LEARNED, FADING = "#D55E00", "#0072B2", "0.7"
_BOUNDS = {"bound_product": (":", "bound of a product"), "bound_wave": ("--", "bound of waves")}  # style, label
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def unit_circle(found: xr.Dataset, theory=None, *, ax: Axes | None = None) -> Axes:
    """Eigenvalues of a recurrence on the complex plane, those of the theory crosses, with their numbers.

    Parameters
    ----------
    found : Dataset
        From `analysis.recover_waves`.
    theory : linear system of `wavefield.history`, array_like, optional
        Φ or its eigenvalues likewise. Drawn are those of modulus above 0.5: what a map forgets stands at 0.
    """
    ax = new_axes(4.2, 4.2) if ax is None else ax
    circle = np.exp(1j * np.linspace(0, 2 * np.pi, 400))
    ax.plot(circle.real, circle.imag, color="0.85", lw=1, zorder=0)
    values = found["modulus"].values * np.exp(1j * found["angle"].values)
    persists = found["persists"].values == 1
    fading, lasting = values[~persists], values[persists]
    ax.plot(fading.real, fading.imag, ".", ms=4, color=FADING, label=f"fading ({fading.size})")
    ax.plot(lasting.real, lasting.imag, "o", ms=7, mfc="none", color=LEARNED, label=f"persisting ({lasting.size})")
    furthest = max(1.0, np.abs(values).max())
    if theory is not None:
        known = eigenvalues_of(theory, "theory")
        known = known[np.abs(known) > 0.5]  # of Jordan blocks at 0 rounding makes small discs
        ax.plot(known.real, known.imag, "x", ms=6, color=THEORY, label=f"theory ({known.size})")
        furthest = max(furthest, np.abs(known).max(initial=0.0))
    limit = 1.1 * furthest
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="Re λ", ylabel="Im λ")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize="x-small", frameon=False)
    return ax


def transformed_recurrence(found: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """The recurrence in the wave basis: a block super-diagonal, the shift, and at the bottom the boundary row.

    The shift is 1; what grows along the line is compensated in the boundary row. Colours are logarithmic beyond ±1.
    """
    from matplotlib.colors import SymLogNorm

    ax = new_axes(4.8, 4.2) if ax is None else ax
    operator = found["operator"].transpose("wave", "wave_from").values
    limit = max(1.0, np.abs(operator).max())
    image = ax.imshow(operator, cmap="RdBu_r", norm=SymLogNorm(1.0, vmin=-limit, vmax=limit), interpolation="nearest")
    decades = 10.0 ** np.arange(np.floor(np.log10(limit)) + 1)
    ax.figure.colorbar(image, ax=ax, label="weight", pad=0.01, ticks=[*-decades[::-1], 0, *decades], format="%g")
    slots, first, count = np.unique(found["slot"].values, return_index=True, return_counts=True)
    for edge in first[1:] - 0.5:
        ax.axhline(edge, color="0.8", lw=0.5)
        ax.axvline(edge, color="0.8", lw=0.5)
    middle = first + (count - 1) / 2
    ax.set_xticks(middle, slots)
    ax.set_yticks(middle, slots)
    ax.set(xlabel="from slot", ylabel="to slot")
    return ax


def travelling_columns(waves: xr.Dataset, *, trial: int = 0, times: ArrayLike | None = None) -> Figure:
    """States in the wave basis, one image a time step: columns enter at the right and move left by one a step.

    Parameters
    ----------
    waves : recording
        From `analysis.wave_states`, or of `wavefield.history.simulate`.
    trial : int
    times : sequence of int, optional
        Indices of the steps to be shown; the first 18 by default.
    """
    import matplotlib.pyplot as plt

    field = waves["activity"].isel(trial=trial) if "trial" in waves["activity"].dims else waves["activity"]
    field = field.transpose("time", "channel", "position")
    shown = np.arange(min(18, field.sizes["time"])) if times is None else np.asarray(times)
    columns = min(9, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.1 * columns, 1.3 * rows + 0.3), layout="constrained", squeeze=False
    )
    limit = float(np.nanmax(np.abs(field.values[shown]))) or 1.0
    for ax in axes.flat:
        ax.axis("off")
    for ax, t in zip(axes.flat, shown, strict=False):
        ax.axis("on")
        image = ax.imshow(field.values[t], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_facecolor("0.85")  # slots that a line has not
        ax.set_title(f"t = {field['time'].values[t]:g}", fontsize="small")
        ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("line", fontsize="small")
    axes[-1, 0].set_xlabel("slot, newest right", fontsize="small", loc="left")
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.01)
    return figure


def gradients(results: Mapping[str, xr.Dataset], *, bounds: bool = True, ax: Axes | None = None) -> Axes:
    """Norm of the gradient by the first input against lag, the median over trials and its quartiles, with the bounds.

    A gradient of exactly 0, as of a line from which nothing returns, has no place on the logarithmic axis.

    Parameters
    ----------
    results : mapping of name to Dataset
        From `wavefield_torch.gradient_against_lag`, for instance before and after training.
    bounds : bool
        Draw the bound of a product dotted, and that of waves dashed.
    """
    ax = new_axes(5.5, 3.8) if ax is None else ax
    lowest, highest = np.inf, 0.0
    for number, (name, result) in enumerate(results.items()):
        colour = SERIES[number % len(SERIES)]
        norm, lag = result["gradient_norm"], result["lag"]
        quarter, middle, upper = norm.quantile([0.25, 0.5, 0.75], "trial").values
        shown = np.where(middle > 0, middle, np.nan)
        ax.plot(lag, shown, "." if np.isfinite(shown).sum() == 1 else "-", color=colour, label=name)
        ax.fill_between(lag, quarter, upper, where=quarter > 0, color=colour, alpha=0.2, lw=0)
        lowest, highest = min(lowest, middle[middle > 0].min(initial=np.inf)), max(highest, upper.max())
        for bound, (style, _) in _BOUNDS.items():
            if bounds and bound in result:
                ax.plot(lag, result[bound].median("trial", skipna=False), style, color=colour, lw=1)
    for bound, (style, text) in _BOUNDS.items():
        if bounds and any(bound in result for result in results.values()):
            ax.plot([], [], style, color="0.4", lw=1, label=text)
    ax.set(yscale="log", xlabel="lag (steps)", ylabel="‖∂C/∂x(1)‖")
    if np.isfinite(lowest):
        ax.set_ylim(max(lowest / 3, highest * 1e-12), highest * 300)
    ax.legend(fontsize="small")
    return ax


def describe(found: xr.Dataset) -> str:
    """What was found, in words and numbers."""
    held = f"{100 * float(found['shift_share'] + found['boundary_share']):.1f} % of the operator"
    if found.attrs["grounding"] == "history":
        held += ", as this grounding makes it of any recurrence"
    explained = float(found["variance_explained"])  # below 0 where the basis adds more than it holds
    of_a_step = f"{100 * explained:.1f} %" if explained > 0 else "none"
    newest = f"which holds {100 * float(found['newest_share']):.1f} % of the waves"
    slots = [int((found["line"] == line).sum()) for line in range(int(found.attrs["lines"]))]
    return "\n".join(
        [
            f"{found.attrs['rank']} of {found.sizes['unit']} directions persist (gap {float(found['gap']):.2f})",
            f"slots of each line: {', '.join(map(str, slots))}",
            f"shift and boundary row: {held}",
            f"variance explained: {of_a_step} of a step",
            f"inputs enter the newest slot: {100 * float(found['entry_share']):.1f} %, {newest}",
            f"outputs read the newest slot: {100 * float(found['exit_share']):.1f} %",
            f"condition of the basis: {float(found['condition']):.1f}",
        ]
    )
