"""The catalogue: measured curves that come with the package, and public ones that are downloaded once and kept.

``list()`` names all of them, ``load(name)`` opens those that come with the package, ``fetch(name)`` the public ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import xarray as xr

from scalingeq.errors import ArchiveError, DataError

from .history import note
from .labels import label
from .public_sets import PUBLIC_SETS, PublicSet

if TYPE_CHECKING:
    import pandas as pd

RAW_FILES = "https://raw.githubusercontent.com"  # serves a file of a repository at a commit
CACHE_VARIABLE = "SCALINGEQ_DATA_DIR"


def load(name: str) -> xr.Dataset:
    """Load measured curves that come with the package.

    Parameters
    ----------
    name : str
        ``"stdlib-lm"``: byte-level transformers trained on the Python standard library; its card is
        ``stdlib_lm.md`` beside the file.

    Returns
    -------
    xarray.Dataset
        In memory, with the labels of the schema; how it was made is in its attributes.

    Raises
    ------
    DataError
        If there is no such set; lists those there are.

    Examples
    --------
    >>> load("stdlib-lm").loss.attrs["units"]
    'nats per byte'
    """
    if name not in _shipped():
        more = f"; {name!r} is public: fetch({name!r})" if name in PUBLIC_SETS else ""
        raise DataError(
            f"no measured curves {name!r} come with the package; there are {', '.join(map(repr, _shipped()))}{more}"
        )
    with (
        resources.as_file(resources.files(__package__) / f"{name.replace('-', '_')}.nc") as path,
        xr.open_dataset(path, engine="netcdf4") as ds,
    ):
        return ds.load()


def fetch(name: str, *, units: Mapping[str, str] | None = None, progress: bool = False, **roles: Any) -> xr.Dataset:
    """Download a public data set, or take it from the cache, and open it with the labels of the schema.

    Parameters
    ----------
    name : str
        One of the public sets that :func:`list` names. The first call downloads its files from the repository of their
        authors at a fixed commit, and compares them with their SHA-256; later calls need no network.
    units : mapping of str to str, optional
        As for :func:`label`.
    progress : bool, default False
        Show a progress bar for each file.
    **roles
        As for :func:`label`: what the files lack, ``batch_size=2**19``. :func:`list` says what a fit needs.

    Returns
    -------
    xarray.Dataset
        In memory, with ``title``, ``source``, ``license``, ``references`` and ``comment`` in its attributes.

    Raises
    ------
    DataError
        If there is no such set; lists those there are.
    ArchiveError
        If the files are neither in the cache nor can be downloaded, or are not those of the catalogue; nothing
        of them is kept.

    Notes
    -----
    The cache is the user's folder for such (``~/.cache/scalingeq`` on Linux), or the folder that the environment variable
    ``SCALINGEQ_DATA_DIR`` names.

    Examples
    --------
    >>> fetch("the-pile")
    Traceback (most recent call last):
        ...
    scalingeq.errors.DataError: no public data set 'the-pile'; there are 'chinchilla', ...
    """
    if name not in PUBLIC_SETS:
        more = f"; {name!r} comes with the package: load({name!r})" if name in _shipped() else ""
        raise DataError(f"no public data set {name!r}; there are {', '.join(map(repr, PUBLIC_SETS))}{more}")
    found = PUBLIC_SETS[name]
    ds = found.read(_downloaded(name, found, progress))
    about = {
        "title": f"{name}: {found.title}",
        "source": found.source,
        "references": found.citation,
        "license": found.licence,
        "comment": found.about,
    }
    # The history that reading wrote goes on from where the data came from.
    read, ds.attrs = ds.attrs, note(xr.Dataset(), f"fetched {name} from {found.source}").attrs
    if "history" in read:
        read["history"] = f"{ds.attrs['history']}\n{read['history']}"
    return label(ds.assign_attrs(ds.attrs | read | about), units=units, **roles)


def _shipped() -> Sequence[str]:
    """Names of the sets that come with the package."""
    files = (entry.name for entry in resources.files(__package__).iterdir())
    return sorted(file.removesuffix(".nc").replace("_", "-") for file in files if file.endswith(".nc"))


def _downloaded(name: str, found: PublicSet, progress: bool) -> Sequence[Path]:
    """Paths of the files of a set in the cache, downloaded where they are not there."""
    import pooch

    cache = Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("scalingeq"))
    base = f"{RAW_FILES}/{found.repository}/{found.commit}/"
    keeper = pooch.create(
        path=cache / found.repository / found.commit,
        base_url=base,
        registry={path: f"sha256:{digest}" for path, digest in found.files.items()},
        urls={path: base + quote(path) for path in found.files},
        retry_if_failed=1,
    )
    downloader = pooch.HTTPDownloader(timeout=30, progressbar=progress)
    paths = []
    for path in found.files:
        url = keeper.get_url(path)
        try:
            with _quiet(pooch.get_logger()):
                paths.append(Path(keeper.fetch(path, downloader=downloader)))
        except ValueError as error:  # what came has another hash
            raise ArchiveError(
                f"{name}: {url} is not the file of the catalogue ({error}); nothing of it is kept. A proxy or a portal "
                f"may have answered in its place"
            ) from error
        except OSError as error:  # of the network, and of the disk
            raise ArchiveError(
                f"{name}: {path} is not in the cache {cache}, and could not be downloaded from {url} ({error}); connect "
                f"to the network, or set {CACHE_VARIABLE} to a folder that has it"
            ) from error
    return paths


@contextmanager
def _quiet(logger: Any) -> Iterator[None]:
    """Let a logger of downloads tell of trouble alone."""
    level = logger.level
    logger.setLevel("WARNING")
    try:
        yield
    finally:
        logger.setLevel(level)


# Last in the module, as it hides Python's own list after it.
def list() -> pd.DataFrame:
    """Name the measured curves that come with the package and the public data sets.

    Returns
    -------
    pandas.DataFrame
        By name: ``title``; ``open_with``, ``load`` for what comes with the package and ``fetch`` for what is downloaded;
        ``pass``, what the set lacks and a fit needs; ``license``, ``source`` and ``references``.

    Examples
    --------
    >>> import scalingeq
    >>> scalingeq.datasets.list()["open_with"]
    name
    stdlib-lm              load
    chinchilla            fetch
    multipower-law        fetch
    gemstones             fetch
    gemstones-cooldown    fetch
    misfitting            fetch
    misfitting-final      fetch
    Name: open_with, dtype: ...
    """
    import pandas as pd

    rows = []
    for name in _shipped():
        attrs = load(name).attrs
        title = str(attrs["title"]).removeprefix(f"{name}: ")
        rows.append((name, title, "load", "", attrs["license"], attrs["source"], attrs["references"]))
    for name, found in PUBLIC_SETS.items():
        rows.append((name, found.title, "fetch", found.passes, found.licence, found.source, found.citation))
    columns = ("name", "title", "open_with", "pass", "license", "source", "references")
    return pd.DataFrame(rows, columns=pd.Index(columns)).set_index("name")
