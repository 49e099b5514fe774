"""The theory of stochastic gradient descent on power-law random features, in plain NumPy arrays."""

from scalingeq.theory.dynamics import flow_loss, forcing, kernel, kernel_exponentials, loss_curve
from scalingeq.theory.equivalents import (
    degrees_of_freedom,
    forcing_two_point,
    kernel_two_point,
    one_point_equivalent,
    renormalised_frequency,
    s_transform,
    saturated_frequency,
    two_point_equivalent,
)
from scalingeq.theory.estimation import spectrum_from_features, spectrum_from_kernel
from scalingeq.theory.simulate import Simulation, simulate
from scalingeq.theory.spectrum import PowerLaw, Spectrum
from scalingeq.theory.stability import largest_eigenvalue, largest_learning_rate
from scalingeq.theory.statics import static_loss
from scalingeq.theory.volterra import Exponentials, fit_exponentials

__all__ = [
    "Exponentials",
    "PowerLaw",
    "Simulation",
    "Spectrum",
    "degrees_of_freedom",
    "fit_exponentials",
    "flow_loss",
    "forcing",
    "forcing_two_point",
    "kernel",
    "kernel_exponentials",
    "kernel_two_point",
    "largest_eigenvalue",
    "largest_learning_rate",
    "loss_curve",
    "one_point_equivalent",
    "renormalised_frequency",
    "s_transform",
    "saturated_frequency",
    "simulate",
    "spectrum_from_features",
    "spectrum_from_kernel",
    "static_loss",
    "two_point_equivalent",
]
