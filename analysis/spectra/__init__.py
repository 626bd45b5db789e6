"""Spectra over wavenumber and frequency.

In comes a recording, out comes its power by k and f, in units. Begin with `spectrum`; `background` divides by the
spectrum expected without a wave.
"""
