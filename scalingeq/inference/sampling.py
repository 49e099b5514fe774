"""Draws from the posterior of a fit: Markov chains with emcee, through lmfit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import ParameterError, raise_problems
from .covariance import PenalisedLeastSquares, covariance_of
from .curves import Floats

if TYPE_CHECKING:
    from lmfit import Parameters

BURN_IN = 0.5  # share of the kept steps that are made and thrown away before them
INSTALL = "sampling needs emcee; install it with: pip install 'scalingeq[mcmc]'"


class Chains(NamedTuple):
    """Draws of all chains: values (draw, parameter), and their making.

    ``walker`` (draw,) is the chain of each draw, ``log_probability`` (draw,) its unnormalised log posterior,
    ``acceptance_fraction`` (walker,) the share of the steps taken, ``autocorrelation_time`` (parameter,) in steps, NaN for
    what is held, ``notes`` what to mind.
    """

    values: Floats
    walker: Floats
    log_probability: Floats
    acceptance_fraction: Floats
    autocorrelation_time: Floats
    notes: tuple[str, ...]


def sample(
    objective: PenalisedLeastSquares,
    params: Parameters,
    draws: int = 4000,
    walkers: int | None = None,
    seed: int = 0,
    *,
    progress: bool = False,
) -> Chains:
    """Draw from exp(-½ Σ residuals²): the likelihood that the fit maximised, times its priors, inside the bounds.

    Parameters
    ----------
    objective : PenalisedLeastSquares
        What the fit minimised, its data balanced by the effective number of points.
    params : lmfit.Parameters
        At the minimum.
    draws : int
        Draws that are kept, of all walkers together; rounded up to whole steps.
    walkers : int, optional
        Chains, at least twice as many as free parameters; default four times.
    seed : int
        Of the random numbers.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ParameterError
        If emcee is not installed, or draws or walkers are too few.

    Notes
    -----
    Affine-invariant ensembles (Goodman & Weare 2010; Foreman-Mackey et al., arXiv:1202.3665) begin at the fit, scattered
    by its covariance.

    Examples
    --------
    >>> import lmfit
    >>> class Line:
    ...     free, weight, run = ["level", "slope"], np.ones(3), np.arange(3)
    ...     def residuals(self, params):
    ...         return params["level"] + params["slope"] * np.array([-1.0, 0.0, 1.0]) - np.array([0.1, -0.2, 0.1])
    ...     def jacobian(self, params):
    ...         return np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> params = lmfit.Parameters()
    >>> params.add_many(("level", 0.0), ("slope", 0.0))
    >>> sample(Line(), params, draws=64, walkers=8).values.shape
    (64, 2)
    """
    params = params.copy()
    free = objective.free
    walkers = 4 * len(free) if walkers is None else walkers
    problems = []
    if importlib.util.find_spec("emcee") is None:
        problems.append(INSTALL)
    if walkers < 2 * len(free):
        problems.append(f"walkers: {walkers} for {len(free)} free parameters; pass at least twice as many")
    if draws < 1:
        problems.append(f"draws: {draws} is not a positive number; pass one")
    raise_problems(problems, ParameterError)

    from lmfit import Minimizer

    covariance = covariance_of(objective, params).matrix
    steps = -(-draws // walkers)
    burn = int(np.ceil(BURN_IN * steps))
    minimizer = Minimizer(objective.residuals, params, calc_covar=False)
    start = _scattered(params, free, covariance, walkers, seed)
    with np.errstate(all="ignore"):  # a proposal outside the theory's domain has no finite loss, and is not taken
        # lmfit prints that chains are short; the notes say it.
        with contextlib.redirect_stdout(io.StringIO()):
            result = minimizer.emcee(
                steps=burn + steps,
                nwalkers=walkers,
                burn=burn,
                pos=start,
                seed=seed,
                is_weighted=True,
                progress=progress,
            )
        measured = minimizer.sampler.get_autocorr_time(discard=burn, quiet=True, tol=0)
    chain = result.chain  # (step, walker, free)
    values = np.tile(np.array(list(params.valuesdict().values())), (steps * walkers, 1))
    values[:, [list(params).index(name) for name in free]] = chain.reshape(-1, len(free))
    for parameter in params.values():
        if parameter.expr:
            values[:, list(params).index(parameter.name)] = _followed(params, free, chain, parameter.name)
    time = np.full(len(params), np.nan)
    time[[list(params).index(name) for name in free]] = measured
    fraction = np.asarray(minimizer.sampler.acceptance_fraction)
    return Chains(
        values=values,
        walker=np.tile(np.arange(walkers, dtype=np.float64), steps),
        log_probability=np.asarray(minimizer.sampler.get_log_prob(discard=burn)).ravel(),
        acceptance_fraction=fraction,
        autocorrelation_time=time,
        notes=_notes(steps, np.asarray(measured), fraction),
    )


def _scattered(params: Parameters, free: list[str], covariance: Floats, walkers: int, seed: int) -> Floats:
    """Starts (walker, free) inside the bounds: normal about the fit, nearer to it until they are inside."""
    rng = np.random.default_rng(seed)
    where = [list(params).index(name) for name in free]
    centre, low, high = (np.array([getattr(params[n], what) for n in free]) for what in ("value", "min", "max"))
    block = covariance[np.ix_(where, where)]
    # What stopped at a bound has no variance and starts inside, next to it.
    inside = np.diag(block) == 0
    block = block + np.diag(np.where(inside, (1e-3 * np.maximum(np.abs(centre), 1e-3)) ** 2, 0.0))
    width = np.where(np.isfinite(high - low), high - low, np.maximum(np.abs(centre), 1e-3))
    centre = np.clip(centre, low + 1e-6 * width, high - 1e-6 * width)
    step = rng.multivariate_normal(np.zeros(len(free)), block, size=walkers, check_valid="ignore")
    for _ in range(60):
        outside = ((centre + step <= low) | (centre + step >= high)).any(axis=1)
        step[outside] *= -0.7
    return np.asarray(centre + step)


def _followed(params: Parameters, free: list[str], chain: Floats, name: str) -> Floats:
    """Values (draw,) of a constrained parameter."""
    moved, out = params.copy(), np.empty(chain[..., 0].size)
    for number, row in enumerate(chain.reshape(-1, len(free))):
        for one, value in zip(free, row, strict=True):
            moved[one].value = value
        out[number] = moved[name].value
    return out


def _notes(steps: int, time: Floats, fraction: Floats) -> tuple[str, ...]:
    notes = []
    if not steps > 50 * np.max(time):  # too short to tell is NaN
        notes.append(
            f"chains of {steps} steps are short beside their autocorrelation time of about {np.max(time):.0f} steps: "
            "more draws, to 50 such times, give steadier quantiles"
        )
    if np.median(fraction) < 0.1:
        notes.append(f"only {np.median(fraction):.0%} of the steps were taken: the posterior is far from one ellipsoid")
    return tuple(notes)
