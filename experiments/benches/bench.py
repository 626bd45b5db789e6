"""Speed and memory of a training step at the papers' settings: ``python -m experiments bench``.

Measured beside it, in the same process and with the same threads: the method of the published reference (a Python
loop over `nn.Conv1d(padding_mode="circular")` and `nn.Linear`; on a GPU also as CUDA graphs), `nn.RNN` and `nn.LSTM` of
equal state size, and the rate of a matrix product (SGEMM), of which the fraction reached is given. A rate counts the
multiplications and additions of the recurrence, 6·N·C² per sample and step, three times over for forward, data and
weight gradient, and once more for the forward part where states are recomputed. Dense networks of more than 1000 units
are left out unless asked for by name (--way): their weights alone make them hundreds of times as costly.

The case "memory 64" is a `TravellingMemory` with an attention end whose states are known. Its ways give the same
numbers: one step after the other, as any end is stepped or with keys and values that are kept, or all steps at once.

The last cases are sheets of N × N with C channels, of whose states 51 weighted sums over time are read out:
`sheet_scan` beside the loop of the published model (`conv2d` on a padded sheet, tanh, states stacked, then `linear`);
its products alone, one `conv2d` a step (channels last, as PyTorch is fastest) and those of the readout, with their
gradients; and the linear sheet, which has no loop, also over ten times as many steps. `forward speedup` is that of the
forward pass.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from experiments.benches import idioms
from experiments.runs.folder import commit, device_name, peak_memory, write_csv
from wavefield.cli import tell
from wavefield_torch import (
    AttentionEnd,
    LinearSheet,
    TravellingMemory,
    WaveRNN,
    linear_readout,
    sheet_scan,
    wave_scan,
    wave_scan_cross_entropy,
)


@dataclass(frozen=True)
class Case:
    """A setting of the paper: ring length N, channels C, sequence length T, batch B, inputs I."""

    name: str
    N: int
    C: int
    T: int
    B: int
    I: int
    classes: int
    every_step: bool = False  # readout at every step

    @property
    def sheet(self) -> bool:
        """Whether it is a sheet of N × N, of whose states `classes` weighted sums over time are read out."""
        return self.name.startswith("sheet")

    @property
    def gigaflop(self) -> float:
        """Of the recurrence forward, of a sheet with its readout."""
        if self.sheet:
            return 2e-9 * self.N**2 * self.C * (9 * self.C + self.classes) * self.T * self.B
        return 6e-9 * self.N * self.C**2 * self.T * self.B


CASES = (
    Case("copy length 40", 100, 6, 40, 128, 10, 10, every_step=True),
    Case("copy length 510", 100, 6, 510, 128, 10, 10, every_step=True),
    Case("adding 100", 100, 27, 100, 128, 2, 1),
    Case("adding 1000", 100, 27, 1000, 128, 2, 1),
    Case("sMNIST", 256, 16, 784, 128, 1, 10),
    Case("nsCIFAR10", 256, 16, 1000, 256, 96, 10),
    Case("memory 64", 64, 8, 200, 16, 8, 8, every_step=True),
    Case("sheet 64", 64, 2, 100, 16, 0, 51),
    Case("sheet 32", 32, 16, 100, 16, 0, 51),
    Case("sheet 64, T 1000", 64, 2, 1000, 16, 0, 51),
    Case("sheet 32, T 1000", 32, 16, 1000, 16, 0, 51),
)
MEMORY_WAYS = ("step by step", "steps with a cache", "all steps at once")
NO_LOOP = "linear, no loop"
SHEET_WAYS = ("fused", "reference", "products alone", NO_LOOP)
WAYS = ("fused", "fused, recomputed", "reference", "reference, CUDA graphs", "nn.RNN", "nn.LSTM")
WAYS = (*WAYS, *MEMORY_WAYS, *SHEET_WAYS[2:])
HEADS = 8  # of the attention end, each of the size of a state


def main(options: argparse.Namespace) -> int:
    """Print the table and, with --output, write it as CSV."""
    if options.idioms:
        return idioms.main(options)
    names = [case.name for case in CASES]
    for name, known in (("case", names), ("way", WAYS)):
        if unknown := set(getattr(options, name) or ()) - set(known):
            raise ValueError(f"--{name} must be one of {', '.join(known)}, got {unknown.pop()!r}")
    cases = {case.name: case for case in CASES}
    if options.memory:
        print(_peak_memory(cases[options.memory[0]], options.memory[1]))
        return 0
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    machine = {"device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    machine |= {"commit": commit()}
    show = not (options.quiet or options.json)
    columns = ("forward s", "step s", "GFLOP/s", "SGEMM", "of SGEMM", "peak MB")
    if show:
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        print(f"{'case':17}{'way':19}" + "".join(f"{name:>11}" for name in columns))
    rows = []
    chosen = [(cases[name], way) for name in options.case or names for way in options.way or _ways(cases[name], device)]
    for case, way in tqdm(chosen, disable=None if show else True):
        rows.append(_measure(case, way, device, options.repeats) | machine)
        _complete(rows)
        if show:
            tqdm.write(_line(rows[-1]))
        if options.output:
            write_csv(options.output, rows)  # a machine that runs out of memory at the last row keeps the others
    compared = [row for row in rows if row["speedup"] != "" and row["way"] not in ("reference", "step by step")]
    lines = [
        f"{row['case']:17}{row['way']:19}{row['speedup']:>8.2f}{row['forward_speedup']:>10.2f}" for row in compared
    ]
    title = "\nspeed, relative to the reference, of a step and of its forward pass"
    tell(options, "\n".join([title, *lines]), rows)
    return 0


def _ways(case, device):
    if case.name.startswith("memory"):
        return MEMORY_WAYS
    if case.sheet:
        return SHEET_WAYS if case.T == 100 else (NO_LOOP,)
    dense, graphs = case.N * case.C <= 1000, device.type == "cuda"
    ways = (way for way in WAYS if way not in (*MEMORY_WAYS, *SHEET_WAYS[2:]))
    return [way for way in ways if (dense or not way.startswith("nn.")) and (graphs or not way.endswith("graphs"))]


def _measure(case, way, device, repeats):
    """Best times of forward pass, training step and matrix product in turn; the peak memory of a step on its own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step = _step_of(case, way, device)
    step.run()
    forward, full, sgemm = [], [], []
    for _ in range(repeats):
        forward.append(_timed(step.forward, device))
        full.append(_timed(step.run, device))
        sgemm.append(_sgemm(device))
    del step  # its memory is measured anew, in another process
    gc.collect()
    work = case.gigaflop * (4 if way == "fused, recomputed" else 3)
    return {
        "case": case.name,
        "way": way,
        "forward_s": min(forward),
        "step_s": min(full),
        "gflops": work / min(full) if way.startswith(("fused", "reference")) else "",
        "sgemm": max(sgemm),
        "of_sgemm": "",
        "speedup": "",
        "forward_speedup": "",
        "peak_mb": _memory(case, way, device),
    }


def _step_of(case, way, device):
    if case.sheet:
        return (_SheetProducts if way == "products alone" else _SheetStep)(case, way, device)
    return _MemoryStep(case, way, device) if way in MEMORY_WAYS else _Step(case, way, device)


class _Step:
    """One training step: forward, loss, backward, Adam."""

    def __init__(self, case, way, device):
        generator = torch.Generator().manual_seed(0)
        self.case, self.way = case, way
        torch.manual_seed(0)
        make = {"reference": _ReferenceRNN, "nn.RNN": _plain_rnn, "nn.LSTM": _plain_lstm}.get(way.split(",")[0], _wave)
        self.cell = make(case).to(device)
        self.readout = linear_readout(case.N * case.C, case.classes, generator=generator).to(device)
        parameters = [*self.cell.parameters(), *self.readout.parameters()]
        graphs = way.endswith("graphs")
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, capturable=graphs)
        if case.every_step:  # one-hot symbols
            symbols = torch.randint(case.I, (case.T, case.B), generator=generator)
            x = nn.functional.one_hot(symbols, case.I).float()
        else:
            x = torch.rand(case.T, case.B, case.I, generator=generator)
        if case.name == "nsCIFAR10":  # the noise after the 32 rows is the same for the whole batch
            x[32:] = x[32:, :1]
        shape = (case.T, case.B) if case.every_step else (case.B,)
        self.x = x.to(device)
        self.target = torch.randint(case.classes, shape, generator=generator).to(device)
        if graphs:
            self.run, self.forward = _graph_of(self.run), _graph_of(self.forward)

    def forward(self):
        if self.way.startswith("fused"):
            weights = (self.cell.encoder, self.cell.kernel, self.cell.bias)
            every = round(self.case.T**0.5) if self.way == "fused, recomputed" else 1
            if self.case.every_step:
                readout = (self.readout.weight, self.readout.bias)
                return wave_scan_cross_entropy(self.x, *weights, None, *readout, self.target, checkpoint_every=every)
            last = wave_scan(self.x, *weights, return_sequence=False, checkpoint_every=every)
            return self.loss(self.readout(last.flatten(1)))
        if self.way.startswith("reference"):
            return self.loss(self.cell(self.x, self.readout, self.case.every_step))
        output, _ = self.cell(self.x)
        return self.loss(self.readout(output if self.case.every_step else output[-1]))

    def loss(self, answer):
        if self.case.classes == 1:
            return (answer.squeeze(-1) - self.target).square().mean()
        return cross_entropy(answer.flatten(0, -2), self.target.flatten())

    def run(self):
        self.optimizer.zero_grad()
        self.forward().backward()
        self.optimizer.step()


class _MemoryStep:
    """One training step of a travelling memory with an attention end, its end held to known states."""

    def __init__(self, case, way, device):
        generator = torch.Generator().manual_seed(0)
        end = AttentionEnd(case.C, case.N, heads=HEADS, generator=generator)
        self.way, self.net = way, TravellingMemory(case.C, case.N, boundary=end).to(device)
        self.states = torch.randn(case.T, case.B, case.C, generator=generator).to(device)
        self.optimizer = torch.optim.Adam(end.parameters(), lr=1e-4)

    def forward(self):
        ways = {"step by step": self._stepping, "steps with a cache": self._with_cache}
        computed = ways[self.way]() if self.way in ways else self.net.parallel(self.states)
        return (computed - self.states).square().mean()

    def _stepping(self):
        history, computed = self.states.new_zeros(self.states.shape[1], self.net.hidden_size, self.states.shape[2]), []
        for known in self.states:
            computed.append(self.net.boundary(history))
            history = torch.cat([history[:, 1:], known[:, None]], dim=1)
        return torch.stack(computed)

    def _with_cache(self):
        end, computed = self.net.boundary, []
        newest = torch.zeros_like(self.states[0])
        cache = end.keys_and_values(newest[:, None].expand(-1, self.net.hidden_size, -1))
        for known in self.states:  # as the memory steps by itself, keys and values travelling
            computed.append(end.answer(newest, *cache))
            newest = known
            entering = end.keys_and_values(known[:, None])
            cache = [torch.cat([old[..., 1:, :], new], dim=-2) for old, new in zip(cache, entering, strict=True)]
        return torch.stack(computed)

    def run(self):
        self.optimizer.zero_grad()
        self.forward().backward()
        self.optimizer.step()


class _SheetStep:
    """One training step of a sheet with a linear readout over time; the given gradient stands for what reads it."""

    def __init__(self, case, way, device):
        torch.manual_seed(0)
        self.case, self.way = case, way
        shape = (case.B, case.C, case.N, case.N)
        self.y0 = torch.tanh(torch.randn(shape)).to(device).requires_grad_()
        self.rates = [torch.rand(shape).to(device).requires_grad_() for _ in range(2)]  # stiffness and damping
        self.sheet = LinearSheet(case.C, coupled=True).to(device)
        if way == NO_LOOP:
            self.sheet = LinearSheet(case.C).to(device)
        self.readout = torch.randn(case.classes, case.T).to(device).requires_grad_()
        given = (*shape, case.classes) if way == "reference" else (case.classes, *shape)
        self.given = torch.randn(given).to(device)

    def forward(self):
        if self.way == "reference":
            return self._stepping()
        options = dict(steps=self.case.T, readout=self.readout)
        if self.way == NO_LOOP:
            return self.sheet(self.y0, **options)[0]
        return sheet_scan(self.y0, None, self.sheet.kernel, *self.rates, dt=self.sheet.dt, **options)[0]

    def _stepping(self):
        """The published model's loop: a call for every part of every step, the states stacked, then read out."""
        y, z, states, dt = self.y0, torch.zeros_like(self.y0), [], self.sheet.dt
        stiffness, damping = self.rates
        for _ in range(self.case.T):
            padded = nn.functional.pad(y, (1, 1, 1, 1), mode="circular")
            force = torch.tanh(nn.functional.conv2d(padded, self.sheet.kernel))
            z = z + dt * (force - stiffness * y - damping * z)
            y = y + dt * z
            states.append(y)
        return nn.functional.linear(torch.stack(states, -1), self.readout)

    def run(self):
        leaves = [self.y0, self.sheet.kernel, self.readout]
        leaves += list(self.sheet.parameters())[1:] if self.way == NO_LOOP else self.rates
        torch.autograd.grad(self.forward(), leaves, self.given)


class _SheetProducts:
    """The convolutions and the readout of such a step, and their gradients, on the same numbers again and again."""

    def __init__(self, case, way, device):
        torch.manual_seed(0)
        self.steps, last = case.T, {"memory_format": torch.channels_last}
        shape = (case.B, case.C, case.N, case.N)
        self.padded = torch.randn(*shape[:2], case.N + 2, case.N + 2, device=device).to(**last).requires_grad_()
        self.kernel = torch.randn(case.C, case.C, 3, 3, device=device).to(**last).requires_grad_()
        self.given = torch.randn(shape, device=device).to(**last)
        self.readout = torch.randn(case.classes, case.T, device=device)
        self.states = torch.randn(case.T, math.prod(shape), device=device)

    @torch.no_grad()
    def forward(self):
        for _ in range(self.steps):
            nn.functional.conv2d(self.padded, self.kernel)
        return self.readout @ self.states

    def run(self):
        for _ in range(self.steps):
            output = nn.functional.conv2d(self.padded, self.kernel)
            torch.autograd.grad(output, [self.padded, self.kernel], self.given)
        features = self.readout @ self.states
        return self.readout.T @ features, features @ self.states.T


def _graph_of(call):
    """Record a call as a CUDA graph, after three on a side stream as PyTorch asks for, and return its replay."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


class _ReferenceRNN(nn.Module):
    """The recurrence as the published code computes it: a module call for every part of every step."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        self.Wx = nn.Linear(case.I, case.N * case.C)
        self.Wy = nn.Conv1d(case.C, case.C, 3, padding=1, padding_mode="circular")
        with torch.no_grad():
            self.Wy.weight.copy_(torch.roll(nn.init.dirac_(torch.empty_like(self.Wy.weight)), 1, -1))

    def forward(self, x, readout, every_step):
        h, answers = x.new_zeros(x.shape[1], self.case.C, self.case.N), []
        for x_t in x:
            h = torch.relu(self.Wx(x_t).view_as(h) + self.Wy(h))
            if every_step:
                answers.append(readout(h.flatten(1)))
        return torch.stack(answers) if every_step else readout(h.flatten(1))


def _wave(case):
    return WaveRNN(case.I, case.N, channels=case.C)


def _plain_rnn(case):
    return nn.RNN(case.I, case.N * case.C, nonlinearity="relu")


def _plain_lstm(case):
    return nn.LSTM(case.I, case.N * case.C)


def _timed(call, device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _sgemm(device, size=4096):
    """GFLOP/s of a product of square matrices, the second of two."""
    a = torch.rand(size, size, device=device)
    return 2e-9 * size**3 / min(_timed(lambda: a @ a, device) for _ in range(2))


def _memory(case, way, device):
    """Peak memory of one step above that of the imports, in MB; on a CPU from a process of its own."""
    if device.type == "cuda":
        return peak_memory(device)
    command = [sys.executable, "-P", "-m", "experiments", "bench", "--memory", case.name, way]  # not what lies here
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    return float(done.stdout) if done.returncode == 0 else math.nan  # more than the machine has


def _peak_memory(case, way):
    """MB above what the process held before its first full step, a short one having loaded all code."""
    cpu = torch.device("cpu")
    _step_of(replace(case, T=4), way, cpu).run()
    gc.collect()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as switch:
        switch.write("5")  # Linux forgets the peak
    before = peak_memory(cpu)
    _step_of(case, way, cpu).run()
    return peak_memory(cpu) - before


def _complete(rows):
    """Add the figures that need another row: the fraction of SGEMM and the speed relative to the reference."""
    reference = {row["case"]: row for row in rows if row["way"] in ("reference", "step by step")}
    for row in rows:
        row["of_sgemm"] = row["gflops"] / row["sgemm"] if row["gflops"] != "" else ""
        for name, time_of in (("speedup", "step_s"), ("forward_speedup", "forward_s")):
            row[name] = reference[row["case"]][time_of] / row[time_of] if row["case"] in reference else ""
    return rows


def _line(row):
    rate, share = row["gflops"], row["of_sgemm"]
    cells = [f"{row['forward_s']:.4f}", f"{row['step_s']:.4f}", rate and f"{rate:.0f}", f"{row['sgemm']:.0f}"]
    cells += [share and f"{share:.0%}", f"{row['peak_mb']:.0f}"]
    return f"{row['case']:17}{row['way']:19}" + "".join(f"{cell:>11}" for cell in cells)
