"""The theory of stochastic gradient descent on power-law random features, in plain NumPy arrays."""

from scalingeq.theory.correlation import correlation, response
from scalingeq.theory.dynamics import flow_loss, forcing, kernel, kernel_exponentials
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
from scalingeq.theory.phases import LocalExponents, Phase, local_exponents, phase
from scalingeq.theory.schedule import Schedule
from scalingeq.theory.simulate import Simulation, simulate
from scalingeq.theory.spectrum import PowerLaw, Spectrum
from scalingeq.theory.stability import largest_eigenvalue, largest_learning_rate
from scalingeq.theory.statics import random_features_loss, ridge_regression_loss, static_loss
from scalingeq.theory.training import Decomposition, decompose, flow_is_accurate_from, loss_curve, scheduled_loss
from scalingeq.theory.volterra import Exponentials, fit_exponentials

__all__ = [
    "Decomposition",
    "Exponentials",
    "LocalExponents",
    "Phase",
    "PowerLaw",
    "Schedule",
    "Simulation",
    "Spectrum",
    "correlation",
    "decompose",
    "degrees_of_freedom",
    "fit_exponentials",
    "flow_is_accurate_from",
    "flow_loss",
    "forcing",
    "forcing_two_point",
    "kernel",
    "kernel_exponentials",
    "kernel_two_point",
    "largest_eigenvalue",
    "largest_learning_rate",
    "local_exponents",
    "loss_curve",
    "one_point_equivalent",
    "phase",
    "random_features_loss",
    "renormalised_frequency",
    "response",
    "ridge_regression_loss",
    "s_transform",
    "saturated_frequency",
    "scheduled_loss",
    "simulate",
    "spectrum_from_features",
    "spectrum_from_kernel",
    "static_loss",
    "two_point_equivalent",
]
