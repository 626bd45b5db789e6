"""The modes of a field: its standing shapes and their frequencies, and what a spectrum tells of a drum.

In comes a two-way operator and the place where it acts, out come frequencies and shapes. Begin with `modes`; `shapes`
holds shapes that are known for their spectra, and what is read from one.
"""
