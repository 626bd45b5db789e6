"""Files appear when they are complete, with the modes of the umask; what killed writers left is removed."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wavefield.files import whole_or_nothing

WRITER = """
import sys, time
from pathlib import Path
from wavefield.files import whole_or_nothing
with whole_or_nothing(Path(sys.argv[1])):
    time.sleep(600)
"""


def writer(path):
    """A process that has begun to write, and its scratch file."""
    before = set(path.parent.iterdir())
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    while not (new := set(path.parent.iterdir()) - before) and process.poll() is None:
        time.sleep(0.02)
    return process, new.pop()


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    path = tmp_path / "a[b].nc"
    killed, debris = writer(path)
    alive, scratch = writer(path)
    other = [tmp_path / name for name in (".a[b].0000-1.tmp.nc", f"{debris.name}.txt", ".ab.tmp.nc", debris.name[1:])]
    for file in other:
        file.touch()
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with whole_or_nothing(tmp_path / "c.nc"):
            assert debris.exists()  # of another name
        with whole_or_nothing(path) as mine:
            assert not debris.exists()
            assert scratch.exists()
            assert mine.exists()
        assert all(file.exists() for file in other)
        assert not mine.exists()
        assert path.exists()
    finally:
        alive.kill()
        alive.wait()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_file_follows_the_umask_though_its_writer_made_it_for_the_owner_alone(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with whole_or_nothing(tmp_path / "file") as scratch:
            private = scratch.with_name("private")
            private.touch(0o600)
            private.replace(scratch)
    finally:
        os.umask(before)
    assert stat.S_IMODE(Path(tmp_path / "file").stat().st_mode) == mode
