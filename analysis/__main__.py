"""Command line: ``python -m analysis import FILE``, ``diagnose RECORDING`` and ``compare MODEL RECORDING``.

Once installed, ``wavefield-analysis`` does the same.
"""

from __future__ import annotations

import argparse
import errno
import sys
from contextlib import ExitStack
from pathlib import Path

from wavefield import cli
from wavefield.version import __version__

AXES = ("normalised", "fitted", "given", "same")  # of `analysis.compare`
READERS = ("nwb", "neo", "mne", "arrays")  # of `analysis.readers`
SHOWN_APART = ("frequency", "wavenumber", "draw", "stretch")  # what lies along these is for files, not for JSON


def main(argv=None) -> int:
    """Run one command. Bad input ends with a message and status 2."""
    name = cli.program("wavefield-analysis", "analysis")
    parser = argparse.ArgumentParser(
        prog=name,
        description="Wave diagnostics of any recording.",
        **cli.examples(name, "import session.nwb -o session.nc\ndiagnose session.nc --figure waves.png\nimport -h"),
    )
    parser.add_argument("--version", action="version", version=f"wavefield {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(command, about, lines):
        added = commands.add_parser(command, help=about, description=about, **cli.examples(name, lines))
        cli.add_output_options(added)
        return added

    _import_options(add)
    _diagnose_options(add)
    _compare_options(add)
    options = parser.parse_args(argv)
    runs = {"import": _import, "diagnose": _diagnose, "compare": _compare}
    return cli.carry_out(
        runs[options.command],
        options,
        name=f"{parser.prog} {options.command}: ",
        memory="take a shorter stretch, or fewer --draws",
    )


def _diagnose_options(add):
    command = add(
        "diagnose",
        "is there a wave, which way, how fast, can chance explain it",
        "diagnose field.nc\ndiagnose session.nc --band 8 30 -o diagnostics.nc --figure waves.png",
    )
    command.add_argument("recording", help="netCDF file of a recording")
    command.add_argument("-o", "--output", help="diagnostics to write, .nc")
    command.add_argument("--figure", help="one-page summary to write, .png or .pdf")
    command.add_argument("--channel", type=int, default=0, help="channel of the figure")
    command.add_argument("--band", type=float, nargs=2, metavar=("LOW", "HIGH"), help="frequencies to look at")
    command.add_argument("--mask-nan", action="store_true", help="take positions that hold NaN as dead")
    command.add_argument("--flow", action="store_true", help="ask optical flow for the speed, too (grids)")
    command.add_argument("--draws", type=int, default=999, help="surrogates of the direction test")
    command.add_argument("--seed", type=int, default=0)
    _external(command)


def _external(command):
    command.add_argument("--allow-external", action="store_true", help="read files that a trusted file links to")


def _import_options(add):
    command = add(
        "import",
        "neural data (NWB, Neo, MNE, .mat, .npz) into a recording; NWB, Neo and MNE need the extra of their name: "
        "pip install 'wavefield[nwb]'",
        "import session.nwb --series ElectricalSeries -o session.nc\n"
        "import lfp.npz --series lfp --rate 500 --positions places --position-units mm --units uV -o lfp.nc",
    )
    command.add_argument("file", help="file or folder to read")
    command.add_argument("-o", "--output", required=True, help="recording to write, .nc")
    command.add_argument("--series", help="electrical series, stream, kind of channel or variable to import")
    command.add_argument("--reader", choices=READERS, help="by default by the ending of the name")
    command.add_argument("--rate", help="of arrays: samples per second, or the variable that says it")
    command.add_argument("--segment", type=int, help="of vendors' formats: which segment")
    command.add_argument("--units", help="of the values, where the file does not say: uV, mV, V, 1")
    command.add_argument(
        "--positions", help="places of the electrodes: .csv, .tsv, .npy, or a variable of an array file"
    )
    command.add_argument("--position-units", choices=("m", "cm", "mm", "um"))
    command.add_argument("--dead", type=int, nargs="+", default=(), metavar="NUMBER", help="dead electrodes, from 0")
    command.add_argument("--grid", action="store_true", help="put the electrodes on a regular grid")
    command.add_argument("--spacing", type=float, help="of the grid, mm")
    command.add_argument("--start", type=float, help="seconds of the file")
    command.add_argument("--stop", type=float, help="seconds of the file")
    command.add_argument("--overwrite", action="store_true", help="replace what an interrupted import left")
    _external(command)


def _compare_options(add):
    command = add(
        "compare",
        "which wave properties of a model agree with a recording",
        "compare model.nc session.nc --figure comparison.png\n"
        "compare model.nc session.nc --null bump=static.nc --table comparison.csv --json",
    )
    command.add_argument("model", help="recording of the model, .nc")
    command.add_argument("recording", help="recording to compare it with, .nc")
    command.add_argument("-o", "--output", help="comparison to write, .nc")
    command.add_argument("--figure", help="one-page figure to write, .png or .pdf")
    command.add_argument("--table", help="table to write, .csv")
    command.add_argument("--null", nargs="+", default=(), metavar="NAME=FILE", help="further models, for scale")
    command.add_argument("--axes", choices=AXES, default="normalised")
    command.add_argument("--space-scale", type=float, help="with --axes given: the recording's length per model's")
    command.add_argument("--time-scale", type=float, help="with --axes given: the recording's time per model's")
    command.add_argument("--cycles", type=float, help="length of a stretch, in periods of the spectral peak")
    command.add_argument("--band", type=float, nargs=2, metavar=("LOW", "HIGH"), help="frequencies of the recording")
    command.add_argument("--model-band", type=float, nargs=2, metavar=("LOW", "HIGH"), help="frequencies of the model")
    command.add_argument("--draws", type=int, default=999, help="permutations and bootstrap draws")
    command.add_argument("--seed", type=int, default=0)
    _external(command)


def _import(options):
    from analysis.readers import import_recording

    others = ("command", "file", "output", "quiet", "verbose", "json")
    settings = {name: value for name, value in vars(options).items() if name not in others}
    path = import_recording(options.file, options.output, **settings)
    cli.tell(options, str(path), {"recording": path})


def _compare(options):
    import analysis
    from wavefield import open_recording

    _check_outputs(options.output, options.table, options.figure)
    cli.check_picture(options.figure, "--figure")
    named = [text.partition("=") for text in options.null]
    if wrong := [name for name, equals, file in named if not (equals and name and file)]:
        raise ValueError(f"--null takes NAME=FILE, got {wrong}")
    with ExitStack() as files:

        def opened(file):
            return files.enter_context(open_recording(file, allow_external=options.allow_external))

        result = analysis.compare(
            opened(options.model),
            opened(options.recording),
            nulls={name: opened(file) for name, _, file in named},
            axes=options.axes,
            space_scale=options.space_scale,
            time_scale=options.time_scale,
            cycles=options.cycles,
            frequencies=options.band,
            model_frequencies=options.model_band,
            draws=options.draws,
            seed=options.seed,
        )
    _write(result, options.output)
    if options.table:
        analysis.report.write_table(result, options.table)
    if options.figure:
        _draw(lambda: analysis.report.comparison_figure(result), options.figure)
    found = {"settings": result.attrs, **cli.labelled(result, SHOWN_APART)}
    cli.tell(options, analysis.report.describe_comparison(result), found)


def _diagnose(options):
    import analysis
    from wavefield import open_recording

    _check_outputs(options.output, options.figure)
    cli.check_picture(options.figure, "--figure")
    with open_recording(options.recording, allow_external=options.allow_external) as rec:
        result = analysis.diagnose(
            rec,
            seed=options.seed,
            draws=options.draws,
            band=tuple(options.band) if options.band else None,
            mask="nan" if options.mask_nan else None,
            flow=options.flow,
        )
        _write(result, options.output)
        if options.figure:
            activity = _trial(_channel(rec, options.channel)).activity.load()
            _draw(lambda: analysis.plot.summary(activity, _channel(result, options.channel)), options.figure)
    warnings, channels = result.attrs["warnings"].splitlines(), result.sizes.get("channel", 1)
    lines = []
    for number in range(channels):
        lines.append(f"channel {number}" if channels > 1 else options.recording)
        described = analysis.plot.describe(_trial(_channel(result, number)))
        lines += [f"  {line}" for line in described.splitlines()]
    lines += [f"warning: {text}" for text in warnings]
    settings = {name: value for name, value in result.attrs.items() if name != "warnings"}
    found = {"settings": settings, "warnings": warnings, **cli.labelled(result, SHOWN_APART)}
    cli.tell(options, "\n".join(lines), found)


def _check_outputs(*paths):
    """Refuse what cannot be written before anything is computed."""
    for path in (Path(path) for path in paths if path):
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder, not a file to write", str(path))


def _write(result, path):
    if path:
        from wavefield.files import whole_or_nothing

        with whole_or_nothing(path) as scratch:
            result.to_netcdf(scratch, engine="h5netcdf")


def _draw(draw, path):
    import matplotlib

    matplotlib.use("Agg")  # pictures are written, none is shown
    from wavefield.plot import save_figure

    save_figure(draw(), path)


def _channel(data, number):
    if "channel" not in data.dims:
        return data
    if not 0 <= number < data.sizes["channel"]:
        raise ValueError(f"--channel must lie in 0…{data.sizes['channel'] - 1}, got {number}")
    return data.isel(channel=number)


def _trial(data):
    return data.isel(trial=0) if "trial" in data.dims else data


if __name__ == "__main__":
    sys.exit(main())
