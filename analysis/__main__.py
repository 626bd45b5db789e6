"""Command line: ``python -m analysis import FILE``, ``diagnose RECORDING`` and ``compare MODEL RECORDING``."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from analysis import plot, report
from analysis.comparison.common_axes import AXES
from analysis.comparison.compare import compare
from analysis.diagnosis import diagnose
from analysis.readers import import_recording
from analysis.readers.endings import READERS
from wavefield.files import whole_or_nothing
from wavefield.recordings.recording import open_recording
from wavefield.version import __version__


def main(argv=None) -> int:
    """Run one command. Bad input ends with a message and status 2."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Wave diagnostics of any recording.")
    parser.add_argument("--version", action="version", version=f"wavefield {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    runs = {"import": _import, "diagnose": _diagnose, "compare": _compare}
    _import_options(commands)
    _compare_options(commands)
    command = commands.add_parser("diagnose", help="is there a wave, which way, how fast, can chance explain it")
    command.add_argument("recording", help="netCDF file of a recording")
    command.add_argument("-o", "--output", help="diagnostics to write, .nc")
    command.add_argument("--figure", help="one-page summary to write, .png or .pdf")
    command.add_argument("--channel", type=int, default=0, help="channel of the figure")
    command.add_argument("--band", type=float, nargs=2, metavar=("LOW", "HIGH"), help="frequencies to look at")
    command.add_argument("--mask-nan", action="store_true", help="take positions that hold NaN as dead")
    command.add_argument("--draws", type=int, default=999, help="surrogates of the direction test")
    command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    try:
        runs[options.command](options)
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"{parser.prog} {options.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _import_options(commands):
    command = commands.add_parser("import", help="neural data (NWB, Neo, MNE, .mat, .npz) into a recording")
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
    command.add_argument("--allow-external", action="store_true", help="read files that a trusted file links to")


def _compare_options(commands):
    command = commands.add_parser("compare", help="which wave properties of a model agree with a recording")
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


def _import(options):
    settings = {name: value for name, value in vars(options).items() if name not in ("command", "file", "output")}
    print(import_recording(options.file, options.output, **settings))


def _compare(options):
    named = [text.partition("=") for text in options.null]
    if wrong := [name for name, equals, file in named if not (equals and name and file)]:
        raise ValueError(f"--null takes NAME=FILE, got {wrong}")
    with ExitStack() as files:
        model, recording = (files.enter_context(open_recording(file)) for file in (options.model, options.recording))
        nulls = {name: files.enter_context(open_recording(file)) for name, _, file in named}
        result = compare(
            model,
            recording,
            nulls=nulls,
            axes=options.axes,
            space_scale=options.space_scale,
            time_scale=options.time_scale,
            cycles=options.cycles,
            frequencies=options.band,
            model_frequencies=options.model_band,
            draws=options.draws,
            seed=options.seed,
        )
    print(report.describe_comparison(result))
    if options.output:
        with whole_or_nothing(options.output) as scratch:
            result.to_netcdf(scratch, engine="h5netcdf")
    if options.table:
        report.write_table(result, options.table)
    if options.figure:
        figure = report.comparison_figure(result)
        with whole_or_nothing(options.figure) as scratch:
            figure.savefig(scratch, dpi=150)
        plt.close(figure)


def _diagnose(options):
    with open_recording(options.recording) as rec:
        result = diagnose(
            rec,
            seed=options.seed,
            draws=options.draws,
            band=tuple(options.band) if options.band else None,
            mask="nan" if options.mask_nan else None,
        )
        channels = result.sizes.get("channel", 1)
        for number in range(channels):
            one = _channel(result, number)
            print(f"channel {number}" if channels > 1 else options.recording)
            print(*(f"  {line}" for line in plot.describe(_trial(one)).splitlines()), sep="\n")
        for text in result.attrs["warnings"].splitlines():
            print(f"warning: {text}")
        if options.output:
            with whole_or_nothing(options.output) as scratch:
                result.to_netcdf(scratch, engine="h5netcdf")
        if options.figure:
            activity = _trial(_channel(rec, options.channel)).activity.load()
            figure = plot.summary(activity, _channel(result, options.channel))
            with whole_or_nothing(options.figure) as scratch:
                figure.savefig(scratch, dpi=150)
            plt.close(figure)


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
