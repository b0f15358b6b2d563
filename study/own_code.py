"""A user's own models and activations in a study, such as ``my.py:GRULM``: which, and where they lie.

They are named by file and name, and loaded by path in every process that builds a model, so no code of a user's is
ever pickled. A digest of the source is part of a trial's identity.

PyTorch takes seconds to load, so what needs it imports it where it is used.
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import Config
from study.files import UserError
from study.users_code import check_is_python, execute, source_of, users_code

if TYPE_CHECKING:
    from types import ModuleType

    from activations import Activation
    from model import LanguageModel
    from training.own_model import OwnModel

DIGITS = 16  # of a source's digest
MODEL_TAKES = ("activation", "vocabulary_size", "context")

_loaded: dict[tuple[Path, str], "ModuleType"] = {}  # by file and digest of its source


@dataclass(frozen=True)
class Part:
    """``name`` in the user's file at ``path``; ``source`` is a digest of that and of what it imports beside it."""

    path: Path
    name: str
    source: str

    def get(self) -> Any:
        """The class or function, from the file, which is executed once in this process. UserError if it has changed
        since the run began."""
        if (self.path, self.source) not in _loaded:
            load(self.path)
        if (self.path, self.source) not in _loaded:
            raise UserError(f"{self.path} was changed after the run began; give the command again")
        return getattr(_loaded[self.path, self.source], self.name)


@dataclass(frozen=True)
class OwnCode:
    """The user's parts of a study, by the names that its cells have."""

    models: Mapping[str, Part] = field(default_factory=dict)
    activations: Mapping[str, Part] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.models or self.activations)

    def identity(self, model: str, activation: str) -> dict[str, str]:
        """What of a cell's identity tells its own source from another."""
        parts = {"model_source": self.models.get(model), "activation_source": self.activations.get(activation)}
        return {name: part.source for name, part in parts.items() if part}

    def files(self, model: str, activation: str) -> list[Path]:
        """Where a cell's own code lies; none of a cell without."""
        parts = (self.models.get(model), self.activations.get(activation))
        return [part.path for part in parts if part]

    def activation(self, name: str) -> "Activation":
        """What makes the activation ``name``, the user's own or one of those here. UserError for one that cannot."""
        from torch import nn

        from activations import Activation, activation_named

        part = self.activations.get(name)
        if part is None:
            return activation_named(name)
        make, called = part.get(), f"{part.path}: {name}()"
        with users_code(part.path):
            made = make() if takes(make) else None
            if not isinstance(made, nn.Module):
                found = "takes arguments" if made is None else f"makes {type(made).__name__}"
                raise UserError(f"{called} {found}; an activation is a torch.nn.Module class called without any")
            return Activation(name, make)

    def build(self, model: str, activation: str, config: Config, seed: int) -> "LanguageModel | OwnModel":
        """``model.build_model``, with what is the user's own."""
        from model import build_model, wrap_own_model

        part = self.models.get(model)
        if part is None:
            name = self.activation(activation) if activation in self.activations else activation
            return build_model(model, name, config, seed)
        with users_code(*self.files(model, activation)):
            factory = part.get()
            if not takes(factory, *MODEL_TAKES):
                raise UserError(f"{part.path}: {model} must take three arguments, ({', '.join(MODEL_TAKES)})")
            return wrap_own_model(factory, self.activation(activation), config, seed)


def takes(function: Any, *arguments: Any) -> bool:
    """Whether a function can be called with these."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not say
        return callable(function)
    return True


def load(path: Path) -> str:
    """Execute a user's file, unless this process has, and return the digest of its source. UserError, in one line,
    for one that cannot be."""
    check_is_python(path)
    with users_code(path):
        source = source_of(path)[:DIGITS]
        if (path, source) not in _loaded:
            _loaded[path, source] = execute(path)[0]
    return source


@contextmanager
def explaining_gates(activation: "Activation") -> Iterator[None]:
    """Around ``users_code``: of shapes that do not fit together with a gated activation, the error says what it is
    that a model has to heed."""
    try:
        yield
    except UserError as error:
        if not (activation.gated and isinstance(error.__cause__, RuntimeError)):
            raise
        hint = f"{activation.name} returns half of the features it is given; ask activation.gated for their number"
        raise UserError(f"{error} ({hint})") from error.__cause__


# ---------------------------------------------------------------- names on the command line


def own_code(models: Iterable[str], activations: Iterable[str]) -> OwnCode:
    """The user's parts among the names that were asked for; UserError for one that cannot be used."""
    from activations import ACTIVATIONS
    from model import ARCHITECTURES

    return OwnCode(parts("model", models, ARCHITECTURES), parts("activation", activations, ACTIVATIONS))


def parts(kind: str, asked: Iterable[str], known: Iterable[str]) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for spec in filter(is_own, asked):
        file, _, name = spec.rpartition(":")
        path = Path(file).absolute().resolve()
        if not file or not name:
            raise UserError(f"{spec!r} says no {kind}; give file and name, such as my.py:Name")
        source = load(path)
        module = _loaded[path, source]
        if not callable(getattr(module, name, None)):
            here = [
                each for each, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
            ]
            raise UserError(f"{file} has no {kind} {name!r} (it has: {', '.join(here) or 'none'})")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_]{0,59}", name):
            raise UserError(f"{file}: {name!r} would be part of a file's name; a letter first, letters, digits and _")
        if name in known:
            raise UserError(f"{file}: the name {name} is taken by a {kind} that is here; rename yours")
        if name in found and found[name].path != path:
            raise UserError(f"{file} and {found[name].path} both have a {kind} {name}; rename one")
        found[name] = Part(path, name, source)
    return found


def is_own(asked: str) -> bool:
    """Whether a name on the command line is one of a file's."""
    return ":" in asked or asked.endswith(".py")


def short_name(asked: str) -> str:
    """The name that cells have."""
    return asked.rpartition(":")[2]
