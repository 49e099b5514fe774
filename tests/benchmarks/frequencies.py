"""Find the frequencies of ``scalingeq.theory.laplace``: ``python tests/benchmarks/frequencies.py [number]``.

The errors of exponentials at some rates and times are least squares in the weights, which are solved for; what is left
of them is least squares in the frequencies (variable projection).
"""

import sys

import numpy as np
from scipy.optimize import least_squares

from scalingeq.theory import laplace

TIMES, RATES = np.geomspace(1 / laplace.WINDOW, 1, 12), np.append(0.0, np.geomspace(1e-2, 1e5, 220))


def from_logarithms(values):
    """Frequencies with logarithms of their moduli and, but for the first, which is real, angles."""
    count = (values.size + 1) // 2
    return np.exp(values[:count] + 1j * np.append(0.0, values[count:]))


def errors(values):
    """Errors (time, rate + part) of exponentials and sizes of weights, and their derivatives (..., value)."""
    frequency = from_logarithms(values)
    counted, design = laplace.design(frequency, RATES)
    q, r = np.linalg.qr(design)
    wanted = np.zeros((TIMES.size, len(design)))
    wanted[:, : RATES.size] = np.exp(-np.multiply.outer(TIMES, RATES)) * counted[:, 0]
    weights = np.linalg.solve(r, q.T @ wanted.T).T
    left = wanted - (wanted @ q) @ q.T
    left -= (left @ q) @ q.T
    # Each column of the design changes with the modulus and the angle of its own frequency.
    owner = np.append(np.arange(frequency.size), np.arange(1, frequency.size))
    turning = -frequency / (RATES[:, None] + frequency) ** 2
    slopes = []
    for steep, sizes in ((turning, -design[RATES.size :]), (1j * turning, 0 * design[RATES.size :])):
        column = np.concatenate([np.concatenate([steep.real, -steep.imag[:, 1:]], axis=1) * counted, sizes])
        through_fit = np.linalg.solve(r.T, (left @ column)[:, :, None] * np.eye(owner.size))
        moved = column * weights[:, None]
        slope = -(moved - q @ (q.T @ moved) + q @ through_fit)
        slopes.append(np.stack([slope[..., owner == n].sum(axis=2) for n in range(frequency.size)], axis=2))
    return left, np.concatenate([slopes[0], slopes[1][..., 1:]], axis=2)


def find(number):
    """Frequencies that leave the smallest mean square, with increasing angle."""
    place = np.arange(number) / number
    start = np.append(np.log(4) + 3.8 * place, 2.4 * place[1:])
    # In units of about the errors that are left.
    unit = 1e-12
    found = from_logarithms(
        least_squares(
            lambda x: errors(x)[0].ravel() / unit,
            start,
            lambda x: errors(x)[1].reshape(-1, x.size) / unit,
            x_scale="jac",
            max_nfev=1000,
        ).x
    )
    return found[np.argsort(np.angle(found))]


if __name__ == "__main__":
    found = find(int(sys.argv[1]) if len(sys.argv) > 1 else laplace.NODES)
    print(", ".join(f"{s.real:.5g}{s.imag:+.5g}j" for s in found))
