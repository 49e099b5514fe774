"""The names that logs and configurations give to the quantities of a training record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scalingeq.errors import DataError, raise_problems

from ..labels import ROLES

_TEST = r"(?:eval|evaluation|val|valid|validation|test|dev|heldout|held_out)"
_COUNT = r"(?:num|n|number_of|total)_?"

#: Names of each quantity in the order in which they are taken; case (but of single letters), "/", "." and spaces do not
#: matter. Several names of one line in one log are ambiguous, and refused.
KNOWN = {
    "step": (
        r"steps?",
        r"(?:\w+_)?global_step",
        r"iter(?:ation)?s?|current_steps?|train_(?:step|iter)|s",
        r"_step",  # counts calls of a logger, which are steps where nothing else is logged
    ),
    "loss": (
        rf"(?:metrics_)?{_TEST}_(?:.+_)?loss(?:_(?:epoch|value))?(?:_dataloader_idx_\d+)?|loss_{_TEST}|tel|final_loss"
        r"|(?:\w+_)?lm_loss_value(?:_\w+)?",
    ),
    "train_loss": (
        r"train(?:ing)?_loss|loss_train|trl",
        r"train(?:ing)?_loss_step",
        r"train(?:ing)?_loss_epoch",
        r"lm_loss|train_lm_loss|iter_loss",
    ),
    "loss_stderr": (r"(?:test_|eval_|val_)?loss_stderr",),
    "learning_rate": (
        r"learning_rate|lr",
        r"(?:train|optim|optimizer|opt|schedule)_(?:learning_rate|lr)",
        r"(?:\w+_)?(?:learning_rate|lr)_(?:group_?)?0",
        r"lr_(?:\w*adam\w*?|sgd|lion|muon|adafactor|rmsprop)(?:_pg1)?",  # of the monitor of a trainer: lr-AdamW/pg1
    ),
    "tokens": (
        r"tokens|tokens_seen|seen_tokens|consumed_tokens|(?:\w+_)?num_input_tokens_seen",
        rf"{_COUNT}tokens(?:_seen)?|train_tokens_seen|throughput_total_tokens",
        r"D",
    ),
    "batch_size": (
        r"tokens_per_(?:step|batch|iter|iteration|update)|(?:global_)?batch_size_(?:in_)?tokens|batch_tokens",
    ),
    "params": (
        rf"params|parameters|{_COUNT}param(?:eter)?s|param(?:eter)?_count|model_size|params_active_precise",
        r"N",
    ),
    "width": (r"width|d_model|n_embd|hidden_size|model_dim",),
    "warmup_steps": (r"(?:num_|n_)?warmup_(?:steps|iters)|lr_warmup_(?:steps|iters)",),
    "seed": (r"seed|random_seed",),
    "dataset_size": (r"unique_tokens|dataset_tokens",),
    "flops": (r"(?:training_)?flops?|total_flops?|total_flos|compute|C",),
    "epoch": (r"epochs?",),
}
#: Names of the schema itself, whose meaning is sure only in a tidy table made for it: elsewhere "loss" is the training
#: loss and "batch_size" counts sequences.
SCHEMA_ONLY = ("loss", "batch_size", "dataset_size")
RUN_COLUMNS = ("run", "run_name", "run_id")
PATTERNS = {role: tuple(re.compile(line) for line in lines) for role, lines in KNOWN.items()}


def plain(name: str) -> str:
    """Name without the differences that have no meaning.

    Examples
    --------
    >>> plain("Train/Loss"), plain("lm loss"), plain("_step")
    ('train_loss', 'lm_loss', '_step')
    """
    name = re.sub(r"[\s/.\-:]+", "_", name.strip())
    return name if len(name) == 1 else name.lower()


@dataclass(frozen=True)
class Naming:
    """Which column is what, as the caller says and as logs are known to do.

    Attributes
    ----------
    columns : mapping of str to str
        Column of each role that the caller names.
    values : mapping of str to Any
        Roles that the caller gives as values.
    run : tuple of str, optional
        Columns, or keys of the configuration, that name the run; None where each row is one.
    keep : tuple of str
        Columns and keys of the configuration to be kept under their own names.

    Examples
    --------
    >>> naming = Naming.of({"loss": "val", "params": 1e6})
    >>> naming.find("loss", ["iter", "val"]), naming.find("step", ["iter", "val"]), naming.is_wanted("grad_norm")
    ('val', 'iter', False)
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    run: tuple[str, ...] | None = ()
    keep: tuple[str, ...] = ()

    @classmethod
    def of(cls, roles: Mapping[str, Any], keep: Iterable[str] = ()) -> Naming:
        """Sort what the caller gave into names and values."""
        names = [name for name in ROLES if name not in ("run", "row_size")]
        raise_problems(
            [f"{role}: not a role; the roles are {', '.join(['run', *names])}" for role in roles if role not in ROLES],
            DataError,
        )
        run = roles.get("run", ())
        run = (run,) if isinstance(run, str) else None if run is None else tuple(run)
        rest = {role: value for role, value in roles.items() if role != "run"}
        columns = {role: value for role, value in rest.items() if isinstance(value, str)}
        keep = (keep,) if isinstance(keep, str) else tuple(keep)
        return cls(columns, {role: value for role, value in rest.items() if role not in columns}, run, keep)

    def is_wanted(self, column: str) -> bool:
        """Tell whether a column can be of use."""
        if (
            column in self.columns.values()
            or column in (self.run or ())
            or column in self.keep
            or column in RUN_COLUMNS
        ):
            return True
        name = plain(column)
        return name in SCHEMA_ONLY or any(p.fullmatch(name) for ps in PATTERNS.values() for p in ps)

    def find(
        self, role: str, columns: Iterable[str], *, is_tidy: bool = False, left_out: Iterable[str] = ()
    ) -> str | None:
        """Find the column of a role; None where there is none. ``left_out`` are columns to be told of in an error.

        Raises
        ------
        DataError
            If several columns can be it, or the column that the caller named is not there.
        """
        columns = list(columns)
        if role in self.columns:
            if self.columns[role] not in columns:
                raise DataError(
                    f"{role}: no column {self.columns[role]!r}; the log has {_listed([*columns, *left_out])}"
                )
            return self.columns[role]
        if role in self.values:
            return None
        taken = {*self.columns.values(), *(self.run or ())}
        if role == "train_loss":
            taken.add(self.find("loss", columns, is_tidy=is_tidy) or "")
        names = {column: plain(column) for column in columns if column not in taken}
        if is_tidy and role in names and role != "loss":
            return role
        for pattern in PATTERNS[role]:
            found = [column for column, name in names.items() if pattern.fullmatch(name)]
            if len(found) > 1:
                raise DataError(f"{role}: can be {_listed(found)}; pass {role}=NAME")
            if found:
                return found[0]
        # "loss" is the test loss of a tidy table that has no other, and the training loss elsewhere.
        schema = "loss" if role == "train_loss" else role if is_tidy and role in SCHEMA_ONLY else None
        return next((column for column, name in names.items() if name == schema), None)


def _listed(names: list[str], most: int = 40) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest if names else "no columns of numbers"
