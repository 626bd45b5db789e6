"""Command line: ``python -m wavefield simulate | decode | plot | modes | figure | memory | bench``.

Once installed, ``wavefield`` does the same.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import wavefield as wf
from wavefield import cli
from wavefield.version import __version__

MOST_INPUTS = 10_000


def main(argv=None) -> int:
    """Run one command. Bad input ends with a message and status 2, an unwritable or missing file likewise."""
    parser = _parser()
    options = parser.parse_args(_joined(sys.argv[1:] if argv is None else argv))
    name = f"{parser.prog} {options.command}: "
    return cli.carry_out(options.run, options, name=name, memory="take fewer positions or steps, or --save-every")


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
    name = cli.program("wavefield", "wavefield")
    parser = argparse.ArgumentParser(
        prog=name,
        description="Simulate wave fields, decode their memory, draw them.",
        **cli.examples(name, "simulate transport --size 64 --steps 100 --spike 0:12 -o field.nc\nsimulate -h"),
    )
    parser.add_argument("--version", action="version", version=f"wavefield {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(command, about, lines):
        added = commands.add_parser(command, help=about, description=about, **cli.examples(name, lines))
        cli.add_output_options(added)
        return added

    command = add(
        "simulate",
        "drive a wave field and write its recording (netCDF)",
        "simulate transport --speed -1 --size 128 --steps 100 --spike 0:12 --spike 1:25:0.5 -o field.nc\n"
        "simulate wave --speed 0.5 --boundary fixed --size 256 --drive drive.csv -o field.nc\n"
        "simulate wave --speed 0.5 --size 128,128 --steps 80 --spike 0:3 --spike 1:20:0.5 --at 40,40 --at 90,20 "
        "-o sheet.nc",
    )
    command.add_argument("equation", choices=("transport", "wave", "static"))
    command.add_argument("-o", "--output", required=True, help="recording to write, .nc")
    command.add_argument("--speed", type=float, help="signed for transport; default 1")
    command.add_argument("--damping", type=float, help="of the two-way wave; default 0")
    command.add_argument("--gain", type=float, help="per step, of transport; default 1")
    command.add_argument("--order", type=int, help="of the two-way stencil in space: 2 (default), 4, 6 or 8")
    command.add_argument("--restoring", type=float, help="force of the two-way wave, per time squared; default 0")
    command.add_argument("--direction", type=float, help="of transport on a sheet, degrees from +x, y up; default 0")
    command.add_argument("--isotropic", action="store_true", default=None, help="nine-point stencil of a sheet")
    command.add_argument("--mask", metavar="FILE", help="where a sheet is, an NPY file of 0 and 1: a drum of any shape")
    command.add_argument("--edge", help="of the mask: fixed (default) or free")
    command.add_argument("--rim", type=int, help="cells of the layers at absorbing ends of a sheet; default 20")
    command.add_argument(
        "--boundary", default="periodic", help="periodic, fixed, free or absorbing; of a sheet also y,x"
    )
    command.add_argument("--dx", type=float, default=1.0)
    command.add_argument("--dt", type=float, default=1.0)
    command.add_argument("--size", type=_size, help="positions N of each ring, or Ny,Nx of a sheet")
    command.add_argument("--steps", type=int, help="steps to make (with --spike)")
    command.add_argument(
        "--spike", action="append", metavar="INPUT:ONSET[:AMPLITUDE]", help="an input event; may be repeated"
    )
    command.add_argument(
        "--at", action="append", metavar="Y,X", type=_pair, help="cell of a sheet where the next input enters; repeat"
    )
    command.add_argument("--drive", metavar="FILE", help="inputs as CSV, NPY or netCDF, steps × inputs")
    command.add_argument("--source", default="pulse", help="how a two-way field takes an input: pulse or force")
    command.add_argument("--nonlinearity", default="identity", help="identity, relu or tanh")
    command.add_argument("--dtype", default="float64", help="float64 or float32")
    command.add_argument("--save-every", type=int, default=1)
    command.add_argument("--last", action="store_true", help="store the last state only")
    command.add_argument("--overwrite", action="store_true", help="replace the partial file of an interrupted run")
    command.set_defaults(run=_simulate)

    command = add(
        "decode",
        "read the inputs back from the last snapshot of a recording",
        "decode field.nc\ndecode field.nc --signed -o events.csv\ndecode sheet.nc --anywhere",
    )
    command.add_argument("recording")
    _external(command)
    command.add_argument("-o", "--output", help="table of events to write, .csv or .nc")
    command.add_argument("--horizon", type=int, help="how many steps to look back")
    command.add_argument("--signed", action="store_true", help="amplitudes may be negative")
    command.add_argument("--anywhere", action="store_true", help="look for events at every place, whatever the inputs")
    command.set_defaults(run=_decode)

    command = add(
        "plot",
        "draw a recording",
        "plot field.nc -o field.png\nplot field.nc --what dispersion -o relation.pdf\n"
        "plot sheet.nc --what snapshot --decode --anywhere -o events.png",
    )
    command.add_argument("recording")
    _external(command)
    command.add_argument("-o", "--output", required=True, help="picture to write: .png, .pdf, .svg, or .gif to animate")
    command.add_argument(
        "--what",
        choices=("space-time", "frames", "snapshot", "flow", "dispersion"),
        help="default: space-time, of a sheet frames",
    )
    command.add_argument("--decode", action="store_true", help="name the decoded events in a snapshot")
    command.add_argument("--anywhere", action="store_true", help="with --decode: look for events at every place")
    command.add_argument("--trial", type=int, help="which trial of a batch; default 0")
    command.set_defaults(run=_plot)

    command = add(
        "modes",
        "frequencies and shapes of a drum with fixed or free edges",
        "modes --size 64,64 -o square.png\nmodes --mask drum.npy --count 40 -o modes.nc",
    )
    command.add_argument("--size", type=_size, help="positions N, or Ny,Nx of a sheet")
    command.add_argument("--mask", metavar="FILE", help="the drum's shape, an NPY file of 0 and 1")
    command.add_argument("--edge", choices=("fixed", "free"), default="fixed")
    command.add_argument("--speed", type=float, default=0.5)
    command.add_argument("--count", type=int, default=12)
    command.add_argument("-o", "--output", help="picture (.png, .pdf, .svg) or table of modes (.nc) to write")
    command.set_defaults(run=_modes)

    command = add(
        "figure",
        "draw a figure of the package: waves against the static bump",
        "figure memory-of-a-wave -o memory.png",
    )
    command.add_argument("name", choices=("memory-of-a-wave", "digit", "curves", "sheet", "drums"))
    command.add_argument("-o", "--output", required=True)
    command.add_argument("--seed", type=int, default=0, help="of the noise in the digit's snapshot")
    command.set_defaults(run=_figure)

    command = add(
        "memory",
        "what a sheet remembers: capacity by lag, and how many events in how much noise are read exactly",
        "memory -o results/sheets\nmemory -o results/sheets --draws 50",
    )
    command.add_argument("-o", "--output", required=True, help="folder for memory.csv, readout.csv and memory.png")
    command.add_argument("--draws", type=int, default=10, help="snapshots for each number of events and noise")
    command.set_defaults(run=_memory)

    command = add(
        "bench",
        "measure the speed of the time loops on this machine",
        "bench -o loops.csv",
    )
    command.add_argument("-o", "--output", help="table to write, .csv")
    command.set_defaults(run=_bench)
    return parser


def _external(command):
    command.add_argument("--allow-external", action="store_true", help="read files that a trusted recording links to")


def _size(text):
    try:
        numbers = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"a size is written N, or NY,NX of a sheet, got {text!r}")
    return numbers[0] if len(numbers) == 1 else numbers


def _pair(text):
    try:
        y, x = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a cell is written Y,X, got {text!r}") from None
    return y, x


def _mask(path):
    """A mask read from an NPY file."""
    import numpy as np

    if path is None:
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"--mask: {path} is not an NPY file of 0 and 1") from error


def _simulate(options):
    drive, steps = _drive(options)
    operator = _operator(options)
    encoder = None
    if options.at:
        if operator.dims != 2:
            raise ValueError("--at is for sheets; an input of a ring has a ring of its own")
        size = options.size if options.size else operator.mask.shape
        encoder = wf.encoder_at(options.at, size)
    rec = wf.simulate(
        operator,
        drive,
        options.size,
        steps=steps,
        encoder=encoder,
        source=options.source,
        nonlinearity=options.nonlinearity,
        dtype=options.dtype,
        save_every=None if options.last else options.save_every,
        path=options.output,
        overwrite=options.overwrite,
    )
    with rec:
        sizes = {str(dim): size for dim, size in rec.activity.sizes.items()}
    shown = ", ".join(f"{size} {dim}" for dim, size in sizes.items())
    told = f"wrote {options.output}: activity of {shown}"
    cli.tell(options, told, {"recording": options.output, "activity": sizes})


def _operator(options):
    names = {
        "transport": ("speed", "gain", "direction"),
        "wave": ("speed", "damping", "restoring", "order", "isotropic", "mask", "edge", "rim"),
        "static": (),
    }
    every = dict.fromkeys(name for taken in names.values() for name in taken)
    given = {name: getattr(options, name) for name in every if getattr(options, name) is not None}
    if foreign := [f"--{name}" for name in given if name not in names[options.equation]]:
        raise ValueError(f"{' and '.join(foreign)}: {options.equation} has no such setting")
    sheet = options.mask is not None or isinstance(options.size, tuple)
    if options.size is None and options.mask is None:
        raise ValueError("give --size N, of a sheet --size NY,NX or --mask FILE")
    boundary = tuple(options.boundary.split(",")) if "," in options.boundary else options.boundary
    given |= {"boundary": boundary, "dx": options.dx, "dt": options.dt}
    if "mask" in given:
        given["mask"] = _mask(options.mask)
    if sheet and options.equation == "transport":
        given["direction"] = math.radians(given.get("direction", 0.0))
    elif sheet:
        given["dims"] = 2
    return {"transport": wf.transport, "wave": wf.wave, "static": wf.static}[options.equation](**given)


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
    if options.output is not None and Path(options.output).suffix not in (".csv", ".nc"):
        raise ValueError(f"--output must end in .csv or .nc, got {options.output!r}")
    with wf.open_recording(options.recording, allow_external=options.allow_external) as rec:
        sites = "anywhere" if options.anywhere else None
        events = wf.decode(rec, horizon=options.horizon, nonnegative=not options.signed, sites=sites)
    table = events.to_dataframe().reset_index()
    lines = [table.to_string(index=False) if len(table) else "no events"]
    if events.attrs["warnings"]:
        lines.append(f"warning: {events.attrs['warnings']}")
    if options.output is not None:
        from wavefield.files import whole_or_nothing

        with whole_or_nothing(options.output) as scratch:
            if options.output.endswith(".csv"):
                table.to_csv(scratch, index=False)
            else:
                events.to_netcdf(scratch, engine="h5netcdf")
        lines.append(f"wrote {options.output}")
    found = {"events": table.to_dict("records"), "warnings": events.attrs["warnings"].splitlines()}
    cli.tell(options, "\n".join(lines), found)


def _plot(options):
    cli.check_picture(options.output, "--output", (".gif", ".mp4"))
    import matplotlib

    matplotlib.use("Agg")
    from wavefield import plot

    with wf.open_recording(options.recording, allow_external=options.allow_external) as rec:
        if "trial" in rec.activity.dims:
            trial = options.trial or 0
            if not 0 <= trial < rec.sizes["trial"]:
                raise ValueError(f"--trial must lie in 0…{rec.sizes['trial'] - 1}, got {trial}")
            rec = rec.isel(trial=trial)
        elif options.trial is not None:
            raise ValueError(f"--trial {options.trial}: the recording has no trials")
        if options.output.lower().endswith((".gif", ".mp4")):
            activity = rec.activity.load()
            plot.animate(activity, options.output, every=max(1, activity.sizes["time"] // 200))
        else:
            plot.save_figure(_picture(rec, options), options.output)
    cli.tell(options, f"wrote {options.output}", {"figure": options.output})


def _picture(rec, options):
    """Return the figure asked for, of one trial of a recording."""
    from wavefield import plot, plot_sheets

    activity = rec.activity
    sheet = plot_sheets.is_sheet(activity)
    what = options.what or ("frames" if sheet else "space-time")
    if what in (("space-time",) if sheet else ("frames", "flow")):
        raise ValueError(f"--what {what}: the recording is of {'a sheet' if sheet else 'rings or lines'}")
    if what == "dispersion":
        # of waves on an endless line or sheet, which those between ends are made of
        endless = {"boundary": "periodic", "boundary_row": None, "mask": None, "rim": 0}
        return plot.dispersion(replace(wf.operator_of(rec), **endless).dispersion_relation()).figure
    if what == "snapshot":
        sites = "anywhere" if options.anywhere else None
        events = wf.decode(rec, sites=sites) if options.decode else None
        last = activity.isel(time=-1).load()
        return plot_sheets.snapshots(last, events) if sheet else plot.snapshot(last, events).figure
    if what == "flow":
        if "previous" not in rec:
            raise ValueError("--what flow needs the level before the last state, which a two-way field has")
        now, before = (level.isel(channel=0) for level in (activity.isel(time=-1), rec.previous))
        return plot_sheets.flow(now.load(), before.load()).figure
    return plot_sheets.frames(activity.load()) if sheet else plot.space_times(activity.load())


def _modes(options):
    if (options.size is None) == (options.mask is None):
        raise ValueError("give --size N, --size NY,NX or --mask FILE")
    if options.output is not None and Path(options.output).suffix not in (".nc", ".png", ".pdf", ".svg"):
        raise ValueError(f"--output must end in .nc, .png, .pdf or .svg, got {options.output!r}")
    mask = _mask(options.mask)
    sheet = mask is not None or isinstance(options.size, tuple)
    settings = {"mask": mask, "edge": options.edge} if mask is not None else {}
    boundary = "fixed" if mask is not None else options.edge
    operator = wf.wave(options.speed, dims=2 if sheet else 1, boundary=boundary, **settings)
    found = wf.modes(operator, options.size, count=options.count)
    lines = [f"{k + 1:4d}  {f:.9g}" for k, f in enumerate(found.frequency.values)]
    if options.output is not None:
        _write_modes(found, options.output)
        lines.append(f"wrote {options.output}")
    cli.tell(options, "mode  frequency (cycles per step)\n" + "\n".join(lines), {"frequency": found.frequency.values})


def _write_modes(found, path):
    import matplotlib

    matplotlib.use("Agg")
    from wavefield import plot, plot_sheets
    from wavefield.files import whole_or_nothing

    if path.endswith(".nc"):
        with whole_or_nothing(path) as scratch:
            found.to_netcdf(scratch, engine="h5netcdf")
    else:
        plot.save_figure(plot_sheets.mode_gallery(found, found.sizes["mode"]), path)


def _figure(options):
    cli.check_picture(options.output, "--output")
    import matplotlib
    import numpy as np

    matplotlib.use("Agg")
    from wavefield import figures, plot

    if options.name == "digit":
        figure = figures.digit(np.random.default_rng(options.seed))
    else:
        drawn = {"memory-of-a-wave": figures.memory_of_a_wave, "curves": figures.dispersion_and_memory}
        figure = (drawn | {"sheet": figures.sheet, "drums": figures.drums})[options.name]()
    plot.save_figure(figure, options.output)
    cli.tell(options, f"wrote {options.output}", {"figure": options.output})


def _memory(options):
    import matplotlib

    matplotlib.use("Agg")
    from wavefield import figures, plot
    from wavefield.capacity.sheets import tabulate

    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    tables = tabulate(folder, options.draws)
    plot.save_figure(figures.memory_of_sheets(tables), folder / "memory.png")
    written = {name: str(folder / name) for name in ("memory.csv", "readout.csv", "memory.png")}
    cli.tell(options, "\n".join(f"wrote {path}" for path in written.values()), written)


def _bench(options):
    from wavefield.bench import bench

    rows = bench(options.output, show=not (options.quiet or options.json))
    if options.json:
        cli.tell(options, "", [row._asdict() for row in rows])


if __name__ == "__main__":
    sys.exit(main())
