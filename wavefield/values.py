"""Frozen values that hold arrays: set once, equal where their contents are, and as frozen when copied as when made.

A frozen dataclass forbids assignment to its fields, but neither writing into an array that it holds nor the copies
that `copy.deepcopy` and `pickle` make past its constructor. These functions close the gaps.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np


def settle(value, **contents) -> None:
    """Set fields of a frozen dataclass, in its ``__post_init__``."""
    for name, content in contents.items():
        object.__setattr__(value, name, content)


def read_only(array: np.ndarray) -> np.ndarray:
    """Make an array read-only and return it."""
    array.flags.writeable = False
    return array


def contents(value) -> tuple:
    """The fields of a dataclass, in the order in which its constructor takes them."""
    return tuple(getattr(value, field.name) for field in fields(value))


def rebuild(value) -> tuple:
    """What ``__reduce__`` returns for a value to be copied and unpickled through its constructor."""
    return type(value), contents(value)


def same(first, second) -> bool:
    """Whether two values of one class hold the same, arrays compared by their numbers."""
    return type(first) is type(second) and all(map(_alike, contents(first), contents(second)))


def digest(value) -> int:
    """A hash that is equal where `same` is true."""
    return hash(tuple(_hashable(content) for content in contents(value)))


def _alike(first, second):
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return type(first) is type(second) and np.array_equal(first, second)
    return first == second


def _hashable(content):
    # adding zero turns −0.0, which equals 0.0, into it
    return (content.shape, (content + 0.0).tobytes()) if isinstance(content, np.ndarray) else content
