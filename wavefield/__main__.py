"""Command line: ``python -m wavefield simulate | decode | plot | figure | bench``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import wavefield as wf
from wavefield.version import __version__

MOST_INPUTS = 10_000


def main(argv=None) -> int:
    """Run one command. Bad input ends with a message and status 2, an unwritable or missing file likewise."""
    parser = _parser()
    options = parser.parse_args(_joined(sys.argv[1:] if argv is None else argv))
    try:
        options.run(options)
    except (ValueError, TypeError, OSError, ArithmeticError, MemoryError) as error:
        print(f"{parser.prog} {options.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _joined(argv):
    """Arguments with ``--spike -1:3`` as ``--spike=-1:3``, so that the number and not the dash is what is wrong."""
    arguments = []
    for argument in argv:
        if arguments and arguments[-1] == "--spike" and argument.startswith("-") and argument[1:2].isdigit():
            arguments[-1] += f"={argument}"
        else:
            arguments.append(argument)
    return arguments


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m wavefield", description="Simulate wave fields, decode their memory, draw them."
    )
    parser.add_argument("--version", action="version", version=f"wavefield {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("simulate", help="drive a wave field and write its recording (netCDF)")
    command.add_argument("equation", choices=("transport", "wave", "static"))
    command.add_argument("-o", "--output", required=True, help="recording to write, .nc")
    command.add_argument("--speed", type=float, help="signed for transport; default 1")
    command.add_argument("--damping", type=float, help="of the two-way wave; default 0")
    command.add_argument("--gain", type=float, help="per step, of transport; default 1")
    command.add_argument("--order", type=int, help="of the two-way stencil in space: 2 (default), 4, 6 or 8")
    command.add_argument("--boundary", default="periodic", help="periodic, fixed, free or absorbing")
    command.add_argument("--dx", type=float, default=1.0)
    command.add_argument("--dt", type=float, default=1.0)
    command.add_argument("--size", type=int, required=True, help="positions of each ring")
    command.add_argument("--steps", type=int, help="steps to make (with --spike)")
    command.add_argument(
        "--spike", action="append", metavar="INPUT:ONSET[:AMPLITUDE]", help="an input event; may be repeated"
    )
    command.add_argument("--drive", metavar="FILE", help="inputs as CSV, NPY or netCDF, steps × inputs")
    command.add_argument("--source", default="pulse", help="how a two-way field takes an input: pulse or force")
    command.add_argument("--nonlinearity", default="identity", help="identity, relu or tanh")
    command.add_argument("--dtype", default="float64", help="float64 or float32")
    command.add_argument("--save-every", type=int, default=1)
    command.add_argument("--last", action="store_true", help="store the last state only")
    command.add_argument("--overwrite", action="store_true", help="replace the partial file of an interrupted run")
    command.set_defaults(run=_simulate)

    command = commands.add_parser("decode", help="read the inputs back from the last snapshot of a recording")
    command.add_argument("recording")
    command.add_argument("-o", "--output", help="table of events to write, .csv or .nc")
    command.add_argument("--horizon", type=int, help="how many steps to look back")
    command.add_argument("--signed", action="store_true", help="amplitudes may be negative")
    command.add_argument("--anywhere", action="store_true", help="inputs may have entered anywhere: read places, too")
    command.set_defaults(run=_decode)

    command = commands.add_parser("plot", help="draw a recording")
    command.add_argument("recording")
    command.add_argument("-o", "--output", required=True, help="picture to write: .png, .pdf, .svg, or .gif to animate")
    command.add_argument("--what", choices=("space-time", "snapshot", "dispersion"), default="space-time")
    command.add_argument("--decode", action="store_true", help="name the decoded events in a snapshot")
    command.add_argument("--trial", type=int, help="which trial of a batch; default 0")
    command.set_defaults(run=_plot)

    command = commands.add_parser("figure", help="draw a figure of the package: waves against the static bump")
    command.add_argument("name", choices=("memory-of-a-wave", "digit", "curves"))
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--seed", type=int, default=0, help="of the noise in the digit's snapshot")
    command.set_defaults(run=_figure)

    command = commands.add_parser("bench", help="measure the speed of the time loops on this machine")
    command.add_argument("-o", "--output", help="table to write, .csv")
    command.set_defaults(run=_bench)
    return parser


def _simulate(options):
    drive, steps = _drive(options)
    rec = wf.simulate(
        _operator(options),
        drive,
        options.size,
        steps=steps,
        source=options.source,
        nonlinearity=options.nonlinearity,
        dtype=options.dtype,
        save_every=None if options.last else options.save_every,
        path=options.output,
        overwrite=options.overwrite,
    )
    with rec:
        sizes = ", ".join(f"{n} {dim}" for dim, n in rec.activity.sizes.items())
    print(f"wrote {options.output}: activity of {sizes}")


def _operator(options):
    units = {"boundary": options.boundary, "dx": options.dx, "dt": options.dt}
    takes = {"transport": ("speed", "gain"), "wave": ("speed", "damping", "order"), "static": ()}[options.equation]
    given = {name: getattr(options, name) for name in ("speed", "damping", "gain", "order")}
    given = {name: value for name, value in given.items() if value is not None}
    if foreign := [f"--{name}" for name in given if name not in takes]:
        raise ValueError(f"{' and '.join(foreign)}: {options.equation} has no such setting")
    return {"transport": wf.transport, "wave": wf.wave, "static": wf.static}[options.equation](**given, **units)


def _drive(options: argparse.Namespace):
    if options.drive and options.spike:
        raise ValueError("give --drive or --spike, not both")
    if options.drive:
        return wf.load_drive(options.drive), options.steps
    if not options.spike or options.steps is None:
        raise ValueError("give --drive FILE, or --spike INPUT:ONSET[:AMPLITUDE] and --steps")
    trains: dict[int, list] = {}
    for text in options.spike:
        try:
            number, onset, *amplitude = text.split(":")
            event = (int(onset), float(amplitude[0]) if amplitude else 1.0)
            trains.setdefault(int(number), []).append(event)
        except ValueError:
            raise ValueError(f"--spike must read INPUT:ONSET[:AMPLITUDE], got {text!r}") from None
    if min(trains) < 0 or max(trains) >= MOST_INPUTS:
        raise ValueError(f"--spike: inputs are numbered from 0 to {MOST_INPUTS - 1}, got {min(trains)}…{max(trains)}")
    return wf.spikes([sorted(trains.get(k, [])) for k in range(max(trains) + 1)], steps=options.steps), None


def _decode(options):
    with wf.open_recording(options.recording) as rec:
        sites = "anywhere" if options.anywhere else None
        events = wf.decode(rec, horizon=options.horizon, nonnegative=not options.signed, sites=sites)
    table = events.to_dataframe().reset_index()
    print(table.to_string(index=False) if len(table) else "no events")
    if events.attrs["warnings"]:
        print(f"warning: {events.attrs['warnings']}")
    if options.output is None:
        return
    if Path(options.output).suffix not in (".csv", ".nc"):
        raise ValueError(f"--output must end in .csv or .nc, got {options.output!r}")
    from wavefield.files import whole_or_nothing

    with whole_or_nothing(options.output) as scratch:
        if options.output.endswith(".csv"):
            table.to_csv(scratch, index=False)
        else:
            events.to_netcdf(scratch, engine="h5netcdf")
    print(f"wrote {options.output}")


def _plot(options):
    import matplotlib

    matplotlib.use("Agg")
    from wavefield import plot

    with wf.open_recording(options.recording) as rec:
        if "trial" in rec.activity.dims:
            trial = options.trial or 0
            if not 0 <= trial < rec.sizes["trial"]:
                raise ValueError(f"--trial must lie in 0…{rec.sizes['trial'] - 1}, got {trial}")
            rec = rec.isel(trial=trial)
        elif options.trial is not None:
            raise ValueError(f"--trial {options.trial}: the recording has no trials")
        activity = rec.activity
        if options.output.lower().endswith(".gif"):
            plot.animate(activity.load(), options.output, every=max(1, activity.sizes["time"] // 200))
        elif options.what == "dispersion":
            # of waves on an endless line, which those between ends are made of
            relation = replace(wf.operator_of(rec), boundary="periodic", boundary_row=None).dispersion_relation()
            plot.save_figure(plot.dispersion(relation).figure, options.output)
        elif options.what == "snapshot":
            events = wf.decode(rec) if options.decode else None
            plot.save_figure(plot.snapshot(activity.isel(time=-1).load(), events).figure, options.output)
        else:
            plot.save_figure(plot.space_times(activity.load()), options.output)
    print(f"wrote {options.output}")


def _figure(options):
    import matplotlib

    matplotlib.use("Agg")
    from wavefield import figures, plot

    if options.name == "digit":
        figure = figures.digit(np.random.default_rng(options.seed))
    else:
        figure = {"memory-of-a-wave": figures.memory_of_a_wave, "curves": figures.dispersion_and_memory}[options.name]()
    plot.save_figure(figure, options.output)
    print(f"wrote {options.output}")


def _bench(options):
    from wavefield.bench import bench

    bench(options.output)


if __name__ == "__main__":
    sys.exit(main())
