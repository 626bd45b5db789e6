"""What is kept of compiled loops saves time and decides nothing: without it, or with it damaged, all runs as before."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wavefield
from wavefield.loops.compilation import _Files

KERNEL = """
import resource, sys
if len(sys.argv) > 1:  # a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from wavefield.loops.compilation import compiled

@compiled
def twice(x):
    return 2 * x

@compiled
def twice_and_one(x):
    return twice(x) + 1

print(twice(21), twice_and_one(20), sum(twice.stats.cache_hits.values()) + sum(twice_and_one.stats.cache_hits.values()))
"""
HINT = "Set NUMBA_CACHE_DIR"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The kernels, in a folder of their own."""
    script = tmp_path_factory.mktemp("kernels") / "kernel.py"
    script.write_text(KERNEL)
    return script


@pytest.fixture
def run(script, tmp_path):
    """Run the kernels in a process of their own; returns (what they print, lines of complaint)."""

    def run(*arguments, packages=Path(wavefield.__file__).parents[1], **environment):
        result = subprocess.run(
            [sys.executable, str(script), *map(str, arguments)],
            env={"PYTHONPATH": str(packages), "PATH": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")} | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.split(), result.stderr.splitlines()

    return run


@pytest.fixture(scope="module")
def kept(script, tmp_path_factory):
    """The cache of a first run."""
    folder = tmp_path_factory.mktemp("kept") / "cache"
    packages = Path(wavefield.__file__).parents[1]
    environment = {"PYTHONPATH": str(packages), "PATH": "", "NUMBA_CACHE_DIR": str(folder)}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, capture_output=True, timeout=300)
    return folder


def test_what_is_kept_is_found_again(run):
    assert run() == (["42", "41", "0"], [])
    assert run() == (["42", "41", "2"], [])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, empty, flip_a_bit])
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_what_is_damaged_is_compiled_anew_and_kept_again(run, kept, tmp_path, ending, damage):
    shutil.copytree(kept, tmp_path / "cache")
    files = [path for path in (tmp_path / "cache").rglob(f"*.{ending}") if "twice" in path.name]
    assert files
    for path in files:
        damage(path)
    printed, told = run()
    assert printed == ["42", "41", "0"]
    assert len(told) <= 1
    assert all("damaged" in line and HINT in line for line in told)
    assert told or ending == "nbi"  # a changed letter in an index may just look like another function
    assert run() == (["42", "41", "2"], [])


def test_on_a_full_disk_loops_are_compiled_and_not_kept(run, tmp_path):
    for _ in range(2):
        printed, told = run(100)
        assert printed == ["42", "41", "0"]
        assert len(told) == 1
        assert "could not be kept (File too large)" in told[0]
        assert HINT in told[0]
    assert not [path for path in (tmp_path / "cache").rglob("*.nbc") if path.stat().st_size == 0]


def test_the_package_works_where_neither_its_folder_nor_the_home_can_be_written(run, script, tmp_path):
    """A regular file stands where the folder of the cache would be: nobody can write there, not even root."""
    shutil.copytree(Path(wavefield.__file__).parent, tmp_path / "wavefield", ignore=lambda *_: ["__pycache__"])
    for folder in (tmp_path / "wavefield" / "loops", script.parent):
        (folder / "__pycache__").write_text("")
    nowhere = str(script / "below")
    printed, told = run(packages=tmp_path, NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere)
    assert printed == ["42", "41", "0"]
    assert len(told) == 1
    assert "no folder can be written" in told[0]
    assert HINT in told[0]


def test_processes_that_compile_at_a_time_do_not_exchange_their_code(tmp_path):
    """Each has read an empty index: what one keeps under its types is not what is found under those of the other."""
    index = tmp_path / "loop.nbi"
    files = _Files(str(tmp_path), "loop", "source")
    files.save(("float32",), "code for single precision")
    first = index.read_bytes()
    index.unlink()
    files.save(("float64",), "code for double precision")
    second = index.read_bytes()
    for last, key, code in ((first, "float32", "single"), (second, "float64", "double")):
        index.write_bytes(last)
        assert files.load((key,)) == f"code for {code} precision"
    files.save(("float32",), "code for single precision")
    assert files.load(("float64",)) == "code for double precision"
