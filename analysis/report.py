"""A comparison as a paper shows it: a table, a figure, and the verdict in words."""

from __future__ import annotations

import csv
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from analysis.comparison.common_axes import POWERS
from wavefield.files import harmless, whole_or_nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"model": "#0072B2", "recording": "#D55E00", "shuffled model": "0.6"}
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLUMNS = (
    "property", "model", "recording", "stretches", "effect", "interval", "energy", "p", "q", "halves", "shuffled",
    "verdict",
)  # fmt: skip


def comparison_table(result: xr.Dataset, *, comparison: str = "model") -> list[dict[str, str]]:
    """One row per wave property, as text.

    Parameters
    ----------
    result : xarray.Dataset
        What `analysis.compare` returned.
    comparison : str
        Which of its comparisons.

    Returns
    -------
    list of dict
        The keys of `COLUMNS`: medians on the common axes, stretches used, effect (× ratio, a difference, or an angle)
        with its interval, energy coefficient, p, q, and for scale the energy coefficients of the two halves of the
        recording and of the shuffled model.
    """
    rows = []
    for feature in result["feature"].values.tolist():
        one = result.sel(comparison=comparison, feature=feature)
        scale = result["energy"].sel(feature=feature)
        kind = str(one["effect_kind"].values)
        row = {
            "property": str(one["feature_label"].values),
            "model": _number(one["median"]),
            "recording": _number(one["recording_median"]),
            "stretches": f"{int(one['stretches'])}, {int(one['recording_stretches'])}",
            "effect": _effect(one["effect"], kind),
            "interval": _interval(one, kind),
            "energy": _number(one["energy"]),
            "p": _number(one["p_value"]),
            "q": _number(one["q_value"]),
            "halves": _number(scale.sel(comparison="recording halves")),
            "shuffled": _number(scale.sel(comparison="shuffled model")),
            "verdict": str(one["verdict"].values),
        }
        rows.append(row)
    return rows


def write_table(result: xr.Dataset, path: str | os.PathLike) -> Path:
    """Write `comparison_table` of every comparison to a ``.csv`` file, and return its path."""
    path = Path(path)
    with whole_or_nothing(path) as scratch, open(scratch, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["comparison", *COLUMNS])
        table.writeheader()
        for name in result["comparison"].values.tolist():
            table.writerows({"comparison": harmless(name), **row} for row in comparison_table(result, comparison=name))
    return path


def describe_comparison(result: xr.Dataset, *, comparison: str = "model") -> str:
    """The verdict in words, with its uncertainty: which properties agree, which differ and by how much.

    Parameters
    ----------
    result : xarray.Dataset
        What `analysis.compare` returned.
    comparison : str
        Which of its comparisons.
    """
    rows = {row["property"]: row for row in comparison_table(result, comparison=comparison)}
    by_verdict: dict[str, list[str]] = {}
    for row in rows.values():
        by_verdict.setdefault(row["verdict"], []).append(_phrase(row))
    known = len(rows) - len(by_verdict.get("not measured", []))
    agreeing = len(by_verdict.get("agrees", []))
    lines = [f"Of {known} wave properties that could be compared, {agreeing} agree{'s' * (agreeing == 1)}."]
    for verdict, lead in (("agrees", "Agree"), ("differs", "Differ"), ("undecided", "Undecided")):
        if verdict in by_verdict:
            lines.append(f"{lead}: {'; '.join(by_verdict[verdict])}.")
    if "not measured" in by_verdict:
        missing, unaligned = list(by_verdict["not measured"]), result.attrs.get("aligned") == "no"
        if unaligned:
            missing = [phrase for phrase in missing if phrase != "direction"]
            lines.append("Not comparable: direction; say with align=… at what angle the line lies in the plane.")
        if missing:
            lines.append(f"Not measured (too few waves): {', '.join(missing)}.")
    one, halves = result.sel(comparison=comparison), result.sel(comparison="recording halves")
    lines.append(_spectra_words(one, halves))
    lines.append(_axes_words(result.attrs))
    alike = [("CKA", "cka", ""), ("RSA", "rsa", ""), ("DSA", "dsa", " rad")]
    if found := [f"{word} {_number(one[name])}{units}" for word, name, units in alike if np.isfinite(one[name])]:
        lines.append(
            f"{', '.join(found)}: such measures cannot see the direction of travel, and stand here beside the wave "
            "properties only."
        )
    return "\n".join(lines)


def comparison_figure(result: xr.Dataset) -> Figure:
    """One page: both spectra, the distribution of every property, distances beside those of the nulls, the verdict.

    Parameters
    ----------
    result : xarray.Dataset
        What `analysis.compare` returned.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 10), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, squeeze=False, height_ratios=[1.1, 1.6, 1.0]).ravel()
    left, centre, right = top.subplots(1, 3, width_ratios=[1, 1, 1.1])
    for ax, name in ((left, "model"), (centre, "recording")):
        mesh = _spectrum(ax, result["spectrum"].sel(source=name), name)
    left.set_ylabel("frequency over peak", fontsize="small")
    top.colorbar(mesh, ax=[left, centre], label="share of the largest", pad=0.02)
    _distances(right, result)
    shown = [feature for feature in result["feature"].values.tolist() if feature != "wave_present"]
    panels = middle.subplots(2, 4, sharey=True)
    for ax, feature in zip(panels.flat, shown, strict=True):
        _distribution(ax, result, feature)
    for ax in panels[:, 0]:
        ax.set_ylabel("share of stretches", fontsize="small")
    names = [name for name in result["source"].values.tolist() if np.isfinite(result["samples"].sel(source=name)).any()]
    lines = [plt.Line2D([], [], color=_colour(name, names), lw=1.5, label=name) for name in names]
    middle.legend(handles=lines, loc="outside upper center", ncols=len(lines), fontsize="small", frameon=False)
    _words(bottom.subplots(), result)
    return figure


def _spectrum(ax, power, name):
    peak = float(power.max()) or 1.0
    options = {"cmap": "magma_r", "vmin": 0, "vmax": 1, "shading": "nearest", "rasterized": True}
    mesh = ax.pcolormesh(power["wavenumber"], power["frequency"], power.values / peak, **options)
    ax.axvline(0, color="0.5", lw=0.5)
    ax.set_xlabel("wavelengths per array length (+: to +x)", fontsize="small")
    ax.set_title(f"{name}: power", fontsize="medium", loc="left")
    return mesh


def _distances(ax, result):
    names = [name for name in result["comparison"].values.tolist()]
    features = result["feature"].values.tolist()
    for number, name in enumerate(names):
        energy = result["energy"].sel(comparison=name)
        place = np.arange(len(features))[::-1] + 0.12 * (len(names) / 2 - number)
        colour = _colour(name, names)
        low, high = result["energy_low"].sel(comparison=name), result["energy_high"].sel(comparison=name)
        if name == "model":
            ax.hlines(place, low, high, color=colour, lw=1)
        marker = "o" if name == "model" else "|" if name == "recording halves" else "x"
        ax.plot(energy, place, marker, color=colour, ms=5, label=name, ls="none")
    ax.set(xlim=(-0.03, 1.03), yticks=range(len(features))[::-1])
    ax.set_xlabel("energy coefficient (0 same, 1 apart)\n● model, × nulls, | halves of the recording", fontsize="small")
    ax.set_yticklabels([name.replace("_", " ") for name in features], fontsize="small")
    ax.set_title("distance from the recording", fontsize="medium", loc="left")


def _distribution(ax, result, feature):
    if feature == "direction" and result.attrs.get("aligned") == "no":
        ax.axis("off")
        words = "direction: not comparable;\nsay with align=… at what angle\nthe line lies in the plane"
        ax.text(0.02, 0.95, words, va="top", fontsize="small", transform=ax.transAxes)
        return
    samples = result["samples"].sel(feature=feature)
    names = ["model", "recording", *[n for n in result["source"].values.tolist() if n not in ("model", "recording")]]
    low, high = np.inf, -np.inf
    for name in names:
        values = np.sort(samples.sel(source=name).dropna("stretch").values)
        if not values.size:
            continue
        steps = np.arange(1, values.size + 1) / values.size
        ax.step(
            np.concatenate([values[:1], values]), np.concatenate([[0], steps]), where="post",
            color=_colour(name, names), lw=1.8 if name in ("model", "recording") else 0.9,
            zorder=3 if name in ("model", "recording") else 2,
        )  # fmt: skip
        if name in ("model", "recording"):
            low, high = min(low, values[0]), max(high, values[-1])
    if feature in POWERS and np.isfinite(low) and low > 0 and high > 30 * low:
        ax.set(xscale="log", xlim=(low / 1.5, high * 1.5))
    elif np.isfinite(low) and feature != "direction":
        reach = 0.35 * (high - low) or 0.1 * max(abs(high), 0.1)
        ax.set_xlim(low - reach, high + reach)
    if feature == "direction":
        ax.set(xlim=(-np.pi - 0.2, np.pi + 0.2), xticks=[-np.pi, 0, np.pi], xticklabels=["−π", "0 (+x)", "π"])
    one = result.sel(comparison="model", feature=feature)
    units = str(one["feature_units"].values)
    label = str(one["feature_label"].values) + ("" if units == "1" else f" ({units})")
    ax.set_xlabel(label, fontsize="small")
    ax.set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
    ax.tick_params(labelsize="x-small")
    q = float(one["q_value"])
    title = str(one["verdict"].values) + (f", q = {q:.2g}" if np.isfinite(q) else "")
    ax.set_title(title, fontsize="small", loc="left")


def _words(ax, result):
    ax.axis("off")
    words = describe_comparison(result)
    ax.text(0, 1, _wrapped(words), va="top", fontsize="small", transform=ax.transAxes)


def _wrapped(text, width=170):
    return "\n".join(textwrap.fill(line, width, subsequent_indent="    ") for line in text.splitlines())


def _colour(name, names):
    if name in COLOURS:
        return COLOURS[name]
    if name == "recording halves":
        return COLOURS["recording"]
    others = [n for n in names if n not in COLOURS and n != "recording halves"]
    return OTHERS[others.index(name) % len(OTHERS)]


def _phrase(row):
    if row["verdict"] == "not measured":
        return row["property"]
    effect = f"{row['effect']} {row['interval']}" if row["effect"] else "centres not comparable"
    return f"{row['property']} {effect}, q = {row['q']}"


def _spectra_words(one, halves):
    if not np.isfinite(one["spectrum_distance"]):
        return "Normalised spectra: not compared (too few stretches in which something moves)."
    apart, low, high = (float(one[f"spectrum_{name}"]) for name in ("distance", "low", "high"))
    text = f"Normalised spectra: distance {apart:.2f} [{low:.2f}, {high:.2f}] (0 the same, 1 no power in common)"
    text += f", p = {_number(one['spectrum_p_value'])}"
    if np.isfinite(halves["spectrum_distance"]):
        text += f"; between halves of the recording {float(halves['spectrum_distance']):.2f}"
    return f"{text}."


def _axes_words(attrs):
    if attrs["axes"] == "normalised":
        text = (
            f"Axes: array lengths (model {attrs['model_array_length']:.4g}, recording "
            f"{attrs['recording_array_length']:.4g}) and cycles of each stretch's spectral peak (overall "
            f"{attrs['model_peak']:.4g} and {attrs['recording_peak']:.4g}, each in its own units)."
        )
    elif attrs["axes"] == "same":
        text = "Axes: the units that both have."
    else:
        space, time = (_scale(attrs, name) for name in ("space", "time"))
        text = f"Axes ({attrs['axes']}): a unit of the model is {space} of the recording's length, {time} of its time."
        if attrs["axes"] == "fitted":
            text += " Wavelength and frequency agree on average because they were fitted; so does their product, speed."
    turned = attrs.get("turn", 0.0)
    turned = f" +x is {np.degrees(turned):.0f}° from the array's." if abs(turned) > 1e-9 else ""
    units = attrs["model_unit"], attrs["recording_unit"]
    return f"{text}{turned} Units of exchange: {units[0]} (model), {units[1]} (recording)."


def _scale(attrs, name):
    low, high = attrs[f"{name}_scale_interval"]
    return f"{attrs[f'{name}_scale']:.4g} [{low:.4g}, {high:.4g}]"


def _number(value):
    value = float(value)
    return f"{value:.3g}" if np.isfinite(value) else ""


def _effect(value, kind):
    value = float(value)
    if not np.isfinite(value):
        return ""
    if kind == "ratio":
        return f"× {value:.3g}"
    return f"{np.degrees(value):.0f}°" if kind == "angle" else f"{value:+.3g}"


def _interval(one, kind):
    low, high = float(one["effect_low"]), float(one["effect_high"])
    if not np.isfinite([low, high]).all():
        return ""
    if kind == "angle":
        return f"[{np.degrees(low):.0f}, {np.degrees(high):.0f}]°"
    return f"[{low:.3g}, {high:.3g}]"
