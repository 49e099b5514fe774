"""One pure function over every element of some dimensions: at once, or lazily on any dask scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from scalingeq.errors import DataError, ScalingEqError

FAILURES = (ScalingEqError, ArithmeticError, ValueError)  # of one element; anything else is a mistake of the program
TEXT = "<U512"  # of a fixed length, as lazy arrays have: longer texts are cut


class Output(NamedTuple):
    """What the function gives for one element: dimensions, type and label."""

    dims: tuple[str, ...]
    dtype: str
    attrs: Mapping[str, Any]


def map_elements(
    function: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
    inputs: Mapping[str, xr.DataArray],
    dims: Sequence[str],
    outputs: Mapping[str, Output],
    sizes: Mapping[str, int] | None = None,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, xr.Variable]:
    """Map a function over the elements of ``dims``; lazy where an input is chunked, one task a chunk.

    Parameters
    ----------
    function : callable
        Takes one element of each input, as a dict of arrays without ``dims`` by name, and returns the outputs by name; those
        that it leaves out are missing. It has to pickle where the tasks run in other processes: a function of a module,
        or a :class:`functools.partial` of one.
    inputs : mapping of str to xarray.DataArray
        Each over some of ``dims`` and dimensions of its own, which come as a whole.
    dims : sequence of str
        Dimensions mapped over, in the order that the outputs have them.
    outputs : mapping of str to Output
        What the function returns.
    sizes : mapping of str to int, optional
        Of the outputs' dimensions that no input has.
    progress : callable, optional
        Wraps the iteration over the elements of what is in memory, as tqdm does.

    Returns
    -------
    dict of str to xarray.Variable
        The outputs, over ``dims`` and their own; ``success`` and ``message`` say where the function raised an error and
        which. There numbers are NaN or 0 and texts empty.

    Raises
    ------
    DataError
        If no input has one of ``dims``.

    Examples
    --------
    >>> def inverse(given):
    ...     if given["x"] == 0:
    ...         raise ZeroDivisionError("no inverse")
    ...     return {"inverse": 1 / given["x"]}
    >>> found = map_elements(inverse, {"x": xr.DataArray([0.0, 4.0], dims="draw")}, ["draw"],
    ...     {"inverse": Output((), "f8", {"units": "1"})})
    >>> found["inverse"].values, found["message"].values
    (array([ nan, 0.25]), array(['ZeroDivisionError: no inverse', ''], dtype='<U512'))
    """
    missing = [dim for dim in dims if not any(dim in array.dims for array in inputs.values())]
    if missing:
        raise DataError(f"dim: no dimension {', '.join(map(repr, missing))} in {', '.join(inputs)}; pass one that is")
    outputs = dict(outputs) | {
        "success": Output((), "?", {"long_name": "whether it succeeded", "units": "1"}),
        "message": Output((), TEXT, {"long_name": "error where it did not succeed", "units": "1"}),
    }
    core = [[dim for dim in array.dims if dim not in dims] for array in inputs.values()]
    variables = [
        array.variable.chunk(dict.fromkeys(own, -1)) if array.chunks else array.variable
        for array, own in zip(inputs.values(), core, strict=True)
    ]
    size_of = {str(dim): size for array in inputs.values() for dim, size in array.sizes.items()} | dict(sizes or {})
    known = {dim for own in core for dim in own}
    new = {dim: size_of[dim] for output in outputs.values() for dim in output.dims if dim not in known}
    results = xr.apply_ufunc(
        partial(
            _map_block, function=function, ranks={name: len(own) for name, own in zip(inputs, core, strict=True)},
            outputs={name: (tuple(size_of[dim] for dim in o.dims), o.dtype) for name, o in outputs.items()},
            progress=progress,
        ),
        *variables,
        input_core_dims=core,
        output_core_dims=[list(output.dims) for output in outputs.values()],
        dask="parallelized",
        output_dtypes=[np.dtype(output.dtype) for output in outputs.values()],
        dask_gufunc_kwargs={"output_sizes": new},
    )  # fmt: skip
    found = {}
    for (name, output), variable in zip(outputs.items(), results, strict=True):
        found[name] = variable.transpose(*dims, ...)
        found[name].attrs = dict(output.attrs)
    return found


def _map_block(
    *arrays: np.ndarray,
    function: Callable[[dict[str, np.ndarray]], Mapping[str, Any]],
    ranks: Mapping[str, int],
    outputs: Mapping[str, tuple[tuple[int, ...], str]],
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> tuple[np.ndarray, ...]:
    """Outputs for the elements of one block, whose leading dimensions are mapped over."""
    split = [array.ndim - rank for array, rank in zip(arrays, ranks.values(), strict=True)]
    loop = np.broadcast_shapes(*(array.shape[:at] for array, at in zip(arrays, split, strict=True)))
    elements = [np.broadcast_to(array, loop + array.shape[at:]) for array, at in zip(arrays, split, strict=True)]
    out = {
        name: np.full(loop + shape, np.nan if np.dtype(dtype).kind == "f" else np.zeros((), dtype)[()], dtype)
        for name, (shape, dtype) in outputs.items()
    }
    for at in progress(list(np.ndindex(*loop))):
        try:
            values = function({name: array[at] for name, array in zip(ranks, elements, strict=True)})
        except FAILURES as error:
            out["message"][at] = f"{type(error).__name__}: {error}"
            continue
        out["success"][at] = True
        for name, value in values.items():
            out[name][at] = value
    return tuple(out.values())
