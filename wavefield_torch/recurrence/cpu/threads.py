"""A parallel map over the threads that PyTorch itself computes with.

Threads of our own would compete with PyTorch's: after every operation these wait for the next one in a busy loop, for
milliseconds, on every core. So the tasks run in PyTorch's OpenMP team (entered through `GOMP_parallel`, which GNU's
runtime has and LLVM's and Intel's offer too), and in a pool of Python threads only where there is none.
"""

import ctypes
import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import torch

_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_pools = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def parallel_map(task, count, workers):
    """task(index, worker) for every index below `count`, in one thread for each worker; they must release the GIL."""
    todo, turns, failures = itertools.count(), iter(workers), []

    def work(_=None):
        worker = next(turns, None)
        try:
            while worker is not None and (index := next(todo)) < count:
                task(index, worker)
        except BaseException as error:  # nothing may leave a callback; the caller raises it
            failures.append(error)

    if len(workers) == 1:
        work()
    elif team := _team():
        team(_REGION(work), None, torch.get_num_threads(), 0)
    else:
        others = [_pool(len(workers) - 1).submit(work) for _ in workers[1:]]
        work()
        for other in others:
            other.result()
    if failures:
        raise failures[0]


@functools.cache
def _team():
    """GOMP_parallel(function, data, threads, flags) of the runtime that PyTorch has loaded, or None."""
    if os.name != "posix" or not torch.backends.openmp.is_available():
        return None
    enter = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    if enter is not None:
        enter.restype = None
        enter.argtypes = [_REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return enter


def _pool(threads):
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="wavefield")
    return _pools[threads]
