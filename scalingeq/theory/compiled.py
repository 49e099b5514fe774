"""The innermost loops of the theory for numba, which the extra ``fast`` installs: the same numbers, several times sooner.

They are used wherever numba can be imported, from the first evaluation on, and kept on disk by numba. The environment
variable ``SCALINGEQ_COMPILED=0``, set before that evaluation, leaves all to NumPy. Each loop stands in for the NumPy
code of the same purpose next to its call; sums are taken in another order, so that results differ by rounding alone.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalingeq.theory.compiled_losses import invert, product, train
from scalingeq.theory.compiled_march import at_times, decay, march, march_tangents
from scalingeq.theory.compiled_pairs import forcing, kernel, pair
from scalingeq.theory.compiled_panels import breaks, noise_in, time_at, totals
from scalingeq.theory.compiled_slopes import slopes
from scalingeq.theory.spectrum import ComplexArray, FloatArray


class Loops(NamedTuple):
    """Compiled loops.

    Attributes
    ----------
    walk : callable
        Function of this module.
    pair, forcing, kernel : callable
        Those of `scalingeq.theory.compiled_pairs`.
    slopes : callable
        That of `scalingeq.theory.compiled_slopes`.
    train, invert, product : callable
        Those of `scalingeq.theory.compiled_losses`.
    decay, march, march_tangents, at_times : callable
        Those of `scalingeq.theory.compiled_march`.
    totals, time_at, breaks, noise_in : callable
        Those of `scalingeq.theory.compiled_panels`.
    """

    walk: Callable[..., None]
    pair: Callable[..., None]
    forcing: Callable[..., None]
    kernel: Callable[..., None]
    slopes: Callable[..., None]
    train: Callable[..., None]
    invert: Callable[..., None]
    product: Callable[..., None]
    decay: Callable[..., None]
    march: Callable[..., None]
    march_tangents: Callable[..., None]
    at_times: Callable[..., None]
    totals: Callable[..., None]
    time_at: Callable[..., None]
    breaks: Callable[..., None]
    noise_in: Callable[..., None]


@cache
def loops() -> Loops | None:
    """Compiled loops, or None where numba is missing or switched off."""
    if os.environ.get("SCALINGEQ_COMPILED") == "0":
        return None
    try:
        numba = importlib.import_module("numba")
    except ImportError:
        return None
    # Sums may be taken in any order, so that they fill the processor's vectors; nothing else may change.
    compile_: Callable[[Callable[..., Any]], Callable[..., Any]] = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"}
    )
    own = (
        walk, pair, forcing, kernel, slopes, train, invert, product, decay, march, march_tangents, at_times, totals,
        time_at, breaks, noise_in,
    )  # fmt: skip
    return Loops(*(compile_(loop) for loop in own))


def walk(
    path: ComplexArray,
    first: ComplexArray,
    prediction: ComplexArray,
    eigenvalue: FloatArray,
    modes: FloatArray,
    target: FloatArray,
    per_width: FloatArray,
    per_sample: FloatArray,
    passes: int,
    short: float,
    last_step: float,
    fields: ComplexArray,
    found: NDArray[np.bool_],
) -> None:  # pragma: no cover (coverage does not see compiled code)
    """Follow the renormalised frequency along paths (path, point), as `scalingeq.theory.following` describes.

    ``first`` (path or 1,) is the first step in log s and ``prediction`` (path or 1, point, 6) the weights of the
    others. The last two arguments take the results.
    """
    rows, points = path.shape
    # Filled up with nodes of no weight, so that the processor's vectors hold all of them.
    nodes = (eigenvalue.size + 15) // 16 * 16
    eigen, inverse, columns = np.ones(nodes), np.empty(nodes), np.zeros((5, nodes))
    for i in range(eigenvalue.size):
        eigen[i] = eigenvalue[i]
        columns[0, i] = modes[i] * eigenvalue[i]
        columns[1, i] = target[i]
        for n in range(2):
            columns[2 + n, i] = columns[n, i] * eigenvalue[i]
        columns[4, i] = columns[2, i] * eigenvalue[i]
    trace = columns[0].sum()
    history = np.empty((points + 1, 2), dtype=np.complex128)
    power = np.empty((3, 3), dtype=np.complex128)
    for row in range(rows):
        p, q = per_width[row], per_sample[row]
        copy = row if prediction.shape[0] > 1 else 0
        goal = path[row, 0].real
        low, high = goal, goal + trace * (p + q)
        root = high
        for _ in range(200):
            degrees, slope = 0.0, 0.0
            for i in range(nodes):
                one = 1.0 / (root + eigen[i])
                degrees += columns[0, i] * one
                slope += columns[0, i] * one * one
            a, b = 1 - p * degrees, 1 - q * degrees
            value = root * a * b
            if value < goal or a < 0 or b < 0:
                low = root
            else:
                high = root
            new = -1.0
            if a > 0 and b > 0:
                # In logarithms, in which power laws are lines.
                new = root * np.exp(np.log(goal / value) * (a * b) / (a * b + root * slope * (b * p + a * q)))
            if not (new >= low and new <= high):
                new = np.sqrt(low * high)
            change = abs(new - root)
            root = new
            # The step from here on is the square of this one, and the first point below takes one more.
            if change <= 1e-5 * root:
                break
        guess, step = complex(root), complex(0.0)
        log = complex(np.log(root))
        for point in range(points):
            if point == 1:
                log += history[1, 1] * first[copy]
            elif point > 1:
                log = complex(0.0)
                for i in range(3):
                    log += history[point - 2 + i, 0] * prediction[copy, point, 2 * i]
                    log += history[point - 2 + i, 1] * prediction[copy, point, 2 * i + 1]
            if point > 0:
                growth = np.exp(log.real)
                guess = complex(growth * np.cos(log.imag), growth * np.sin(log.imag))
            s = path[row, point]
            start = guess
            for _ in range(passes):
                x0, y = guess.real, guess.imag
                yy = y * y
                a0 = b0 = c0 = d0 = e0 = 0.0
                a1 = b1 = c1 = d1 = 0.0
                a2 = b2 = c2 = d2 = 0.0
                # Two loops, whose sums fit into the processor's registers.
                for i in range(nodes):
                    x = x0 + eigen[i]
                    one = 1.0 / (x * x + yy)
                    inverse[i] = one
                    a0 += columns[0, i] * one
                    b0 += columns[1, i] * one
                    c0 += columns[2, i] * one
                    d0 += columns[3, i] * one
                    e0 += columns[4, i] * one
                for i in range(nodes):
                    square = inverse[i] * inverse[i]
                    cube = square * inverse[i]
                    w = columns[0, i]
                    a1 += w * square
                    a2 += w * cube
                    w = columns[1, i]
                    b1 += w * square
                    b2 += w * cube
                    w = columns[2, i]
                    c1 += w * square
                    c2 += w * cube
                    w = columns[3, i]
                    d1 += w * square
                    d2 += w * cube
                turn, conjugate = complex(0.0, -2 * y), complex(x0, -y)
                for i, plain0, plain1, plain2, moment0, moment1, moment2 in (
                    (0, a0, a1, a2, c0, c1, c2),
                    (1, b0, b1, b2, d0, d1, d2),
                ):
                    mixed = moment1 + conjugate * plain1
                    power[0, i] = moment0 + conjugate * plain0
                    power[1, i] = plain0 + turn * mixed
                    power[2, i] = mixed + turn * (plain1 + turn * (moment2 + conjugate * plain2))
                # Where the last weight is a moment of the first, so are its sums; the first power would cancel.
                power[0, 2] = e0 + conjugate * c0
                power[1, 2] = power[0, 0] - guess * power[1, 0]
                power[2, 2] = power[1, 0] - guess * power[2, 0]
                df, drop, curvature = power[0, 0], power[1, 0], power[2, 0]
                left, right = 1 - df * p, 1 - df * q
                both = left * q + right * p
                product = left * right
                derivative = guess * both * drop + product
                second = guess * (drop * drop * (p * q) - curvature * both) + both * drop
                # Quotients of complex numbers take far more time than products, by a real number too.
                over = derivative.conjugate() * (1 / (derivative.real**2 + derivative.imag**2))
                newton = (s - guess * product) * over
                step = newton * (1 - newton * second * over)
                guess = guess + step
                if step.real**2 + step.imag**2 <= short**2 * (s.real**2 + s.imag**2):
                    break
            steep = guess * (derivative + 2 * step * second)
            slope_of_root = s * steep.conjugate() * (1 / (steep.real**2 + steep.imag**2))
            for i in range(3):
                total = power[0, i] - step * (power[1, i] - step * power[2, i])
                fields[2 + i, row, point] = total
                if i < 2:
                    fields[5 + i, row, point] = 2 * step * power[2, i] - power[1, i]
                    fields[7 + i, row, point] = 2 * power[2, i]
            fields[0, row, point] = guess
            if p >= q:
                left = 1 - fields[2, row, point] * q
                fields[1, row, point] = s * left.conjugate() * (1 / (left.real**2 + left.imag**2))
            else:
                fields[1, row, point] = guess * (1 - fields[2, row, point] * p)
            # Square roots take a third of the time of moduli.
            modulus = np.sqrt(guess.real**2 + guess.imag**2)
            slack = -1e-9 * modulus
            found[row, point] = (
                step.real**2 + step.imag**2 <= (last_step * modulus) ** 2
                and guess.imag >= slack
                and s.imag * guess.real - s.real * guess.imag >= np.sqrt(s.real**2 + s.imag**2) * slack
            )
            # The series of the logarithm, where the guess was as good as it is but for the first points.
            moved = (guess - start) * start.conjugate() * (1 / (start.real**2 + start.imag**2))
            if abs(moved.real) + abs(moved.imag) < 1e-3:
                log += moved * (1 - moved * (1 / 2 - moved * (1 / 3 - moved * (1 / 4 - moved * (1 / 5)))))
            else:
                log = np.log(guess)
            history[point + 1, 0] = log
            history[point + 1, 1] = slope_of_root
            if point == 1:
                history[0, 0] = history[2, 0].conjugate()
                history[0, 1] = history[2, 1].conjugate()
