"""The one error family: every error that scalingeq raises on purpose is a :class:`ScalingEqError`."""

from __future__ import annotations

from collections.abc import Iterable


class ScalingEqError(Exception):
    r"""Base of every error of this package; ``problems`` lists all that was found wrong, one text each.

    Parameters
    ----------
    problems : str or iterable of str
        What was found, where, and what to pass instead.

    Examples
    --------
    >>> str(DataError(["loss: 2 values are negative in run 'a'", "params: missing"]))
    "2 problems:\n- loss: 2 values are negative in run 'a'\n- params: missing"
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        # The tuple itself is the argument, so that an error survives pickling to a worker and back.
        super().__init__(self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return f"{len(self.problems)} problems:\n" + "\n".join(f"- {problem}" for problem in self.problems)


class DataError(ScalingEqError, ValueError):
    """Measured curves, labels or units that cannot be used as they are."""


class ParameterError(ScalingEqError, ValueError):
    """An argument outside its domain."""


class InstabilityError(ScalingEqError, ArithmeticError):
    """SGD diverges at these settings; the text names the exact threshold and by how much it is passed."""


class ConvergenceError(ScalingEqError, ArithmeticError):
    """A numerical method did not reach its tolerance."""


class FitError(ScalingEqError, RuntimeError):
    """A fit that cannot be made from the data given."""


class ArchiveError(ScalingEqError, OSError):
    """A file that cannot be read or written as an analysis or a training record."""


def raise_problems(problems: Iterable[str], kind: type[ScalingEqError]) -> None:
    """Raise ``kind`` with all ``problems`` at once; do nothing where there are none."""
    found = tuple(problems)
    if found:
        raise kind(found)
