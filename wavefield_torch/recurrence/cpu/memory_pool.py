"""Memory that is used again: the first touch of a gigabyte costs more than the arithmetic on it.

`take` hands out an array; when the last view of it is gone, tensors made from it included, its memory returns to a
shelf for the next caller. Safe between threads. What is small comes from NumPy, which keeps such memory itself.
"""

import math
import mmap
import threading
import weakref

import numpy as np

_KEEP = 4 << 30  # bytes on the shelf above which the longest unused are let go
_SMALL = 1 << 16  # bytes below which it is not worth the shelf
_HUGE = 4 << 20  # from here on ask for huge pages
# not shared with children: those would write into it, and the system gives huge pages to private memory only
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_LINE = 64  # bytes of a cache line: vectors must not lie across two

_shelf = []  # memory that nobody uses, the most recently returned last
_lock = threading.RLock()  # garbage collected while it is held may return memory too


def take(shape, dtype, *, clear=False):
    """An array of this shape, aligned to cache lines; what it holds is arbitrary unless it is to be cleared."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= _SMALL:
        whole = (np.zeros if clear else np.empty)(size + _LINE, np.uint8)
        start = -whole.ctypes.data % _LINE
        return whole[start : start + size].view(dtype).reshape(shape)
    memory = _from_shelf(size) or _new(size)
    whole = np.frombuffer(memory, np.uint8)
    weakref.finalize(whole, _give_back, memory).atexit = False
    if clear:
        whole[:size] = 0
    return whole[:size].view(dtype).reshape(shape)


def address(array, index=0):
    """Where an array or tensor lies, or one of its rows; 0 if there is none or it is empty."""
    if array is None:
        return 0
    if hasattr(array, "data_ptr"):
        return array.data_ptr()
    return array.ctypes.data + index * array.strides[0] if array.size else 0


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
    memory = mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, **_PRIVATE)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _give_back(memory):
    with _lock:
        _shelf.append(memory)
        while sum(map(len, _shelf)) > _KEEP:
            _shelf.pop(0)
