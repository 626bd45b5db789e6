"""The Triton backend without a GPU: in the interpreter against the reference, and compiled for sm_90 without spills."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed: the GPU backend cannot be tested")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from wavefield_torch.recurrence import registration, scan  # noqa: E402
from wavefield_torch.recurrence.scan import wave_scan  # noqa: E402
from wavefield_torch.recurrence.triton import backend as _triton  # noqa: E402
from wavefield_torch.recurrence.triton import kernels as _triton_kernels  # noqa: E402
from wavefield_torch.recurrence.triton import sheet_backend as _sheet  # noqa: E402
from wavefield_torch.recurrence.triton import sheet_kernels as _sheet_kernels  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"

#            C, N, I, K
SETTINGS = {
    "copy": (6, 100, 10, 3),
    "adding": (27, 100, 2, 3),
    "sMNIST": (16, 256, 1, 3),
    "nsCIFAR10": (16, 256, 96, 3),
}


RUNTIME = {"T", "B", "slots", "drive_t", "drive_s", "rows", "per_program"}


def test_kernels_agree_with_the_reference_in_the_interpreter():
    """In a process of its own: the interpreter must be chosen before Triton is imported."""
    tests = [Path(__file__).with_name(f"interpreted_{name}.py") for name in ("triton", "triton_sheet")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, tests)]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, cwd=tests[0].parents[3], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) >= 57


def arguments_of(kernel, setting, precision):
    """Compile-time constants and warps that the backend gives a kernel."""
    channels, size, inputs, taps = SETTINGS[setting]
    shape = {"C": channels, "N": size, "K": taps, "PRECISION": precision}
    if kernel is _triton_kernels.weight_kernel:
        return {"I": inputs} | shape | _triton.weight_blocks(channels, size, inputs)
    shape |= {"NONLINEARITY": "tanh"} | _triton.loop_blocks(channels, size)
    if kernel is _triton_kernels.adjoint_kernel:
        return shape | {"SEQUENCE": True, "LAST": True}
    return {"I": inputs, "PROJECTED": inputs >= _triton._IN_LOOP_INPUTS} | shape


def compiled(kernel, setting, precision="ieee"):
    constants = arguments_of(kernel, setting, precision)
    warps = constants.pop("num_warps")
    kinds = lambda name: "constexpr" if name in constants else "i32" if name in RUNTIME else "*fp32"  # noqa: E731
    source = ASTSource(fn=kernel, signature={p.name: kinds(p.name) for p in kernel.params}, constexprs=constants)
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


@pytest.mark.skipif(not CUOBJDUMP.exists(), reason="this Triton ships no cuobjdump: spills cannot be read")
@pytest.mark.parametrize("kernel", ["forward_kernel", "adjoint_kernel", "weight_kernel"])
@pytest.mark.parametrize(
    ("setting", "precision"),
    [(setting, "ieee") for setting in SETTINGS] + [("sMNIST", "tf32x3")],
)
def test_kernels_fit_the_registers_of_sm_90(kernel, setting, precision, tmp_path):
    """No spills worth the name: 32 bytes of stack at most. Loops over time are not pipelined: they would read early."""
    binary = compiled(getattr(_triton_kernels, kernel), setting, precision)
    file = tmp_path / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = subprocess.run([CUOBJDUMP, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    registers, stack = map(int, re.search(r"REG:(\d+).*?STACK:(\d+)", usage, re.S).groups())
    assert stack <= 32
    assert registers <= 255
    assert binary.metadata.shared <= 227 * 1024
    assert "cp.async" not in binary.asm["ptx"]


SHEETS = {"C2-64": (2, 64, 64, "periodic"), "C16-32": (16, 32, 32, "free")}


def compiled_of_sheet(kernel, setting):
    channels, height, width, boundary = SHEETS[setting]
    blocks = _sheet.blocks_of(channels, height * width)
    warps = blocks.pop("num_warps")
    constants = {"C": channels, "H": height, "W": width, "K": 3, **blocks, "BOUNDARY": boundary}
    equation = {"DT": 0.1, "GAIN": 0.1, "GAIN_KEPT": 0.0, "NONLINEARITY": "tanh"}
    flags = dict.fromkeys(("FORCED", "BENT", "LARGEST", "GIVEN", "STIFFNESS", "DAMPING", "FORCE"), True)
    others = equation | flags | {"INVERSE": False, "SCHEME": "centred", "BEYOND": 1}
    constants = {p.name: (constants | others)[p.name] for p in kernel.params if p.name in constants | others}
    numbers = {"t", "count"}
    kinds = {p.name: "i32" if p.name in numbers else "*fp32" for p in kernel.params} | dict.fromkeys(
        constants, "constexpr"
    )
    source = ASTSource(fn=kernel, signature=kinds, constexprs=constants)
    options = {"num_warps": warps, "num_stages": 1, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


@pytest.mark.skipif(not CUOBJDUMP.exists(), reason="this Triton ships no cuobjdump: spills cannot be read")
@pytest.mark.parametrize("setting", SHEETS)
@pytest.mark.parametrize("kernel", ["advance_kernel", "convolve_kernel", "reverse_kernel"])
def test_kernels_of_the_sheet_fit_the_registers_of_sm_90(kernel, setting, tmp_path):
    binary = compiled_of_sheet(getattr(_sheet_kernels, kernel), setting)
    file = tmp_path / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = subprocess.run([CUOBJDUMP, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    registers, stack = map(int, re.search(r"REG:(\d+).*?STACK:(\d+)", usage, re.S).groups())
    assert stack <= 32
    assert registers <= 255


@pytest.mark.parametrize("kernel", ["forward_kernel", "adjoint_kernel", "weight_kernel"])
def test_kernels_are_not_compiled_anew_for_another_length_or_batch(kernel):
    parameters = getattr(_triton_kernels, kernel).params
    runtime = {p.name: p for p in parameters if p.name in RUNTIME}
    assert len(runtime) >= 2
    assert all(p.do_not_specialize for p in runtime.values())


def test_tensors_on_the_cpu_are_refused_outside_the_interpreter():
    tensors = [torch.zeros(shape) for shape in [(2, 1, 1), (1, 8, 1), (1, 1, 3), (1, 8)]]
    with pytest.raises(ValueError, match="Triton runs on GPUs"):
        wave_scan(*tensors, backend="triton")


@pytest.fixture
def warnings_of_scan(caplog):
    registration.say_once.cache_clear()
    yield lambda: [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    registration.say_once.cache_clear()


def test_without_triton_a_gpu_runs_the_reference_which_is_said_once(monkeypatch, warnings_of_scan):
    monkeypatch.setitem(sys.modules, "wavefield_torch.recurrence.triton.backend", None)  # importing it fails
    assert [scan._fused("cuda", channels, 3) for channels in (1, 4, 4)] == ["reference"] * 3
    (said,) = warnings_of_scan()
    assert "backend triton cannot run here" in said


def test_networks_too_wide_for_the_kernels_run_the_reference(warnings_of_scan):
    assert scan._fused("cuda", 64, 3) == "triton"
    assert not warnings_of_scan()
    assert scan._fused("cuda", 65, 3) == "reference"
    assert "64 channels" in warnings_of_scan()[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("backend", ["triton", "triton-tf32x3"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_kernels_agree_with_the_reference_on_a_gpu(setting, backend):
    channels, size, inputs, taps = SETTINGS[setting]
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator).cuda()  # noqa: E731
    tensors = [
        draw(50, 64, inputs), draw(channels, size, inputs) / 8,
        draw(channels, channels, taps) / (channels * taps) ** 0.5,
        draw(channels, size) / 10, draw(64, channels, size),
    ]  # fmt: skip
    results = []
    for name in (backend, "reference"):
        leaves = [t.clone().requires_grad_() for t in tensors]
        with torch.backends.cudnn.flags(allow_tf32=False):
            h = wave_scan(*leaves, backend=name)
            results.append([h, *torch.autograd.grad(h.square().mean(), leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_launches_do_not_grow_with_the_sequence_on_a_gpu():
    counts = []
    for steps in (20, 200):
        leaves = [t.cuda().requires_grad_() for t in (torch.randn(steps, 8, 1), torch.randn(16, 256, 1))]
        kernel, bias = torch.randn(16, 16, 3).cuda() / 7, torch.zeros(16, 256).cuda()
        run = lambda: wave_scan(*leaves, kernel, bias, backend="triton").sum().backward()  # noqa: B023, E731
        run()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run()
            torch.cuda.synchronize()
        counts.append(sum(event.count for event in profile.key_averages()))
    assert counts[0] == counts[1]
