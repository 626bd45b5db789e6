"""Memory that is used again: the first touch of a gigabyte costs more than the arithmetic on it.

`allocate` returns an array; when the last view of it is gone, tensors made from it included, its memory returns to a
pool from which later arrays are made. The pool and what is in use together stay within one and a half times the most
that was asked for at a time lately, and the pool within `memory_limit`. Safe between threads. Small arrays are NumPy's
own.
"""

import math
import mmap
import threading
import weakref

import numpy as np

_SMALL = 1 << 16  # bytes below which NumPy's own allocation is as fast
_HUGE = 4 << 20  # from here on ask for huge pages
_SPARE = 1.5  # a block is used for what needs two thirds of it or more, and so much more than needed may be held
_FADING = 0.995  # per array: how fast a past need is forgotten
# not shared with children: those would write into it, and the system gives huge pages to private memory only
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_LINE = 64  # bytes of a cache line: vectors must not lie across two


class _Pool:
    """Blocks that are not in use, the most recently returned last, and how much is in use."""

    def __init__(self):
        self.blocks: list[mmap.mmap] = []
        self.limit = 4 << 30
        self.used = 0
        self.asked = 0  # of what is in use: blocks may be larger than what they are used for
        self.needed = 0.0  # the most that was asked for at a time lately
        self.lock = threading.RLock()  # garbage collected while it is held may return memory too

    def take(self, size):
        """A block of at least `size` bytes: the smallest in the pool that is not wastefully large, or a new one."""
        with self.lock:
            fitting = [block for block in self.blocks if size <= len(block) <= _SPARE * size + _SMALL]
            block = min(fitting, key=len, default=None)
            if block is not None:
                self.blocks = [other for other in self.blocks if other is not block]
            self.used += size if block is None else len(block)
            self.asked += size
            self.needed = max(self.asked, _FADING * self.needed)
            self.trim()
        return _mapped(size) if block is None else block

    def give_back(self, block, size):
        with self.lock:
            self.used -= len(block)
            self.asked -= size
            self.blocks.append(block)
            self.trim()

    def trim(self):
        """Free what has not been used for longest until the rest is within the bounds."""
        kept = sum(map(len, self.blocks))
        while self.blocks and (kept > self.limit or kept + self.used > _SPARE * self.needed):
            kept -= len(self.blocks.pop(0))


_pool = _Pool()


def allocate(shape, dtype, *, clear=False):
    """An array of this shape, aligned to cache lines, with arbitrary contents unless they are to be cleared."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= _SMALL:
        buffer = (np.zeros if clear else np.empty)(size + _LINE, np.uint8)
        start = -buffer.ctypes.data % _LINE
        return buffer[start : start + size].view(dtype).reshape(shape)
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    block = _pool.take(pages)
    buffer = np.frombuffer(block, np.uint8)
    weakref.finalize(buffer, _pool.give_back, block, pages).atexit = False
    if clear:
        buffer[:size] = 0
    return buffer[:size].view(dtype).reshape(shape)


def address(array, index=0):
    """Where an array, or one of its rows, lies; 0 if there is none or it is empty."""
    return array.ctypes.data + index * array.strides[0] if array is not None and array.size else 0


def free_memory() -> None:
    """Give the memory that the CPU backend keeps for its next call back to the system.

    What is in use, by tensors that were returned or that a backward pass needs, stays.

    Examples
    --------
    >>> import torch
    >>> from wavefield_torch import WaveRNN, free_memory
    >>> output, h_n = WaveRNN(2, 100, channels=6)(torch.zeros(200, 32, 2))
    >>> free_memory()
    """
    with _pool.lock:
        _pool.blocks.clear()
        _pool.needed = float(_pool.asked)


def memory_limit(limit: int | None = None) -> int:
    """Return how many bytes the CPU backend keeps at most for its next call, 4 GiB unless set; set it if one is given.

    Whatever the limit, no more is kept than two consecutive calls needed. With 0 all memory is freed at once, and every
    call pays for new pages.

    Raises
    ------
    ValueError
        If the limit is negative.

    Examples
    --------
    >>> memory_limit()
    4294967296
    """
    with _pool.lock:
        if limit is not None:
            if limit < 0:
                raise ValueError(f"limit must be a number of bytes, 0 or more, got {limit!r}")
            _pool.limit = int(limit)
            _pool.trim()
        return _pool.limit


def kept_memory() -> int:
    """Return how many bytes the CPU backend keeps for its next call."""
    with _pool.lock:
        return sum(map(len, _pool.blocks))


def _mapped(size):
    block = mmap.mmap(-1, size, **_PRIVATE)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return block
