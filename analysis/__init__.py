"""Wave diagnostics of any recording: is there a wave, which way, how fast, and can chance explain it?"""

from analysis import plot, plot_memory, preprocess, readers, report, similarity, synthetic
from analysis.comparison.compare import compare
from analysis.comparison.evoked import compare_evoked, drive_events, evoked_latency
from analysis.comparison.features import wave_features
from analysis.diagnosis import diagnose
from analysis.direction.index import direction_index, directional_filter, travelling_index
from analysis.direction.plane import plane_direction_test
from analysis.direction.significance import direction_test, structure_test
from analysis.direction.surrogates import surrogate
from analysis.events.detection import wave_events
from analysis.fields.current_sources import current_source_density
from analysis.fields.grid import grid_electrodes
from analysis.phase.patterns import divergence_and_curl, phase_distance_correlation, rotation_correlation, singularities
from analysis.phase.signal import analytic_signal, generalized_phase, phase_gradient, phase_gradient_directionality
from analysis.spectra.background import background_normalised_spectrum, diagonal_power, ridge_power
from analysis.spectra.dispersion import dispersion_ridge, fit_dispersion
from analysis.spectra.spectrum import wavenumber_frequency_spectrum
from analysis.velocity.estimators import delay_velocity, phase_gradient_velocity, radon_velocity
from analysis.velocity.ridge import ridge_velocity
from analysis.working_memory.eigenvalues import compare_spectra
from analysis.working_memory.recovery import (
    NoWaveError,
    boundary_agreement,
    published_recovery,
    recover_waves,
    wave_states,
)
from wavefield.version import __version__

__all__ = [
    "NoWaveError",
    "__version__",
    "analytic_signal",
    "background_normalised_spectrum",
    "boundary_agreement",
    "compare",
    "compare_evoked",
    "compare_spectra",
    "current_source_density",
    "delay_velocity",
    "diagnose",
    "diagonal_power",
    "direction_index",
    "direction_test",
    "directional_filter",
    "dispersion_ridge",
    "divergence_and_curl",
    "drive_events",
    "evoked_latency",
    "fit_dispersion",
    "generalized_phase",
    "grid_electrodes",
    "phase_distance_correlation",
    "phase_gradient",
    "phase_gradient_directionality",
    "phase_gradient_velocity",
    "plane_direction_test",
    "plot",
    "plot_memory",
    "preprocess",
    "published_recovery",
    "radon_velocity",
    "readers",
    "recover_waves",
    "report",
    "ridge_power",
    "ridge_velocity",
    "rotation_correlation",
    "similarity",
    "singularities",
    "structure_test",
    "surrogate",
    "synthetic",
    "travelling_index",
    "wave_events",
    "wave_features",
    "wave_states",
    "wavenumber_frequency_spectrum",
]
