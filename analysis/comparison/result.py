"""The Dataset that a comparison returns: names, units and long names of everything in it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from analysis.comparison.common_axes import axis_units, axis_words
from analysis.comparison.contrast import FEATURES, VERDICTS
from analysis.comparison.scaled_spectrum import FREQUENCIES
from analysis.fields.units import labelled

TEXTS = {
    "energy": "energy coefficient of the two distributions (0 the same, 1 apart)",
    "energy_low": "lower end of its interval",
    "energy_high": "upper end of its interval",
    "p_value": "p-value, by permutation",
    "q_value": "p-value adjusted for the false discovery rate over properties",
    "effect": "model over, minus, or turned from recording (see effect_kind)",
    "effect_low": "lower end of its interval",
    "effect_high": "upper end of its interval",
    "wasserstein": "Wasserstein distance, in the units of the common axis",
    "median": "median over stretches",
    "recording_median": "median over stretches of what it is compared with",
    "stretches": "stretches in which it could be measured",
    "recording_stretches": "the same, of what it is compared with",
    "verdict_code": "what the comparison says",
    "spectrum_distance": "distance of the mean normalised spectra (0 the same, 1 no power in common)",
    "spectrum_low": "lower end of its interval",
    "spectrum_high": "upper end of its interval",
    "spectrum_p_value": "p-value of the spectra, by permutation",
    "cka": "debiased linear CKA (cannot see direction)",
    "rsa": "correlation of dissimilarities (cannot see direction)",
    "dsa": "dynamical similarity, rad (cannot see direction)",
}


def comparison_dataset(rows, sides, kappa, axes: str, features: xr.Dataset) -> xr.Dataset:
    """Rows of `analysis.comparison.contrast.contrast` by comparison, and sides by name, as one Dataset.

    `features` are those of the recording, whose units the common axes may have.
    """
    names = list(rows)
    data: dict[str, tuple] = {}
    for key, text in TEXTS.items():
        stacked = np.array([rows[name][key] for name in names])
        dims = ("comparison", "feature")[: stacked.ndim]
        unit = "rad" if key == "dsa" else "1"
        kept = stacked.astype(np.int16) if stacked.dtype.kind == "i" else stacked
        data[key] = (dims, kept, labelled(unit, text))
    data["verdict_code"][2].update(
        flag_values=list(range(len(VERDICTS))), flag_meanings=" ".join(v.replace(" ", "_") for v in VERDICTS)
    )
    words = np.array(VERDICTS)[data["verdict_code"][1]]
    data["verdict"] = (("comparison", "feature"), words, labelled("1", "what the comparison says"))
    kinds = rows[names[0]]["kind"].astype(str)
    data["effect_kind"] = ("feature", kinds, labelled("1", "how the centres are compared"))
    units, shown = axis_units(axes, features), axis_words(axes)
    for name, texts in (("units", units), ("label", shown)):
        values = np.array([texts[feature] for feature in FEATURES])
        data[f"feature_{name}"] = ("feature", values, labelled("1", f"{name} of the common axis"))
    data["samples"] = _samples(sides)
    spectra = np.stack([side.spectra[side.spectra.sum(axis=(1, 2)) > 0].sum(axis=0) for side in sides.values()])
    total = spectra.sum(axis=(1, 2), keepdims=True)
    spectra = np.divide(spectra, total, out=np.zeros_like(spectra), where=total > 0)
    data["spectrum"] = (("source", "frequency", "wavenumber"), spectra, labelled("1", "share of the power, mean"))
    centres = (FREQUENCIES[1:] + FREQUENCIES[:-1]) / 2
    coords = {
        "comparison": ("comparison", names, labelled("1", "what is compared with the recording")),
        "feature": ("feature", list(FEATURES), labelled("1", "wave property")),
        "source": ("source", list(sides), labelled("1", "recording")),
        "frequency": ("frequency", centres, labelled("1", "frequency over peak")),
        "wavenumber": ("wavenumber", kappa.astype(float), labelled("1", "wavelengths per array length")),
    }
    return xr.Dataset(data, coords)


def _samples(sides):
    """Every stretch's value, NaN where there is none; of directions the angle."""
    most = max(len(side.unit) for side in sides.values())
    samples = np.full((len(sides), len(FEATURES), most), np.nan)
    for number, side in enumerate(sides.values()):
        for place, name in enumerate(FEATURES):
            if name in side.values:
                values = side.values[name]
                values = np.arctan2(values[:, 1], values[:, 0]) if name == "direction" else values
                samples[number, place, : len(values)] = values
    attrs = labelled("1", "value in each stretch, in the units of feature_units; directions in rad")
    return ("source", "feature", "stretch"), samples, attrs
