"""Predictions that exist: how much models of one kind disagree, and whether those of another kind disagree more.

``compare`` is the same from Python. Needs NumPy and SciPy, no PyTorch.
"""

import argparse
import json
import math
import os
import sys
import textwrap
from pathlib import Path

from numpy.typing import ArrayLike
from tqdm import tqdm

from analysis.compared_shown import as_json, long_table, tables, words
from analysis.comparing import Compared, compare_groups
from analysis.model_files import Groups, matched, named_groups
from analysis.predictions import (
    MISMATCHES,
    Unfit,
    check_alike,
    check_all,
    compare_pairs,
    load,
    n_steps,
    read_targets,
    seconds_needed,
)
from labels import counted
from study import cli
from study.files import UserError, check_writable, write_bytes
from views.render import csv_text, render

PROGRAM = "compare.py"
LINE = 110  # characters
LONG = 60  # seconds, above which it is said beforehand how long it takes
DESCRIPTION = """\
How much do models disagree that differ only in their seed, and do those of one kind disagree more than those of
another? Compares predictions on the same samples, from files that any framework can write."""
EXAMPLES = """\
examples:
  compare.py run1.npy run2.npy                         these two models
  compare.py relu/*.npy --vs gelu/*.npy --targets y.npy
  compare.py "relu=out/relu_*.npy" --vs "gelu=out/gelu_*.npy" --logits --html page.html
  compare.py nightly/*.npy --fail-above 5%             exit code 1 if two of them disagree on more

files:
  .npy or .npz (FILE.npz:ARRAY if it holds several) with one model's probabilities of shape (samples, classes), logits
  of that shape with --logits, or labels (samples,), of which only mismatches can be told. Pickles are never read.

groups:
  A group is called NAME with NAME=FILE or NAME=PATTERN, else as the folder of its files. If all groups have files of
  the same names, those of one name are taken for a pair, such as of one seed; otherwise the groups are unpaired.
  --paired and --unpaired say it instead.

how much can be told:
  2 models    these two, with an interval over samples      3 to 5 of a group    an interval over models
  6 and more  a test and a verdict: is one group's disagreement 10 % above the other's?

exit codes: 0; 1 if --fail-above found more; 2 for files or options that cannot be used, in one line on stderr."""


def main(argv: list[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    return cli.outcome(PROGRAM, lambda: run(arguments))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.parser_with_examples(PROGRAM, DESCRIPTION, EXAMPLES)
    parser.add_argument("files", nargs="+", type=cli.nonempty, metavar="FILE", help="the models of the first group")
    parser.add_argument(
        "--vs",
        nargs="+",
        action="append",
        type=cli.nonempty,
        default=[],
        metavar="FILE",
        help="those of another group; may be repeated",
    )
    parser.add_argument(
        "--targets",
        type=cli.nonempty,
        metavar="FILE",
        help="the true classes (samples,), for the accuracy and loss to read beside",
    )
    pairing = parser.add_mutually_exclusive_group()
    pairing.add_argument(
        "--paired",
        dest="paired",
        action="store_true",
        default=None,
        help="the files of all groups belong together in the order in which they are given, such as by their seed",
    )
    pairing.add_argument("--unpaired", dest="paired", action="store_false", help="no two files belong together")
    parser.add_argument("--logits", action="store_true", help="the files hold logits; a softmax is applied")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of words and tables")
    parser.add_argument("--html", type=cli.path, metavar="FILE", help="also write one page to read and send")
    parser.add_argument("--csv", type=cli.path, metavar="FILE", help="also write all numbers, one a line")
    parser.add_argument(
        "--fail-above",
        type=share,
        metavar="SHARE",
        help="exit with 1 if two models of any group disagree on a larger share of the samples, on average over the "
        "group's pairs (top-1 mismatches), such as 5%% or 0.05; of groups of one model each, between these",
    )
    return parser.parse_args(argv)


def share(text: str) -> float:
    """An option's value that is a part of the samples."""
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1 or (value == 1 and not text.endswith("%")):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a percentage such as 5% nor a fraction below 1")
    return value


def run(arguments: argparse.Namespace) -> int:
    for path in (arguments.html, arguments.csv):
        if path is not None:
            check_output(path)
    try:
        groups = named_groups([arguments.files, *arguments.vs])
        compared = compare_models(
            groups, arguments.targets, logits=arguments.logits, paired=arguments.paired, shown=True
        )
    except Unfit as error:
        raise UserError(str(error)) from None
    if arguments.json:
        print(json.dumps(as_json(compared), indent=1, allow_nan=False))
    else:
        print_words(compared)
    if arguments.csv:
        write_bytes(arguments.csv, csv_text(long_table(compared)).encode(errors="replace"))
    if arguments.html:
        from views.compare_page import compare_page  # here, because nothing else needs matplotlib

        write_bytes(arguments.html, compare_page(compared).encode(errors="replace"))
    return cli.FAILED if arguments.fail_above is not None and fails(compared, arguments.fail_above) else 0


def check_output(path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file to write")
    check_writable(path.parent)


def print_words(compared: Compared) -> None:
    for sentence in words(compared):
        print(textwrap.fill(sentence, LINE, subsequent_indent="  ", break_long_words=False))
    for table in tables(compared):
        print(f"\n{render(table, 'github')}", flush=True)


def fails(compared: Compared, limit: float) -> bool:
    """Whether models disagree on more than ``limit`` of the samples; says on stderr where they do."""
    within = [(f"two models of {each.name}", each.metrics[MISMATCHES].mean) for each in compared.groups]
    known = [found for found in within if not math.isnan(found[1])] or [
        (f"{each.first.name} and {each.second.name}", each.across[MISMATCHES]) for each in compared.comparisons
    ]
    above = [(who, mean) for who, mean in known if mean > limit]
    for who, mean in above:
        print(
            f"{PROGRAM}: {who} disagree on {100 * mean:.2f} % of the samples, above {100 * limit:g} %",
            file=sys.stderr,
        )
    return bool(above)


# ---------------------------------------------------------------- the comparison


def compare(
    groups: Groups,
    targets: str | os.PathLike | ArrayLike | None = None,
    *,
    logits: bool = False,
    paired: bool | None = None,
) -> dict:
    """What ``compare.py --json`` prints, from Python.

    groups    by name, the models of each: paths as on the command line, or arrays of probabilities
              (samples, classes), logits of that shape if ``logits``, or labels (samples,)
    targets   the true classes (samples,), a path or an array
    paired    whether the i-th models of all groups belong together, such as by their seed. None: files that have the
              same names in all groups do, arrays do not

    Raises ValueError for what cannot be compared; the message names the file, or the array as ``group[place]``.
    """
    return as_json(compare_models(groups, targets, logits=logits, paired=paired))


def compare_models(
    groups: Groups,
    targets: str | os.PathLike | ArrayLike | None,
    *,
    logits: bool,
    paired: bool | None,
    shown: bool = False,
) -> Compared:
    """``compare``, with everything that tables and the page need; ``shown`` in a terminal with its progress."""
    groups, pairing = matched(groups, paired)
    models = {name: load(name, group, logits) for name, group in groups.items()}
    every = [model for group in models.values() for model in group]
    n_samples, n_classes = check_alike(every)
    classes = None if targets is None else read_targets(targets, n_samples, n_classes)
    if shown and (seconds := seconds_needed(every)) > LONG:
        pairs = counted(math.comb(len(every), 2), "pair")
        print(f"{PROGRAM}: {pairs} of models, about {math.ceil(seconds / 60)} minutes", file=sys.stderr)
    with tqdm(total=n_steps(every), desc="comparing", leave=False, disable=None if shown else True) as bar:
        checked = check_all(every, classes, bar.update)
        distances = compare_pairs(checked, bar.update)
    remaining = iter(checked)
    by_group = {name: [next(remaining) for _ in group] for name, group in models.items()}
    return compare_groups(by_group, distances, pairing, classes is not None)


if __name__ == "__main__":
    sys.exit(main())
