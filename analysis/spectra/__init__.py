"""Spectra over wavenumber and frequency.

In comes a recording, out comes its power by k and f, in units. Begin with `spectrum`; `transform` is the engine behind
every spectrum, `background` divides by the spectrum expected without a wave, `dispersion` finds the ridge and fits
dispersion relations to it.
"""
