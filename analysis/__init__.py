"""Wave diagnostics of any recording: is there a wave, which way, how fast, and can chance explain it?"""

from analysis import plot, plot_memory, synthetic
from analysis.background import background_normalised_spectrum, diagonal_power, ridge_power
from analysis.compare import compare
from analysis.csd import current_source_density
from analysis.diagnose import diagnose
from analysis.direction import direction_index, directional_filter, travelling_index
from analysis.dispersion import dispersion_ridge, fit_dispersion, ridge_velocity
from analysis.events import wave_events
from analysis.evoked import compare_evoked, drive_events, evoked_latency
from analysis.features import wave_features
from analysis.grid import grid_electrodes
from analysis.patterns import divergence_and_curl, phase_distance_correlation, rotation_correlation, singularities
from analysis.phase import analytic_signal, generalized_phase, phase_gradient, phase_gradient_directionality
from analysis.recovery import NoWaveError, boundary_agreement, published_recovery, recover_waves, wave_states
from analysis.significance import direction_test, structure_test
from analysis.spectral_comparison import compare_spectra
from analysis.spectrum import wavenumber_frequency_spectrum
from analysis.surrogates import surrogate
from analysis.velocity import delay_velocity, phase_gradient_velocity, radon_velocity

__all__ = [
    "NoWaveError",
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
