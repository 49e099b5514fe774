"""Archives on the disk, NetCDF files or Zarr folders: written whole or not at all, and extended along a dimension."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray as xr

from scalingeq.datasets.history import note
from scalingeq.datasets.zarr_stores import is_store, is_zarr, require_zarr
from scalingeq.errors import ArchiveError, raise_problems

from .archive import check_analysis, law_of, self_contained

# What the libraries below raise where they cannot read, or write.
READING = (OSError, ValueError, RuntimeError, KeyError)
WRITING = (OSError, ValueError, RuntimeError, TypeError)
ATTEMPTS = 40  # to remove a folder, 0.05 s apart


def save(tree: xr.DataTree, path: str | os.PathLike[str], *, append_dim: str | None = None) -> None:
    """Write an analysis to a NetCDF file or, where the path ends in ``.zarr``, a Zarr folder.

    What is there is replaced whole or not at all: as :func:`write`.

    Parameters
    ----------
    tree : xarray.DataTree
        An analysis.
    path : str or path
        File or folder to make, replace or extend.
    append_dim : str, optional
        Put what the tree has along this dimension after what the archive has; all else has to be the same. An archive
        that is not there is made.

    Raises
    ------
    ArchiveError
        If the tree is not an analysis, does not continue the archive, or cannot be written there; what was there is as
        it was.

    Examples
    --------
    >>> save(xr.DataTree(), "fit.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: not an analysis: ...
    """
    check_analysis(tree)
    if append_dim is None or not Path(path).exists():
        write(tree, path)
        return
    with open_tree(path) as before:
        check_analysis(before)
        if law_of(before) != law_of(tree):
            raise ArchiveError(f"{path}: an analysis of the law {law_of(before)!r}, to which no other can be appended")
        write(extended(before, tree, append_dim), path)


def extended(before: xr.DataTree, after: xr.DataTree, dim: str) -> xr.DataTree:
    """Tree whose variables along ``dim`` are those of two trees, one after the other; lazy where dask is installed.

    Parameters
    ----------
    before, after : xarray.DataTree
        Trees of the same groups and variables.
    dim : str
        Dimension to put together.

    Raises
    ------
    ArchiveError
        Naming every group and variable that differs, and labels along ``dim`` that both have.

    Examples
    --------
    >>> draws = [xr.DataTree(xr.Dataset({"r": ("draw", [0.3])}, {"draw": [number]})) for number in (0, 1)]
    >>> extended(*draws, "draw")["draw"].values
    array([0, 1])
    """
    old_groups, new_groups = (
        {node.relative_to(tree): node.to_dataset() for node in tree.subtree} for tree in (before, self_contained(after))
    )
    problems: list[str] = []
    groups = {}
    for path in old_groups | new_groups:
        old, new = old_groups.get(path), new_groups.get(path)
        if old is not None and new is not None:
            found = _differences(old, new, dim)
            problems += [f"group {path}, {problem}" for problem in found]
            groups[path] = old if found or dim not in old.dims else _joined(old, new, dim)
            continue
        for lonely, where in ((old, "the archive"), (new, "what is appended")):
            if lonely is not None:
                groups[path] = lonely
                problems += [f"group {path}: only in {where}"] * (dim in lonely.dims)
    if not any(dim in ds.dims for ds in new_groups.values()):
        problems.append(f"append_dim: nothing of this analysis lies along {dim!r}")
    raise_problems(problems, ArchiveError)
    tree = xr.DataTree.from_dict({"/" if path == "." else f"/{path}": ds for path, ds in groups.items()})
    tree.name = before.name
    added = sum(ds.sizes.get(dim, 0) for ds in new_groups.values())
    made = after.attrs.get("provenance", "no provenance")
    tree.attrs = note(xr.Dataset(attrs=tree.attrs), f"appended {added} along {dim}, {made}").attrs
    return tree


def _differences(old: xr.Dataset, new: xr.Dataset, dim: str) -> list[str]:
    """What keeps a group from continuing another along ``dim``."""
    lonely = [name for name in (*old.variables, *new.variables) if (name in old.variables) != (name in new.variables)]
    problems = [f"variable {name!r}: only in {'the archive' if name in old else 'what is appended'}" for name in lonely]
    for name in (name for name in old.variables if name in new.variables):
        one, other = old[name].variable, new[name].variable
        sizes = [{d: size for d, size in variable.sizes.items() if d != dim} for variable in (one, other)]
        if one.dims != other.dims or sizes[0] != sizes[1]:
            problems.append(f"variable {name!r}: has {dict(other.sizes)}, in the archive {dict(one.sizes)}")
        elif dim not in one.dims and not one.equals(other):  # type: ignore[no-untyped-call]
            problems.append(f"variable {name!r}: has other values than in the archive")
    if dim in old.variables and dim in new.variables:
        twice = np.intersect1d(old[dim].values.astype(str), new[dim].values.astype(str))
        problems += [f"variable {dim!r}: {', '.join(twice[:5])} in the archive already"] * bool(twice.size)
    return problems


def _joined(old: xr.Dataset, new: xr.Dataset, dim: str) -> xr.Dataset:
    if find_spec("dask"):  # numbers stay on the disk until they are written; text is small
        numbers = {name: v.chunk() for name, v in old.variables.items() if v.dtype.kind in "biuf" and dim in v.dims}
        old = old.assign({name: variable for name, variable in numbers.items() if name != dim})
    return xr.concat(
        [old, new], dim, data_vars="minimal", coords="minimal", compat="override", join="override",
        combine_attrs="override",
    )  # fmt: skip


def write(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Write a tree to a NetCDF file or, where the path ends in ``.zarr``, a Zarr folder, whole or not at all.

    The new archive is written beside the target, forced to the disk and renamed. The tree may still be open, lazily,
    from the same path. For a folder that takes two renames: should the machine stop between them, the old and the new
    one are both there, under names that begin with a dot.

    Parameters
    ----------
    tree : xarray.DataTree
        Arrays of numbers and text.
    path : str or path
        File or folder to make or replace.

    Raises
    ------
    ArchiveError
        If it cannot be written there; what was there is as it was.

    Examples
    --------
    >>> write(xr.DataTree(xr.Dataset({"loss": ("step", [3.0, 2.0])})), "loss.nc")
    >>> xr.open_dataset("loss.nc", engine="netcdf4").loss.values
    array([3., 2.])
    """
    safe, target = self_contained(tree), target_of(path)
    zarr = is_zarr(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        if zarr:
            # Version 2 is the one whose specification has texts of fixed length and consolidated metadata.
            even = safe.map_over_datasets(_evenly_chunked)
            even.to_zarr(temporary, mode="w-", zarr_format=2, consolidated=True, write_inherited_coords=True)
        else:
            safe.to_netcdf(temporary, engine="netcdf4", write_inherited_coords=True)
        for written in (*temporary.rglob("*"), temporary):
            _to_disk(written)
        _put_in_place(temporary, target)
        _to_disk(target.parent)
    except WRITING as error:
        raise ArchiveError(f"{path}: could not be written ({error}); what was there is unchanged") from error
    finally:
        _remove(temporary)


def target_of(path: str | os.PathLike[str]) -> Path:
    """Where an archive of this path will be, or why none can be there.

    Raises
    ------
    ArchiveError
        If there is no folder for it, or what is there is no archive.

    Examples
    --------
    >>> target_of("nowhere/fit.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: nowhere/fit.nc: no folder ...nowhere; make it, or pass another path
    """
    target = Path(os.path.realpath(path))  # renaming onto a link would replace the link
    if not target.parent.is_dir():
        raise ArchiveError(f"{path}: no folder {target.parent}; make it, or pass another path")
    if is_zarr(target):
        require_zarr(path)
        if target.exists() and not is_store(target):
            raise ArchiveError(f"{path}: is there and no Zarr folder, and will not be replaced; pass another path")
    elif target.is_dir():
        raise ArchiveError(f"{path}: is a directory; pass the path of a file, or one that ends in .zarr")
    return target


def _evenly_chunked(ds: xr.Dataset) -> xr.Dataset:
    """Chunks of one size along each dimension, as Zarr wants them."""
    chunks = {
        name: {dim: max(sizes) for dim, sizes in variable.chunksizes.items()}
        for name, variable in ds.variables.items()
        if variable.chunks
    }
    return ds.assign({name: ds[name].chunk(even) for name, even in chunks.items()})


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.is_dir():
        os.replace(temporary, target)
        return
    old = temporary.with_suffix(".old")
    os.replace(target, old)
    try:
        os.replace(temporary, target)
    except BaseException:
        os.replace(old, target)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    # Threads of Zarr may still be writing after one of them has failed.
    for _ in range(ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)
    shutil.rmtree(path)


def _to_disk(path: Path) -> None:
    """Force a file, or the entries of a folder, to the disk; where folders cannot be opened, the rename has to do."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Open an archive, lazily, or say what it is instead.

    Raises
    ------
    ArchiveError
        If there is none, or it cannot be read.

    Examples
    --------
    >>> open_tree("nothing.nc")
    Traceback (most recent call last):
        ...
    scalingeq.errors.ArchiveError: nothing.nc: no such file; pass an analysis written by fit
    """
    zarr = is_zarr(path)
    if zarr:
        require_zarr(path)
    try:
        return xr.open_datatree(path, engine="zarr" if zarr else "netcdf4")
    except READING as error:
        if not Path(path).exists():
            raise ArchiveError(f"{path}: no such file; pass an analysis written by fit") from error
        kind = "Zarr folder" if zarr else "NetCDF file"
        raise ArchiveError(f"{path}: not a readable {kind} ({error}); pass an analysis written by fit") from error
