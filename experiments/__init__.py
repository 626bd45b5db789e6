"""Experiments: configs, training runs, sweeps, the papers' tables, benchmarks. Nothing imports this package."""
