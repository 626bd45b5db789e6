"""Memory that is used again: the first touch of a gigabyte costs more than the arithmetic on it.

`take` hands out an array; when the last view of it is gone, tensors made from it included, its memory returns to a
shelf for the next caller. Safe between threads.
"""

import math
import mmap
import threading
import weakref

import numpy as np

_KEEP = 4 << 30  # bytes on the shelf above which the longest unused are let go
_HUGE = 4 << 20  # from here on ask for huge pages

_shelf = []  # memory that nobody uses, the most recently returned last
_lock = threading.Lock()


def take(shape, dtype, *, clear=False):
    """An array of this shape, aligned to pages; what it holds is arbitrary unless it is to be cleared."""
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    size = max(count * np.dtype(dtype).itemsize, 1)
    memory = _from_shelf(size) or _new(size)
    whole = np.frombuffer(memory, np.uint8)
    weakref.finalize(whole, _give_back, memory).atexit = False
    array = whole[: count * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    if clear:
        array[...] = 0
    return array


def address(array):
    """Where an array or tensor lies; 0 if there is none or it is empty."""
    if array is None:
        return 0
    if hasattr(array, "data_ptr"):
        return array.data_ptr()
    return array.ctypes.data if array.size else 0


def free_workspaces():
    """Give all memory that is kept for later use back to the system."""
    with _lock:
        _shelf.clear()


def _from_shelf(size):
    """The smallest memory that is large enough and not wastefully so."""
    with _lock:
        fitting = [m for m in _shelf if size <= len(m) <= 1.25 * size + 65536]
        if not fitting:
            return None
        best = min(fitting, key=len)
        _shelf[:] = [m for m in _shelf if m is not best]
        return best


def _new(size):
    memory = mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _give_back(memory):
    with _lock:
        _shelf.append(memory)
        while sum(map(len, _shelf)) > _KEEP:
            _shelf.pop(0)
