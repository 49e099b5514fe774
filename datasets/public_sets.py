"""The public data sets of the catalogue: where their files are, whose they are, and how they read as training records.

Listed are files that their authors publish as plain text, CSV or JSON lines, under a repository and commit that cannot
change without their SHA-256 telling. Sets that their authors keep in pickles, which run code when opened, are not:
supercollapse (arXiv:2507.02119), Porian et al. (arXiv:2406.19146) and the Llama runs of xLSTM (arXiv:2510.02228).
Converted to CSV, they open like any table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .cleaning import join_restarts, split_restarts
from .history import note
from .labels import label
from .shapes import select_runs

if TYPE_CHECKING:
    import pandas as pd

NONE_STATED = "none stated: the files come from their authors, for your own use"


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Attributes
    ----------
    title : str
        What it holds.
    repository, commit : str
        Owner and name of the repository on GitHub, and the full hash of the commit.
    files : mapping of str to str
        SHA-256 of each file, by its path in the repository.
    read : callable
        Makes a labelled training record of the files, in that order.
    passes : str
        What the files lack and a fit needs, to be passed; empty where nothing is.
    citation, licence : str
        How to cite the set, and what its repository says of its use.
    about : str
        What one has to know of it, for the attribute ``comment``.
    """

    title: str
    repository: str
    commit: str
    files: Mapping[str, str]
    read: Callable[[Sequence[Path]], xr.Dataset]
    passes: str
    citation: str
    licence: str
    about: str

    @property
    def source(self) -> str:
        """Address of the repository at the commit."""
        return f"https://github.com/{self.repository}/tree/{self.commit}"


def _records(table: pd.DataFrame, run: str, per_obs: Mapping[str, str], per_run: Mapping[str, str]) -> xr.Dataset:
    """A ragged record of rows that name their run, in the order of the table; values by role from columns."""
    table = table.sort_values(
        run, key=lambda column: column.map({v: i for i, v in enumerate(column.unique())}), kind="stable"
    )
    runs = table.groupby(run, sort=False)
    first, sizes = runs.first(), runs.size()
    ds = xr.Dataset({role: ("obs", np.asarray(table[column])) for role, column in per_obs.items()})
    coords: dict[str, Any] = {role: ("run", np.asarray(first[column])) for role, column in per_run.items()}
    return ds.assign_coords(coords | {"run": first.index.astype(str).tolist(), "row_size": ("run", sizes.to_numpy())})


def _described(ds: xr.Dataset, **long_names: str) -> xr.Dataset:
    """Label with losses in nats per token, and with what other variables are."""
    ds = label(
        ds.set_coords([name for name in ds.data_vars if name != "loss"]),
        units={"loss": "nats per token"},
    )
    for name, text in long_names.items():
        ds[name].attrs = {"units": "1"} | ds[name].attrs | {"long_name": text}
    return ds


def _chinchilla(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    table = pd.read_csv(paths[0])
    params, flops = np.asarray(table["Model Size"]), np.asarray(table["Training FLOP"])
    ds = xr.Dataset(
        {"loss": ("run", np.asarray(table["loss"]))},
        {"params": ("run", params), "tokens": ("run", flops / (6 * params)), "run": np.arange(params.size).astype(str)},
    )
    return _described(ds, loss="final loss")


def _multipower(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    tables = []
    for path in paths:
        size = path.parent.name.removeprefix("csv_")  # millions of parameters
        tables.append(
            pd.read_csv(path).assign(run=f"{size}M {path.stem}", schedule=path.stem, params=1e6 * float(size))
        )
    table = pd.concat(tables)
    ds = _records(
        table,
        "run",
        {"loss": "loss", "step": "step", "learning_rate": "lr"},
        {"params": "params", "schedule": "schedule"},
    )
    ds = ds.assign_coords(warmup_steps=("run", np.full(ds.sizes["run"], 2160.0)))
    return _described(ds, loss="training loss, one pass over the data", schedule="learning-rate schedule and its steps")


def _gemstones(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    table = pd.read_json(paths[0], lines=True)
    table["batch_size"] = table["tokens"] / table["step"]
    ds = _records(
        table,
        "run_name",
        {"loss": "final_loss", "step": "step", "tokens": "tokens"},
        {"params": "params_active_precise", "width": "width", "depth": "depth", "batch_size": "batch_size"},
    )
    return _described(ds, depth="number of layers")


def _gemstones_cooled(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    table = pd.read_json(paths[0], lines=True)
    columns = {
        "params": "params_active_precise",
        "width": "width",
        "depth": "depth",
        "tokens": "tokens",
        "step": "step",
    }
    names = table["run_name"] + ", " + (table["tokens"] / 1e9).round().astype(int).astype(str) + "B tokens"
    ds = xr.Dataset({"loss": ("run", np.asarray(table["final_loss"]))}).assign_coords(
        {role: ("run", np.asarray(table[column])) for role, column in columns.items()}
        | {"batch_size": ("run", np.asarray(table["tokens"] / table["step"])), "run": names.tolist()}
    )
    return _described(ds, loss="loss after the cooldown", depth="number of layers")


MISFITTING = {
    "params": "N",
    "params_without_embedding": "N_no_emb",
    "batch_size": "batch_size",
    "peak_lr": "peak_lr",
    "total_steps": "total_steps",
}


def _misfitting(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    table = pd.read_csv(paths[0])
    table["batch_size"] = table["D"] / table["current_steps"]
    # A row states its step, its epoch and the number of epochs; some contradict each other.
    epoch = table["current_steps"] / table["current_epoch"]
    last = table["current_epoch"] == table["total_epochs"]
    agrees = (last & (table["current_steps"] == table["total_steps"])) | (
        ~last & (np.ceil(table["total_steps"] / epoch) == table["total_epochs"])
    )
    keys = ["model", "total_steps", "peak_lr", "total_epochs", "sweep"]
    table["run"] = [" ".join(map(str, row)) for row in table[keys].itertuples(index=False)]
    ds = _records(table[agrees], "run", {"loss": "loss", "step": "current_steps", "tokens": "D"}, MISFITTING)
    ds = join_restarts(
        split_restarts(note(ds, f"left out {int((~agrees).sum())} rows whose step contradicts their epoch"))
    )
    curves = np.asarray(ds["row_size"] > 1)
    ds = note(select_runs(ds, curves), f"left out {int((~curves).sum())} runs of one checkpoint")
    return _with_embedding(ds)


def _misfitting_final(paths: Sequence[Path]) -> xr.Dataset:
    import pandas as pd

    table = pd.read_csv(paths[0])
    table["batch_size"] = table["D"] / table["current_steps"]
    columns = MISFITTING | {"tokens": "D", "step": "current_steps"}
    ds = xr.Dataset({"loss": ("run", np.asarray(table["loss"]))}).assign_coords(
        {role: ("run", np.asarray(table[column])) for role, column in columns.items()}
        | {"run": np.arange(len(table)).astype(str)}
    )
    return _with_embedding(ds)


def _with_embedding(ds: xr.Dataset) -> xr.Dataset:
    return _described(
        ds.assign_attrs(counting="total"),
        loss="test loss on C4",
        params_without_embedding="number of parameters without embeddings",
        peak_lr="peak learning rate",
        total_steps="optimiser steps of the whole run",
    )


MISFITTING_ABOUT = (
    "11 sizes with 57 million to 1.18 billion parameters. The learning rate of a step is not published; "
    "learning_rate='peak_lr' takes its peak for it."
)
MISFITTING_FROM = {
    "repository": "hadasah/scaling_laws",
    "commit": "1f3708c0a12df0effb0ee906b1da5f9f0ff4f4f1",
    "passes": "learning_rate, for one 'peak_lr'",
    "citation": "M. Li, S. Kudugunta, L. Zettlemoyer, (Mis)Fitting: a survey of scaling laws, ICLR 2025, arXiv:2502.18969",
    "licence": NONE_STATED,
    "about": MISFITTING_ABOUT,
}
GEMSTONES_FROM = {
    "repository": "mcleish7/gemstone-scaling-laws",
    "commit": "5f420478f6057b0cbb4d13405fb10ca64675bccb",
    "passes": "learning_rate",
    "citation": "S. McLeish et al., Gemstones: a model suite for multi-faceted scaling laws, 2025, arXiv:2502.06857",
    "licence": "MIT",
}

PUBLIC_SETS = {
    "chinchilla": PublicSet(
        title="245 final losses of the Chinchilla models, read off a figure of Hoffmann et al.",
        repository="epoch-research/analyzing-chinchilla",
        commit="92258837425e1b5f2851d624287f0120583a3d0e",
        files={
            "data/svg_extracted_data.csv": "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
        },
        read=_chinchilla,
        passes="batch_size, learning_rate",
        citation="T. Besiroglu, E. Erdil, M. Barnett, J. You, Chinchilla scaling: a replication attempt, 2024, arXiv:2404.10102",
        licence=NONE_STATED,
        about="Reconstructed from the vector graphics of Figure 4 of arXiv:2203.15556; tokens are FLOP / (6 params). The "
        "authors leave out the 5 highest losses when they fit.",
    ),
    "multipower-law": PublicSet(
        title="Training losses of Llama-style models under 9 learning-rate schedules, 25 and 100 million parameters",
        repository="thu-yao-01-luo/MultiPowerLaw",
        commit="8da9f1902602f3391b971a811e3cc51604541769",
        files={
            "loss_curve_repo/csv_25/constant_24000.csv": "5a7c0b440751e258e7199eeefe9f0ae58520a2f2d64c5f81524d8d375f75f0ce",
            "loss_curve_repo/csv_25/constant_72000.csv": "99ee51a9be7b7fb71511d0af28edd6bc6221350d2ad26a66c615467cb5c83247",
            "loss_curve_repo/csv_25/cosine_24000.csv": "554e35f9efbe28a614c9ae1121b3bf55490df6b72a5898957f68a52770038e3a",
            "loss_curve_repo/csv_25/cosine_72000.csv": "af3b25a485966a0f7fc34824774cf8ec85af14848a6dc7b64d6a8d3d044befa5",
            "loss_curve_repo/csv_25/wsd_20000_24000.csv": "8649b7de4b4b31db5c35f4ff0458af9472a50168177de6372c3ceb37ace9fc62",
            "loss_curve_repo/csv_25/wsdcon_18.csv": "9b9bd40f519d20ecbf540d4c9451f6a01b7b379b1d335407ba4651025cc5926f",
            "loss_curve_repo/csv_25/wsdcon_3.csv": "3d37fcf82c237e5c1ba2ee34c4b9e606ecba781536d4fea9a7dde5463207fc3d",
            "loss_curve_repo/csv_25/wsdcon_9.csv": "b7579f38b5e175d9e9dc9b9598b409efdf2cba0a68819857ba28649c242c2bd8",
            "loss_curve_repo/csv_25/wsdld_20000_24000.csv": "8e3a9ae33ed586e5040a114fad215f4f245c6a2ff7d96f61cba02ccd8b74b3e7",
            "loss_curve_repo/csv_100/constant_24000.csv": "034a75e2415373a9be1097e9d406f98524344f4718d200d3a188dcbd5115103b",
            "loss_curve_repo/csv_100/constant_72000.csv": "52b5752009e1e4c396f15016e98897238fccb3816f58576ea944f03fe529dbc3",
            "loss_curve_repo/csv_100/cosine_24000.csv": "dd544dc61a11fa138c98ac0b673d5512287062d2d2d2e9c2867976abc8c46e69",
            "loss_curve_repo/csv_100/cosine_72000.csv": "2e637203b48b3e3a84063f49035cde2f6a40c69ecd15d95b6551774b9a279f44",
            "loss_curve_repo/csv_100/wsd_20000_24000.csv": "e66df98c85dba705ebc85512c6a09a8ebec5675878a20d4d783c0bf80d031002",
            "loss_curve_repo/csv_100/wsdcon_18.csv": "33cfea673dc0efde9e4fd74cc47d8daabdebfdc6d5a2659835bd780347f6e651",
            "loss_curve_repo/csv_100/wsdcon_3.csv": "a1cbb8c730ae0628d69bb1d7aefadbad5cda5f6a92272f85203cd33d7b8f4912",
            "loss_curve_repo/csv_100/wsdcon_9.csv": "510256497a0ea9d4270919fb37c56140e1b4d07e50b96b46334891ba316f144e",
            "loss_curve_repo/csv_100/wsdld_20000_24000.csv": "0ef6b02e260ff5efa51a5885655ead8cf126a7e9c4ea3034d403e11852c06fe2",
        },
        read=_multipower,
        passes="batch_size",
        citation="K. Luo et al., A multi-power law for loss curve prediction across learning rate schedules, ICLR 2025, "
        "arXiv:2503.12811",
        licence="MIT",
        about="Logged after the warm-up, 2160 steps to the peak rate. params are the round numbers by which the authors call "
        "their models. The loss is that of minibatches seen for the first time, and so an estimate of the test loss.",
    ),
    "gemstones": PublicSet(
        title="Losses of 22 models with 48 million to 2 billion parameters every 10 billion tokens to 350 billion, constant rate",
        files={
            "wandb_dfs/wandb_df_for_fitting_hot_100b+.jsonl": "1da97ce3d1394e0223826c8f5ca081cb0fb289ec65d2707fb5430721e92e9659",
        },
        read=_gemstones,
        about="Curves before the cooldown. The learning rate depends on the width and depth of a model and is not in the file.",
        **GEMSTONES_FROM,
    ),
    "gemstones-cooldown": PublicSet(
        title="Losses of 20 models with a cooldown of the rate at each tenth of 100 billion tokens",
        files={
            "wandb_dfs/wandb_df_for_fitting_cool_end.jsonl": "bdf01b6b21bafc414218124a6f9e195cee07f3d69ceacbfae2fcf069d34f4e61",
        },
        read=_gemstones_cooled,
        about="Each row is a run of its own that ended there, a table of final losses.",
        **GEMSTONES_FROM,
    ),
    "misfitting": PublicSet(
        title="Test losses at the checkpoints of 220 transformers, 5 peak learning rates",
        files={
            "data/scaling_results.csv": "193b4b7665365112605417e2ef06d55efe599cfa08412354e3ae42c3af7a9f58",
        },
        read=_misfitting,
        **MISFITTING_FROM,
    ),
    "misfitting-final": PublicSet(
        title="Test losses at the last checkpoints of these transformers, 261 rows",
        files={
            "data/scaling_results_last_ckpt_only.csv": "cd96b9eb8e5b2adc80e6739a642dd8554590edc96234d36859ab6ed0f5c30562",
        },
        read=_misfitting_final,
        **MISFITTING_FROM,
    ),
}
