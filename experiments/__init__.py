"""Experiments: configs, training runs, sweeps, the papers' tables, benchmarks. Nothing imports this package."""

from wavefield.version import __version__

__all__ = ["__version__"]
