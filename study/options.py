"""The options by which commands are asked for a study, and the study that they ask for."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import config as full_config
import config_cpu
import config_trained
from config import (
    ACTIVATIONS,
    MODELS,
    MODERN,
    ONLY_WITH_DROPOUT,
    OPTIMIZERS,
    PARENTS,
    STREAMS,
    Config,
    base_name,
    size_in,
)
from study import cli
from study.environment import has_bfloat16_products
from study.files import CHECKPOINTS_DIR, RESULTS_DIR, UserError, digest
from study.own_code import OwnCode, is_own, own_code
from study.own_text import OwnText, check_length, name_of, read_text
from study.plan import PRECISIONS, Study, default_precision, device_here, has_cuda
from study.store import Store, check_study_name, published_studies

# Far above what can be trained, so that a slip of the finger is said instead of tried.
MOST_TRIALS = 1_000
MOST_STEPS = 10_000_000
MOST_WORKERS = 1_000
MOST_SHARDS = 1_000_000
MOST_DROPOUT = 0.9

CONFIGS = {"cuda": full_config.CONFIG, "cpu": config_cpu.CONFIG, "trained": config_trained.CONFIG}


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """The options that train.py and run_all_experiments.py share."""
    _add_recipe(parser)
    _add_measured(parser)
    _add_device(parser)
    _add_places(parser)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how a trial is trained")
    group.add_argument(
        "--config",
        choices=("auto", *CONFIGS),
        default="auto",
        help="cuda: the full study, config.py; cpu: laptop scale, config_cpu.py; trained: trained until "
        "good at laptop scale, config_trained.py; auto: cuda where CUDA is available, else cpu",
    )
    group.add_argument(
        "--trials", type=cli.up_to(MOST_TRIALS), metavar="N", help="trials of a cell (default: 3; trained: 10)"
    )
    group.add_argument("--iterations", type=cli.up_to(MOST_STEPS), metavar="K", help="training steps of a trial")
    group.add_argument(
        "--seed-base",
        type=cli.seed,
        metavar="S",
        help="trial i is trained from seed S + i - 1; the probe set and the evaluation windows are drawn from S "
        "(default: 42; trained: 1000)",
    )
    group.add_argument("--optimizer", choices=OPTIMIZERS, help="default: the configuration's own")
    group.add_argument(
        "--learning-rate",
        type=cli.learning_rate,
        metavar="R",
        help="the same for every cell (default: the configuration's own; trained: that of the cell in "
        "config_trained.RATES, into which what pilots chose is to be copied, and "
        f"{config_trained.CONFIG.learning_rate:g} for a cell without an entry)",
    )
    group.add_argument(
        "--dropout", type=dropout, metavar="P", help="share of values dropped (default: 0.2; trained: 0)"
    )
    group.add_argument(
        "--vary",
        nargs="+",
        choices=(*STREAMS, "none"),
        metavar="STREAM",
        help=f"a control: only these of {', '.join(STREAMS)} differ between trials (none: all trials are the same)",
    )


def _add_measured(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--eval-interval", type=cli.up_to(MOST_STEPS), metavar="K", help="training steps between evaluations"
    )
    group.add_argument(
        "--contexts-between",
        type=cli.positive_int,
        metavar="K",
        help="predict on the first K contexts of the probe set only at evaluations before the end of training, which "
        "then cost less; at the end on all (default: always on all)",
    )
    group.add_argument(
        "--landscape",
        action=argparse.BooleanOptionalAction,
        help="measure curvature, gradient noise and loss barriers when a trial ends (default: as the configuration "
        "says); changes no other number",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on what device")
    group.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the configuration's own")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of matrix products in training and of the activations between them; weights, norms, softmax, loss and "
        "evaluation are float32 (default: bfloat16 with CUDA, else float32)",
    )
    group.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="record the training step on a GPU and replay it: the same bits, less time (untested)",
    )


def _add_places(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("text and results")
    group.add_argument(
        "--study",
        metavar="NAME",
        help="name of the results (default: that of the configuration, with what --device, --optimizer, "
        "--precision, --learning-rate or --dropout changes; cpu_here where the results of cpu are published ones)",
    )
    group.add_argument(
        "--corpus",
        type=cli.path,
        metavar="FILE",
        help="another text than Tiny Shakespeare, in UTF-8; the study is called NAME_FILE, such as cpu_mytext",
    )
    group.add_argument("--results-dir", type=cli.path, default=RESULTS_DIR, metavar="DIR", help="default: results")
    group.add_argument(
        "--checkpoints-dir", type=cli.path, default=CHECKPOINTS_DIR, metavar="DIR", help="default: checkpoints"
    )


def dropout(text: str) -> float:
    """The value of --dropout."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MOST_DROPOUT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to {MOST_DROPOUT}")
    return value


def study_from(args: argparse.Namespace, runs_here: bool = True) -> Study:
    """The study that the options ask for; UserError where they cannot be met, if it ``runs_here``."""
    scale = device_here() if args.config == "auto" else args.config
    config = CONFIGS[scale]
    device = args.device or config.device
    if device == "cuda" and runs_here and not has_cuda():
        raise UserError("no CUDA device is available here; choose --config cpu, or --device cpu")
    if device == "mps" and runs_here:
        import torch  # here, because it takes seconds to load

        if not torch.backends.mps.is_available():
            raise UserError("no MPS device is available here; choose --device cpu")
    if args.cuda_graphs and device != "cuda":
        raise UserError(f"--cuda-graphs is for CUDA devices, not for {device}")
    precision = None if args.precision == default_precision(device) else args.precision
    if precision == "bfloat16" and runs_here:
        check_bfloat16(device)
    store = Store(args.results_dir.absolute(), args.checkpoints_dir.absolute())
    name = check_study_name(default_name(config, device, args, store) if args.study is None else args.study)
    if args.vary and "none" in args.vary and len(args.vary) > 1:
        raise UserError("--vary none says that nothing differs between trials, so no stream is named beside it")
    changes = {
        "study": name,
        "optimizer": args.optimizer,
        "learning_rate": args.learning_rate,
        "rates": {} if args.learning_rate else None,
        "dropout": args.dropout,
        "iterations": args.iterations,
        "eval_interval": args.eval_interval,
        "contexts_between": contexts_between(args, config),
        "seed_base": args.seed_base,
        "n_trials": args.trials,
        "landscape": args.landscape,
        "vary": args.vary and tuple(name for name in STREAMS if name in args.vary),
    }
    config = replace(config, **{key: value for key, value in changes.items() if value is not None})
    if config.seed_base + config.n_trials - 1 > cli.LARGEST_SEED:
        raise UserError(
            f"--seed-base {config.seed_base}: the seed of trial {config.n_trials} would be above {cli.LARGEST_SEED}"
        )
    own, text = own_asked_for(args, config), None
    if args.corpus:
        text, config = own_text(args.corpus.absolute(), config)
    return Study(config, scale, device, store, args.cuda_graphs, own, text, precision)


def check_bfloat16(device: str) -> None:
    """UserError where a device has none; a line where it would be slower than float32."""
    if device == "mps":
        raise UserError("--precision bfloat16 is for cpu and cuda, not for mps")
    if device == "cpu" and has_bfloat16_products() is not True:
        cli.say(
            "this processor has no instructions for products of bfloat16 numbers (AVX512-BF16, AMX), as far as the "
            "system says: float32 is faster here"
        )


def contexts_between(args: argparse.Namespace, config: Config) -> int | None:
    """None where that is all of them; UserError where it is more."""
    asked: int | None = args.contexts_between
    if asked is not None and asked > config.probe_contexts:
        raise UserError(f"--contexts-between {asked}: the probe set has {config.probe_contexts} contexts")
    return None if asked == config.probe_contexts else asked


def own_asked_for(args: argparse.Namespace, config: Config) -> OwnCode:
    """The user's models and activations among those that were asked for; said, with the digests of their sources."""
    if getattr(args, "reproduce", None):
        models, activations = ([name] for name in args.reproduce[:2])
    elif hasattr(args, "models"):
        models, activations = (names_from(chosen, {}) for chosen in (args.models, args.activations))
    else:
        models, activations = [args.model], [args.activation]
    if not any(map(is_own, (*models, *activations))):
        return OwnCode()
    own = own_code(models, activations)
    if own.models and config.optimizer == "muon":
        raise UserError("--optimizer muon has to know which matrices are embedding and head; choose adam or adamw")
    for part in (*own.models.values(), *own.activations.values()):
        cli.say(f"{part.name}: from {part.path}, source {part.source}")
    return own


def own_text(path: Path, config: Config) -> tuple[OwnText, Config]:
    """The user's text, and ``config`` with its vocabulary; what is changed when it is read is said."""
    text, changes = read_text(path)
    check_length(path, text, config)
    config = replace(config, vocabulary_size=len(set(text)))
    about = f"{len(text):,} characters, {config.vocabulary_size} different ones"
    cli.say("; ".join([f"text: {path}, {about}", *changes]))
    return OwnText(path, digest(text.encode())), config


def default_name(config: Config, device: str, args: argparse.Namespace, store: Store) -> str:
    """The name of a study that was given none: never that of a published one, whose files are not to be changed."""
    name = config.study if device == config.device else f"{config.study}_on_{device}"
    name = name if args.optimizer in (None, config.optimizer) else f"{name}_{args.optimizer}"
    name = name if args.precision in (None, default_precision(device)) else f"{name}_{args.precision}"
    own_rate = None if config.rates else config.learning_rate
    name = name if args.learning_rate in (None, own_rate) else f"{name}_rate_{args.learning_rate:g}"
    name = name if args.dropout in (None, config.dropout) else f"{name}_dropout_{args.dropout:g}"
    name = f"{name}_{name_of(args.corpus)}" if args.corpus else name
    return f"{name}_here" if name in published_studies(store.results) else name


# ---------------------------------------------------------------- names of models and activations


def check_names(study: Study, models: Iterable[str], activations: Iterable[str]) -> None:
    """UserError for an unknown model or activation, or a model that the configuration has no Shape for."""
    config = study.config
    models = [name for name in models if name not in study.own.models and not is_sized(name, config)]
    activations = [name for name in activations if name not in study.own.activations]
    if ONLY_WITH_DROPOUT in models and not config.dropout:
        raise UserError(
            f"without dropout {ONLY_WITH_DROPOUT} is {PARENTS[ONLY_WITH_DROPOUT]} itself; it is for studies with "
            "dropout, such as by run_all_experiments.py --dropout 0.2"
        )
    if set(models) <= {*MODELS, *PARENTS} & config.shapes.keys() and set(activations) <= {*ACTIVATIONS, *MODERN}:
        return
    # Here, because they load PyTorch, which is needed for none but the names that config.py does not list.
    from activations import ACTIVATIONS as registry
    from model import ARCHITECTURES

    if lacking := [name for name in models if name in ARCHITECTURES and name not in config.shapes]:
        raise UserError(f"model {lacking[0]!r} has no shape in this configuration; docs/extend.md says how to add it")
    shaped = [name for name in ARCHITECTURES if name in config.shapes]
    for kind, names, known in (("model", models, shaped), ("activation", activations, list(registry))):
        for name in names:
            if name not in known:
                raise UserError(f"unknown {kind} {name!r}; choose from {', '.join(known)}")


def is_sized(name: str, config: Config) -> bool:
    """Whether the name of a model has a size, such as charlm@1M; UserError for one that cannot be had."""
    if "@" not in name:
        return False
    size = size_in(name)
    if size is None or name != f"{base_name(name)}@{size / 1e6:g}M":
        raise UserError(f"{name!r} is no size; write millions of parameters, such as charlm@0.25M or charlm@10M")
    try:
        config.shape_of(name)
    except ValueError as error:
        raise UserError(str(error)) from None
    return True


def names_from(chosen: list[str], groups: dict[str, tuple[str, ...]]) -> list[str]:
    """The names asked for, separated by spaces or commas; the name of one of ``groups`` means those in it."""
    names = [name for part in chosen for name in part.split(",") if name]
    if not names:
        raise UserError("a list of names is empty; leave the option out, or say all")
    return list(dict.fromkeys(n for name in names for n in groups.get(name, (name,))))
