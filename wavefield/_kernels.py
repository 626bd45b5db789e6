"""The time loops on plain arrays: each advances a state (B, C, N) by any number of steps in one call.

`leapfrog` moves two-way fields, `transport` rings that do not act on each other, `convolve` everything else that is a
convolution. They share the drive (`Injection`), saving (`every`, `out`) and the way long rows are cut and shared out
to threads (`_windows`); they are called with arguments already checked, and answer with new arrays.
"""

from wavefield._convolve import convolve, transport
from wavefield._leapfrog import leapfrog
from wavefield._windows import Injection, injection

__all__ = ["Injection", "convolve", "injection", "leapfrog", "transport"]
