"""Lines of text that training programs print, one table row a kind of line, and how a line is taken apart.

Each pattern is possessive, atomic or bounded where it repeats, so that no text makes ``re`` look at a place more than a few
times.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: A number as C, C++ and Python print it, of bounded length.
NUMBER = rb"(?>[-+]?(?:(?:[0-9]{1,400}+(?:\.[0-9]{0,400}+)?+|\.[0-9]{1,400}+)(?:[eE][-+]?[0-9]{1,4}+)?+|(?i:nan|inf(?:inity)?+)))"
#: What may follow a number: no letter, which could be a multiple (0.3B), but for a time's unit.
ENDS = rb"(?=m?s(?![\w.])|%|\.?(?![-+\w.]))"
STEP = rb"(?P<step>[0-9]{1,15}+)"
TOTAL = rb"(?P<total>[0-9]{1,15}+)"
LOSS = rb"(?:[a-z]{1,20}+ )?loss "
WORDS = rb"(?<![\w.])(?P<key>[A-Za-z]\w{0,60}+(?: [A-Za-z]\w{0,60}+){0,5}) (?P<value>%b)%b" % (NUMBER, ENDS)
PAIRS = rb"(?<![\w.])(?P<key>[A-Za-z]\w{0,60}+)(?:: *+|=[\[(]{0,2}+)(?P<value>%b)%b" % (NUMBER, ENDS)
CELLS = rb"(?<=\|)\s*+(?P<key>[^\s|:][^|:]{0,99}?)(?:: *+| ++(?=[^ |]{1,60}+ *+(?:\||\Z)))(?P<value>%b)%b" % (
    NUMBER,
    ENDS,
)
PHRASES = rb"(?<![\w.])(?P<key>[A-Za-z][\w/]{0,60}+(?: [\w/]{1,60}+){0,5}(?: \(\w{1,9}+\))?): *+(?P<value>%b)%b" % (
    NUMBER,
    ENDS,
)


class Kind(NamedTuple):
    """One kind of line: the program that prints it, a line of the kind, and patterns of its head and its fields.

    A head begins with a letter, by which ``re`` finds it fast. Its groups: ``step``, which a line without one takes from
    the line before; ``total``, the steps of the whole run; ``set``, the data set, which is added to the fields' names.
    """

    program: str
    example: str
    head: re.Pattern[bytes]
    field: re.Pattern[bytes]


def _kind(program: str, example: str, head: bytes, field: bytes) -> Kind:
    return Kind(program, example, re.compile(head), re.compile(field))


KINDS = (
    _kind("nanoGPT", "iter 10: loss 9.6, time 250.0ms, mfu 3.4%", rb"iter *+%b: {1,4}+(?=%b)" % (STEP, LOSS), WORDS),
    _kind("nanoGPT", "step 10: train loss 9.6, val loss 9.7", rb"step *+%b: {1,4}+(?=%b)" % (STEP, LOSS), WORDS),
    _kind("nanoGPT", "Step 10: train loss 9.6, val loss 9.7", rb"Step *+%b: {1,4}+(?=%b)" % (STEP, LOSS), WORDS),
    _kind("llm.c", "s:0 trl:10.9", rb"s:%b +(?=(?:tel|trl|eval):)" % STEP, PAIRS),
    _kind("llm.c", "step 1/9 | loss 10.9", rb"step *+%b/%b \| (?=(?:train )?loss )" % (STEP, TOTAL), WORDS),
    _kind("llm.c", "val loss 10.9", rb"val(?<![^\n]val)(?= loss %b[ \t]*+(?:\n|\Z))" % NUMBER, WORDS),
    _kind("modded-nanogpt", "step:1/9 train_loss:10.9", rb"step:%b/%b +(?=\w{1,60}+:)" % (STEP, TOTAL), PAIRS),
    _kind(
        "Megatron-LM",
        "iteration 10/ 500 | lm loss: 6.5E+00 |",
        rb"iteration *+%b/ *+%b *+(?=\|)" % (STEP, TOTAL),
        CELLS,
    ),
    _kind(
        "Megatron-LM",
        "validation loss at iteration 10 | lm loss value: 6.5E+00 |",
        rb"validation (?:loss|results) at iteration %b(?: on validation set)?(?P<set> [^|\n]{1,80}?)? *+(?=\|)" % STEP,
        CELLS,
    ),
    _kind(
        "Megatron-LM",
        "validation loss at the end of training for val data | lm loss value: 6.5E+00 |",
        rb"validation (?:loss|results) at the end of training(?: for val(?:idation)? data| on validation set)?"
        rb"(?P<set> [^|\n]{1,80}?)? *+(?=\|)",
        CELLS,
    ),
    _kind(
        "DeepSpeed",
        "steps: 10 loss: 6.5 iter time (s): 0.5",
        rb"steps?: *+%b (?:/ *+%b )?(?=loss: )" % (STEP, TOTAL),
        PHRASES,
    ),
    _kind("DeepSpeed", "step=10, skipped=0, lr=[6e-05]", rb"step=%b, (?=skipped=)" % STEP, PAIRS),
)
#: Heads of all kinds, without groups, and one pattern of them all.
HEADS = tuple(re.sub(rb"\(\?P<\w+>", b"(?:", kind.head.pattern) for kind in KINDS)
ANY = re.compile(b"|".join(HEADS))
#: A loss that is no number. Without a colon a word after "loss" may belong to a longer name, unless it ends the field.
_NO_NUMBER = re.compile(
    rb"(?P<name>(?:loss|trl|tel)(?: value)?)(?:(?P<colon>[:=])[ \[(]{0,9}+| ++)(?!%b%b)(?P<value>[^\s,|]{1,40}+)"
    rb"(?(colon)|(?= *+(?:[,|]|\Z)))" % (NUMBER, ENDS)
)


class Row(NamedTuple):
    """What one line says: its kind, its text from the head on, matches of head and fields in it, and fields by column."""

    kind: Kind
    text: bytes
    head: re.Match[bytes]
    found: tuple[re.Match[bytes], ...]
    fields: dict[str, re.Match[bytes]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns; the step, where the line has one, comes first."""
        return ("step", *self.fields) if self.has_step else tuple(self.fields)

    @property
    def values(self) -> tuple[bytes, ...]:
        """Numbers, as they are printed."""
        values = tuple(field["value"] for field in self.fields.values())
        return (self.head["step"], *values) if self.has_step else values

    @property
    def total(self) -> int:
        """Steps of the whole run, 0 where the line does not tell."""
        return int(self.head.groupdict().get("total") or 0)

    @property
    def has_step(self) -> bool:
        """Whether the line tells its step."""
        return bool(self.head.groupdict().get("step"))


def parse(text: bytes) -> Row:
    """Take one line apart.

    Parameters
    ----------
    text : bytes
        The line, without its end, a head in it. Where output that was cut off, or of another process, stands before a
        second head, the last counts.

    Raises
    ------
    ValueError
        With the reason, if a loss is no number or the line has no numbers at all.

    Examples
    --------
    >>> row = parse(b"iter 10: loss 9.6, time 250.0ms")
    >>> row.kind.program, row.names, row.values
    ('nanoGPT', ('step', 'loss', 'time'), (b'10', b'9.6', b'250.0'))
    """
    *_, last = ANY.finditer(text)
    text = text[last.start() :]
    kind, head = next((kind, head) for kind in KINDS if (head := kind.head.match(text)))
    if wrong := _NO_NUMBER.search(text):
        name, value = (wrong[part].decode(errors="replace") for part in ("name", "value"))
        raise ValueError(f"{name} is {value!r}, which is no number")
    groups = head.groupdict()
    suffix = (groups.get("set") or b"").decode(errors="replace")
    found = tuple(kind.field.finditer(text, head.end() if groups.get("step") else 0))
    fields: dict[str, re.Match[bytes]] = {}
    for field in found:
        # A field that a line has twice counts once, as the first.
        fields.setdefault(field["key"].rstrip().decode(errors="replace") + suffix, field)
    fields.pop("step", None)
    if not fields:
        raise ValueError("it has no numbers")
    return Row(kind, text, head, found, fields)
