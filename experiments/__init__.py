"""Experiments: configs, training runs, sweeps, the papers' tables, benchmarks. Nothing imports this package."""


def __getattr__(name: str):
    if name == "__version__":  # loads wavefield, which the help of a command does not need
        from wavefield.version import __version__

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
