# The public names and the modules they are in, which are loaded when a name is first used.

from . import plot, plot_memory, preprocess, readers, report, similarity, synthetic
from .comparison.compare import compare
from .comparison.evoked import compare_evoked, drive_events, evoked_latency
from .comparison.features import wave_features
from .diagnosis import diagnose
from .direction.index import direction_index, directional_filter, travelling_index
from .direction.plane import plane_direction_test
from .direction.significance import direction_test, structure_test
from .direction.surrogates import surrogate
from .events.detection import wave_events
from .fields.current_sources import current_source_density
from .fields.grid import grid_electrodes
from .phase.patterns import divergence_and_curl, phase_distance_correlation, rotation_correlation, singularities
from .phase.signal import analytic_signal, generalized_phase, phase_gradient, phase_gradient_directionality
from .spectra.background import background_normalised_spectrum, diagonal_power, ridge_power
from .spectra.dispersion import dispersion_ridge, fit_dispersion
from .spectra.spectrum import wavenumber_frequency_spectrum
from .velocity.estimators import delay_velocity, optical_flow_velocity, phase_gradient_velocity, radon_velocity
from .velocity.ridge import ridge_velocity
from .working_memory.eigenvalues import compare_spectra
from .working_memory.recovery import (
    NoWaveError,
    boundary_agreement,
    published_recovery,
    recover_waves,
    wave_states,
)

__version__: str

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
    "optical_flow_velocity",
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
