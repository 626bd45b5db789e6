"""What ordinary training code costs: ``python -m experiments bench --idioms``.

A step of training (forward, loss, backward) in each of the ways in which trainers read a recurrence out, with
`WaveRNN` and, of equal state size, the plain PyTorch loop over its equation, `nn.RNN` and `nn.LSTM`; with the ratio to
the same network where the last state alone is kept, and to the plain loop. All rows of a case are timed in turn, so
that what else the machine does strikes all alike; the best times count.

`Linear alone` is the readout of every step and its gradients without the recurrence: a step with `Linear of all of out`
should cost that and the step with `h`. Networks of dense weights with more than 1000 units are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pack_padded_sequence
from tqdm import tqdm

from experiments.runs.folder import commit, device_name, write_csv
from wavefield_torch import WaveRNN, WaveRNNCell

LAST = "last state only"
SEQUENCES = (LAST, "h", "out[-1]", "Linear of all of out", "batch_first, out[:, -1]", "batch_first, Linear")
PACKED = ("packed, h", "packed, Linear")
STEPS = ("a step", "a step, forward only", "a cell", "a cell, forward only")
ALONE = "Linear alone"
WAVE, LOOP, RNN, LSTM = WAYS = ("WaveRNN", "plain loop", "nn.RNN", "nn.LSTM")
_SHORTEST = 2e-3  # seconds that are timed at once


@dataclass(frozen=True)
class Case:
    """Ring length N, channels C, steps T, batch B, inputs I, outputs of the readout."""

    name: str
    N: int
    C: int
    T: int
    B: int
    I: int
    outputs: int

    @property
    def units(self) -> int:
        """Numbers of a state."""
        return self.N * self.C


CASES = (
    Case("adding 100", 100, 27, 100, 128, 2, 1),
    Case("copy length 40", 100, 6, 40, 128, 10, 10),
    Case("sMNIST", 256, 16, 784, 128, 1, 10),
    Case("32 lengths", 64, 1, 64, 32, 8, 8),
    Case("names by characters", 128, 1, 8, 1, 57, 18),  # the shape of PyTorch's tutorial on names
    Case("text by characters", 128, 1, 100, 64, 57, 57),
    Case("one step, 16 units", 16, 1, 1, 1, 4, 4),
    Case("one step, 512 units", 64, 8, 1, 1, 4, 4),
)


def main(options) -> int:
    """Print the table and, with --output, write it as CSV."""
    names = [case.name for case in CASES]
    if unknown := set(options.case or ()) - set(names):
        raise ValueError(f"--case must be one of {', '.join(names)} with --idioms, got {unknown.pop()!r}")
    if unknown := set(options.way or ()) - set(WAYS):
        raise ValueError(f"--way must be one of {', '.join(WAYS)} with --idioms, got {unknown.pop()!r}")
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    machine = {"device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    machine |= {"commit": commit()}
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'case':22}{'idiom':26}{'way':12}{'step ms':>10}{'of last':>9}{'of loop':>9}")
    rows = []
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    for case in tqdm(chosen, disable=None):
        found = _measured(case, options.way or WAYS, device, options.repeats)
        for row in found:
            tqdm.write(_line(row))
        rows += [row | machine for row in found]
        if options.output:
            write_csv(options.output, rows)
    return 0


def _measured(case, ways, device, repeats):
    """The best of `repeats` rounds of every idiom in every way, all in turn."""
    steps = {}
    for way in ways:
        if way in (WAVE, LOOP) or case.units <= 1000:
            steps |= {(idiom, way): step for idiom, step in _steps(case, way, device).items()}
    if case.T > 1:
        steps[ALONE, "nn.Linear"] = _linear_alone(case, device)
    seconds = dict.fromkeys(steps, float("inf"))
    times = {key: _times(step, device) for key, step in steps.items()}
    for _ in range(repeats):
        for key, step in steps.items():
            seconds[key] = min(seconds[key], _timed(step, times[key], device))
    rows = []
    for (idiom, way), value in seconds.items():
        last, loop = seconds.get((LAST, way)), seconds.get((idiom, LOOP))
        row = {"case": case.name, "idiom": idiom, "way": way, "step_s": value}
        rows.append(row | {"of_last": value / last if last else "", "of_loop": value / loop if loop else ""})
    return rows


def _steps(case, way, device) -> dict[str, Callable[[], object]]:
    """Every idiom of a case as a function without arguments."""
    torch.manual_seed(0)
    net, first = (_network(case, way, batch_first).to(device) for batch_first in (False, True))
    readout = nn.Linear(case.units, case.outputs).to(device)
    x = _input(case).to(device)
    if case.T == 1:
        return _single_steps(case, way, net, x, device)

    def trained(loss):
        def step():
            for module in (net, first, readout):
                module.zero_grad()
            loss().square().mean().backward()

        return step

    turned = x.transpose(0, 1).contiguous()
    last = {"return_sequence": False} if way == WAVE else {}
    losses = [
        lambda: readout(_top(net(x, **last)[1])),
        lambda: readout(_top(net(x)[1])),
        lambda: readout(net(x)[0][-1]),
        lambda: readout(net(x)[0]),
        lambda: readout(first(turned)[0][:, -1]),
        lambda: readout(first(turned)[0]),
    ]
    steps = {idiom: trained(loss) for idiom, loss in zip(SEQUENCES, losses, strict=True)}
    if case.B > 1 and way != LOOP:
        lengths = torch.linspace(case.T, max(1, case.T // case.B), case.B).round().long()
        packed = pack_padded_sequence(x, lengths)
        losses = [lambda: readout(_top(net(packed)[1])), lambda: readout(net(packed)[0].data)]
        steps |= {idiom: trained(loss) for idiom, loss in zip(PACKED, losses, strict=True)}
    return steps


def _single_steps(case, way, net, x, device):
    """Steps of a network and of its cell, with a state that is given."""
    kinds = {WAVE: WaveRNNCell, LOOP: None, RNN: nn.RNNCell, LSTM: nn.LSTMCell}
    more = {WAVE: {"channels": case.C}, RNN: {"nonlinearity": "relu"}}.get(way, {})
    size = case.N if way == WAVE else case.units
    cell = net.step if way == LOOP else kinds[way](case.I, size, **more).to(device)
    before = torch.zeros(case.B, case.units, device=device)
    pair = (before, before) if way == LSTM else before
    stacked = tuple(part[None] for part in pair) if way == LSTM else before[None]
    calls = {"a step": lambda: net(x, stacked)[1], "a cell": lambda: cell(x[0], pair)}
    steps = {}
    for idiom, call in calls.items():
        steps[idiom] = lambda call=call: _first(call()).sum().backward()
        steps[f"{idiom}, forward only"] = torch.no_grad()(call)
    return steps


def _linear_alone(case, device):
    readout = nn.Linear(case.units, case.outputs).to(device)
    states = torch.rand(case.T, case.B, case.units, device=device, requires_grad=True)

    def step():
        states.grad = None
        readout.zero_grad()
        readout(states).square().mean().backward()

    return step


class _Loop(nn.Module):
    """The recurrence as one writes it in PyTorch: a circular convolution and a linear map, step by step."""

    def __init__(self, case, batch_first):
        super().__init__()
        self.case, self.batch_first = case, batch_first
        self.Wx = nn.Linear(case.I, case.units)
        self.Wy = nn.Conv1d(case.C, case.C, 3, padding=1, padding_mode="circular")

    def step(self, x, h):
        h = h.view(len(h), self.case.C, self.case.N)
        return torch.relu(self.Wx(x).view_as(h) + self.Wy(h)).flatten(1)

    def forward(self, x, h=None):
        x = x.transpose(0, 1) if self.batch_first else x
        h = x.new_zeros(x.shape[1], self.case.units) if h is None else h[0]
        states = []
        for x_t in x:
            h = self.step(x_t, h)
            states.append(h)
        return torch.stack(states, int(self.batch_first)), h[None]


def _network(case, way, batch_first):
    if way == WAVE:
        return WaveRNN(case.I, case.N, channels=case.C, batch_first=batch_first)
    if way == LOOP:
        return _Loop(case, batch_first)
    kind, more = (nn.RNN, {"nonlinearity": "relu"}) if way == RNN else (nn.LSTM, {})
    return kind(case.I, case.units, batch_first=batch_first, **more)


def _input(case):
    generator = torch.Generator().manual_seed(0)
    if "characters" in case.name:
        return one_hot(torch.randint(case.I, (case.T, case.B), generator=generator), case.I).float()
    return torch.rand(case.T, case.B, case.I, generator=generator)


def _top(h_n):
    return _first(h_n)[-1]


def _first(state):
    return state[0] if isinstance(state, tuple) else state


def _times(step, device):
    """How often a step is repeated so that it can be timed, after everything has been compiled and fetched."""
    step()
    return max(1, int(_SHORTEST / _timed(step, 1, device)))


def _timed(step, times, device):
    """Seconds of one of so many steps."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / times


def _line(row):
    ratios = "".join(f"{row[name]:>9.2f}" if row[name] != "" else " " * 9 for name in ("of_last", "of_loop"))
    return f"{row['case']:22}{row['idiom']:26}{row['way']:12}{row['step_s'] * 1e3:>10.3f}{ratios}"
