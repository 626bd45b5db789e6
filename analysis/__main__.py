"""Command line: ``python -m analysis diagnose RECORDING``."""

from __future__ import annotations

import argparse
import sys
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from analysis import plot
from analysis.diagnose import diagnose
from wavefield._atomic import whole_or_nothing
from wavefield.recording import open_recording


def main(argv=None) -> int:
    """Run one command. Bad input ends with a message and status 2."""
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Wave diagnostics of any recording.")
    commands = parser.add_subparsers(dest="command", required=True)
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
        _diagnose(options)
    except (ValueError, TypeError, OSError) as error:
        print(f"{parser.prog} {options.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _diagnose(options):
    with open_recording(options.recording) as rec, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they stand in the result, and are printed once below
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
