"""``scalingeq``: fits and frontiers from the command line."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from scalingeq.errors import ArchiveError, FitError, ScalingEqError
from scalingeq.inference.laws import LAWS
from scalingeq.inference.twopoint import LAW_NAME

if TYPE_CHECKING:
    import xarray as xr

TABLE_ROWS = 13
DEMO_COMPUTE = np.geomspace(1e11, 1e17, 25)  # FLOPs: from the smallest measured runs to a thousand times the largest
FRONTIER_POINTS = 49
FIGURE_RESOLUTION = 220  # dots an inch


class Commands(click.Group):
    """Commands whose foreseen errors are one message and exit code 1, and whose warnings are one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
            try:
                return super().invoke(ctx)
            except (ScalingEqError, OSError) as error:
                hint = "\nHere, that is --set NAME=VALUE." if "label(" in str(error) else ""
                raise click.ClickException(f"{error}{hint}") from error


def compute_range(text: str) -> tuple[float, float]:
    """Read ``LOW:HIGH`` in FLOPs, or one number.

    Examples
    --------
    >>> compute_range("1e15:1e21")
    (1000000000000000.0, 1e+21)
    """
    low, _, high = text.partition(":")
    try:
        ends = float(low), float(high or low)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no range of FLOPs; pass two numbers such as 1e15:1e21") from None
    if not 0 < ends[0] <= ends[1] < np.inf:
        raise click.BadParameter(f"{text!r} does not go from a positive to a larger, finite number of FLOPs")
    return ends


def assignment(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``, the value as text.

    Examples
    --------
    >>> assignment("loss=val_loss")
    ('loss', 'val_loss')
    """
    name, _, value = text.partition("=")
    if not (name and value):
        raise click.BadParameter(f"{text!r} has no name or no value; pass NAME=VALUE")
    return name, value


def role(text: str) -> tuple[str, float | str]:
    """Read ``NAME=VALUE``, the value a number or the name of a variable.

    Examples
    --------
    >>> role("batch_size=65536"), role("loss=val_loss")
    (('batch_size', 65536.0), ('loss', 'val_loss'))
    """
    name, value = assignment(text)
    return name, _number(value)


def selection(text: str) -> tuple[str, float | str | list[float | str] | slice]:
    """Read ``NAME=VALUE``, the value also a range ``LOW:HIGH`` or a list ``A,B``.

    Examples
    --------
    >>> selection("params=largest"), selection("step=1000:"), selection("seed=1,2")
    (('params', 'largest'), ('step', slice(1000.0, None, None)), ('seed', [1.0, 2.0]))
    """
    name, value = assignment(text)
    if ":" in value:
        ends = [_number(end) if end else None for end in value.split(":")]
        if len(ends) != 2 or any(isinstance(end, str) for end in ends):
            raise click.BadParameter(
                f"{value!r} is no range of numbers; pass {name}=LOW:HIGH, {name}=LOW: or {name}=:HIGH"
            )
        return name, slice(*ends)
    if "," in value:
        return name, [_number(part) for part in value.split(",")]
    return name, _number(value)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _check_output(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuse, before any work, a file that could not be written after it."""
    if path is not None:
        try:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise click.BadParameter(f"{path}: cannot write in {path.parent} ({error.strerror})", ctx, param) from error
    return path


def _check_archive(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuse, before any work, an archive that could not be written after it."""
    from . import saving

    if path is not None:
        _check_output(ctx, param, path)
        try:
            saving.target_of(path)
        except ArchiveError as error:
            raise click.BadParameter(str(error), ctx, param) from error
    return path


def _check_distinct(source: Path, output: Path | None) -> None:
    """Refuse to put a result in the place of what it is made from."""
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise click.UsageError(f"{output} is the input as well; pass another file for the output")


def _check_folder(ctx: click.Context, param: click.Parameter, path: Path) -> Path:
    """Make the folder and refuse, before any work, one that cannot be written in."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{path}: cannot be made ({error.strerror})", ctx, param) from error
    _check_output(ctx, param, path / "fit.nc")
    return path


def _check_figure(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuse, before any work, a figure in a format that there is not."""
    if path is not None:
        from matplotlib.backend_bases import FigureCanvasBase

        known = FigureCanvasBase.get_supported_filetypes()
        if path.suffix[1:] not in known:
            raise click.BadParameter(f"{path}: no format {path.suffix!r}; pass one of {', '.join(known)}", ctx, param)
    return _check_output(ctx, param, path)


FILE = click.Path(dir_okay=False, path_type=Path)
ARCHIVE = click.Path(path_type=Path)  # a NetCDF file or a Zarr folder


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="scalingeq")
def main() -> None:
    """Where does the next unit of compute go? Fit measured loss curves and extrapolate the compute-optimal frontier."""


@main.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_check_folder,
    default=Path("scalingeq-demo"),
    show_default=True,
    help="Folder for the results.",
)
def demo(output: Path) -> None:
    """Fit the curves that come with the package, predict the largest.

    Uses the runs of constant rate that see their data once, and holds out the largest model. Prints the parameters with
    their errors and the held-out error as measured, beside that of the additive law; writes fit.nc, curves.png,
    frontier.png and residuals.png.
    """
    import xarray as xr

    from scalingeq.datasets import is_constant_rate, load, select_runs, to_curves

    ds = load("stdlib-lm")
    # Runs that repeat their data take the theory of two frequencies, and the fit a minute.
    ds = select_runs(ds, is_constant_rate(ds) & np.isinf(ds["dataset_size"]))
    tree = ds.twopoint.fit(hold_out={"params": "largest"}, progress=True)
    click.echo(tree.twopoint.report())
    curves = to_curves(ds)
    largest = curves.params.argmax()
    tree["frontier"] = xr.DataTree(
        tree.twopoint.frontier(
            DEMO_COMPUTE,
            batch_size=curves.batch_size[largest],
            learning_rate=curves.learning_rate[largest],
        )
    )
    tree.twopoint.save(output / "fit.nc")
    plots = tree.twopoint.plot
    _save_figure(lambda: plots.curves(x="tokens"), output / "curves.png")
    _save_figure(plots.frontier, output / "frontier.png")
    _save_figure(plots.residuals, output / "residuals.png")
    click.echo(f"\nWrote fit.nc, curves.png, frontier.png and residuals.png in {output}")


@main.command()
@click.argument("file", type=ARCHIVE)
@click.option(
    "--output",
    "-o",
    type=ARCHIVE,
    required=True,
    callback=_check_archive,
    help="Analysis to write: a NetCDF file, or a Zarr folder whose name ends in .zarr.",
)
@click.option(
    "--hold-out",
    "hold_out",
    type=selection,
    metavar="NAME=VALUE",
    multiple=True,
    help="Keep out of the fit and score: params=largest, step=1000:, seed=1,2; several hold together.",
)
@click.option(
    "--set",
    "roles",
    type=role,
    metavar="NAME=VALUE",
    multiple=True,
    help="What the file lacks or names otherwise: batch_size=65536, learning_rate=3e-4, loss=val_loss.",
)
@click.option("--law", "name", type=click.Choice(list(LAWS)), default=LAW_NAME, show_default=True, help="Law to fit.")
@click.option(
    "--check",
    type=click.Choice(["size", "horizon", "schedule", "repetition", "none"]),
    help="What a two-point fit is to extrapolate to: that much is left out, predicted and reported, and widens the "
    "bands. Default: size.",
)
def fit(
    file: Path,
    output: Path,
    hold_out: Sequence[tuple[str, Any]],
    roles: Sequence[tuple[str, Any]],
    name: str,
    check: str | None,
) -> None:
    """Fit the loss curves in FILE and print a report.

    FILE is NetCDF, Zarr, or a training log: a table with the columns run, step, loss, params, or the log of a trainer, with what
    it lacks set here.
    """
    from scalingeq.datasets import open_record

    _check_distinct(file, output)
    record = open_record(file, **dict(roles))
    if name == LAW_NAME:
        task: Any = None if check == "none" else check or "size"
        try:
            tree = record.twopoint.fit(hold_out=dict(hold_out), check=task, progress=True)
        except FitError as error:
            if check:
                raise
            click.echo(f"Warning: no check, as {error}", err=True)
            tree = record.twopoint.fit(hold_out=dict(hold_out), progress=True)
    elif check:
        raise click.UsageError(f"--check is of two-point fits; leave it out for the law {name}")
    else:
        tree = record.laws.fit(name, hold_out=dict(hold_out), progress=True)
    tree.laws.save(output)
    click.echo(tree.laws.report())


@main.command()
@click.option(
    "--output", "-o", type=FILE, required=True, callback=_check_output, help="Table to write (Markdown text)."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    envvar="SCALINGEQ_RECORDS",
    help="Folder of the records made by others, also SCALINGEQ_RECORDS; without it the curves that come with the package.",
)
@click.option("--law", "laws", multiple=True, help="Of these laws alone; several add up. Default: all.")
@click.option("--checkpoint", type=FILE, help="File of finished rows; a later call goes on from there.")
def scoreboard(output: Path, data: Path | None, laws: Sequence[str], checkpoint: Path | None) -> None:
    """Fit every law to every fixed split and write how it predicts the rest.

    Takes a minute or two with the package's curves, and half an hour with all records.
    """
    from .scoreboard import markdown
    from .scoreboard import scoreboard as score_laws

    found = score_laws(data, laws=laws or None, checkpoint=checkpoint, progress=lambda text: click.echo(text, err=True))
    with _written_beside(output) as temporary:
        temporary.write_text(markdown(found), encoding="utf-8")
    click.echo(f"Wrote {output}")


@main.command()
@click.argument("analysis", type=ARCHIVE)
@click.option("--compute", type=compute_range, metavar="LOW:HIGH", required=True, help="FLOPs, such as 1e15:1e21.")
@click.option(
    "--points", type=click.IntRange(1, 10_000), default=FRONTIER_POINTS, show_default=True, help="Of compute."
)
@click.option("--batch-size", type=float, help="Of the runs planned; default: that of the runs fitted.")
@click.option("--learning-rate", type=float, help="Of the runs planned; default: that of the runs fitted.")
@click.option("--data-limit", type=float, help="Unique tokens that exist; default: no limit.")
@click.option("--plot", type=FILE, callback=_check_figure, help="Figure to write (PNG, PDF, SVG, ...).")
@click.option("--output", "-o", type=ARCHIVE, callback=_check_archive, help="Frontier to write: NetCDF, or Zarr.")
def frontier(
    analysis: Path,
    compute: tuple[float, float],
    points: int,
    plot: Path | None,
    output: Path | None,
    **plan: float | None,
) -> None:
    """Extrapolate the compute-optimal frontier of a fit.

    ANALYSIS is what fit wrote. Prints a short table: at each compute the lowest predicted loss with its band, the
    model size, data and steps that reach it, and the local exponent of the loss.
    """
    import xarray as xr

    from . import open_analysis, saving

    _check_distinct(analysis, output)
    tree = open_analysis(analysis)
    found = tree.laws.frontier(np.unique(np.geomspace(*compute, points)), **plan)
    click.echo(_frontier_table(found))
    if "limit_compute" in found:
        known = found["limit_compute"].dropna("cost")
        costs = [
            f"{100 * cost:g} % from {at:.3g} FLOP on"
            for cost, at in zip(known["cost"].values, known.values, strict=True)
        ]
        click.echo(
            f"The limit of data raises the loss by {', '.join(costs) or 'less than 1 % here, or more everywhere'};"
        )
        click.echo(f"{found.attrs['repeat_or_enlarge']}.")
    if output is not None:
        saving.write(xr.DataTree(found), output)
    if plot is not None:
        _save_figure(lambda: tree.laws.plot.frontier(found), plot)


def _frontier_table(ds: xr.Dataset) -> str:
    """At most a dozen rows, both ends among them."""
    from .reporting import text_table

    rows = []
    for number in np.unique(np.linspace(0, ds.sizes["compute"] - 1, TABLE_ROWS).round().astype(int)):
        point = ds.isel(compute=number)
        low, high = (float(point["loss"].sel(quantile=quantile)) for quantile in (0.16, 0.84))
        rows.append(
            (
                f"{float(point['compute']):.3g}",
                f"{float(point['best_loss']):.4g}",
                f"{low:.4g} to {high:.4g}",
                *(f"{float(point[f'best_{name}']):.3g}" for name in ("params", "tokens", "steps")),
                f"{float(point['best_loss_exponent']):.3g}",
            )
        )
    units = {name: ds[name].attrs["units"] for name in ("loss", "tokens")}
    heads = (
        "compute [FLOP]",
        f"loss [{units['loss']}]",
        "68 % band",
        "params",
        units["tokens"],
        "steps",
        "loss exponent",
    )
    return "\n".join(text_table(heads, rows))


def _save_figure(draw: Callable[[], object], path: Path) -> None:
    """Write the new figure that ``draw`` makes."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("agg")  # files alone: no window system is asked for
    draw()
    figure = plt.gcf()
    with _written_beside(path) as temporary:
        figure.savefig(temporary, dpi=FIGURE_RESOLUTION)
    plt.close(figure)


@contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of ``path`` once it is whole."""
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
