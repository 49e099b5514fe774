"""What is said of a covariance: combinations first, trade-offs, priors and flat directions, each where it is so."""

import numpy as np

from scalingeq.inference.identifiability import findings

VALUES = {"alpha": 1.5, "r": 0.3, "width_exponent": 0.5, "scale": 2.0, "time_scale": 20.0, "noise_scale": 0.0}


def log_covariance(relative):
    """Covariance of the parameters from that of the logarithms of the first five."""
    unit = np.array(list(VALUES.values()))[:5]
    out = np.zeros((6, 6))
    out[:5, :5] = relative * np.outer(unit, unit)
    return out


def test_a_well_determined_fit_has_little_said_of_it():
    assert findings(VALUES, log_covariance(0.01**2 * np.eye(5)), np.zeros(6)) == ()


def test_what_trades_off_is_named_with_the_combination_that_is_known():
    """alpha and width_exponent known to 20 %, their product to 3 %."""
    relative = 1e-4 * np.eye(5)
    relative[np.ix_([0, 2], [0, 2])] = 0.2**2 * np.array([[1.0, -0.99], [-0.99, 1.0]])
    lines = findings(VALUES, log_covariance(relative), np.zeros(6))
    product = 100 * np.sqrt(relative[0, 0] + relative[2, 2] + 2 * relative[0, 2] + relative[1, 1])
    assert lines[0].startswith("2 r is determined to 1 %")
    assert f"2 alpha r width_exponent to {product:.2g} %" in lines[0]
    assert lines[0].endswith("better than alpha (20 %), width_exponent (20 %).")
    assert lines[1] == "alpha and width_exponent trade off (correlation -0.99)."


def test_a_common_rescaling_is_a_flat_direction():
    """scale and time_scale known to a factor of e, along a line: scale^-0.55 time_scale^0.83."""
    line = np.array([0, 0, 0, -0.5547, 0.83205])
    lines = findings(VALUES, log_covariance(1e-4 * np.eye(5) + np.outer(line, line)), np.array([0, 0, 0, 0.9, 0.9, 0]))
    assert "The priors have more than half of the say in scale, time_scale." in lines
    assert (
        lines[-1]
        == "A flat direction: time_scale^0.83, scale^-0.55 move together by a factor of 2.7 (one standard error)."
    )


def test_what_is_not_known_at_all_moves_by_any_factor():
    """A standard error of 180,000 times the value, of a width that no exponent lets matter."""
    lines = findings(VALUES, log_covariance(np.diag([1e-4, 1e-4, 1e-4, 1e-4, 1.8e5**2])), np.zeros(6))
    assert lines[-1] == "A flat direction: time_scale^1 moves by any factor."
