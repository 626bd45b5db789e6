"""Calls in processes of their own, which talk through pipes and end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import wait
from typing import ParamSpec, TypeVar

SPAWN = multiprocessing.get_context("spawn")
P = ParamSpec("P")
T = TypeVar("T")


class ProcessLostError(ChildProcessError):
    """A process ended before its call returned: killed, or out of memory."""


class Processes(Executor):
    """An executor that makes every call in a new process, some at a time.

    Nothing listens on a port: a call and its outcome travel through a pipe that only the two processes have.
    """

    def __init__(self, workers: int):
        self._threads = ThreadPoolExecutor(workers)
        self._running: set[multiprocessing.Process] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Make the call as soon as a place is free; its future raises what the call raised."""
        return self._threads.submit(self._call, partial(function, **named), arguments)

    def _call(self, function, arguments):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_answer, args=(theirs, function, arguments))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in the child too, until it can handle it
        with self._lock:
            if self._stopped:
                raise ProcessLostError("the executor was shut down")
            process.start()
            self._running.add(process)
        theirs.close()
        try:
            outcome, error = ours.recv()
        except EOFError:
            process.join()
            raise ProcessLostError(f"a process {how_it_ended(process)} before its call returned") from None
        finally:
            process.join()
            with self._lock:
                self._running.discard(process)
        if error is not None:
            raise error
        return outcome

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ask the processes to save and stop, and wait for them."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()
        self._threads.shutdown(wait, cancel_futures=cancel_futures)


def end_with_parent() -> None:
    """Have this process terminated, as if by SIGTERM, when the one that started it is gone."""
    parent = multiprocessing.parent_process()

    def watch():
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def how_it_ended(process: multiprocessing.Process) -> str:
    """Return how a process ended, as in "was killed by signal 9 (Killed)"."""
    if process.exitcode is not None and process.exitcode < 0:
        return f"was killed by signal {-process.exitcode} ({signal.strsignal(-process.exitcode)})"
    return f"ended with exit code {process.exitcode}"


def _answer(connection, function, arguments):
    """Send back what a call returns or raises; in the child."""
    end_with_parent()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        outcome, error = function(*arguments), None
    except BaseException as raised:
        outcome, error = None, raised
    try:
        connection.send((outcome, error))
    except BrokenPipeError:  # the parent is gone
        pass
    except Exception:  # an error that cannot be sent
        connection.send((None, RuntimeError(f"{type(error).__name__}: {error}")))
