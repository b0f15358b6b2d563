"""Code in a user's own file: executed where it lies, its mistakes said in one line, its source known by a digest."""

import ast
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from study.files import ROOT, UserError

COMMANDS = ("train.py", "run_all_experiments.py", "analyze_results.py", "compare.py", "sensitivity.py")

_folders = {ROOT}  # from which modules were imported


def check_is_python(path: Path) -> None:
    """UserError for what is no file, or no module's."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.suffix != ".py":
        raise UserError(f"{path} is not a .py file")


def execute(path: Path) -> tuple[ModuleType, str]:
    """The module in a file, and a hash of its source and of what it imports from its folder."""
    source = source_of(path)
    spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with names_in(path.parent):
        spec.loader.exec_module(module)
    return module, source


@contextmanager
def names_in(folder: Path) -> Iterator[None]:
    """Inside, modules in ``folder`` are found first, also where this repository, or the folder of another file of the
    user's, has one of that name (nanoGPT, too, has a model.py)."""
    names = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    hidden = {}
    for name, module in list(sys.modules.items()):
        top, file = name.partition(".")[0], getattr(module, "__file__", None)
        elsewhere = file and top in names and {Path(file).parent, Path(file).parent.parent} & (_folders - {folder})
        if elsewhere:
            hidden[name] = sys.modules.pop(name)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.path.append(str(folder))  # for imports within functions
        sys.modules.update(hidden)
        _folders.add(folder)


# ---------------------------------------------------------------- its source


def source_of(path: Path) -> str:
    """A hash of a file and of those of its folder that it imports, anywhere in it, that these import, and so on."""
    return hash_of(files_of(path), path.parent)


def hash_of(files: Mapping[Path, bytes], folder: Path) -> str:
    """Of their names below ``folder`` and their contents."""
    source = hashlib.sha256()
    for file in sorted(files):
        source.update(f"{file.relative_to(folder)}\n".encode() + files[file])
    return source.hexdigest()


def files_of(path: Path) -> dict[Path, bytes]:
    """The file and those it imports (``source_of``), with their contents.

    They are read and not executed, so that it does not depend on what the process has imported before.
    """
    waiting, found = [path], {}
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = file.read_bytes()
            waiting += [each for each in imported_files(file, found[file], path.parent) if is_users(each, path)]
    return found


def imported_files(file: Path, code: bytes, folder: Path) -> list[Path]:
    """The files below ``folder`` that the ``code`` of a ``file`` there imports."""
    places: set[Path] = set()
    for node in ast.walk(ast.parse(code, str(file))):
        if isinstance(node, ast.Import):
            places |= {folder / alias.name.replace(".", "/") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else folder
            module = base / (node.module or "").replace(".", "/")
            places |= {module, *(module / alias.name for alias in node.names)}
    below = [place for place in places if place != folder and place.is_relative_to(folder)]
    files = {place.with_name(f"{place.name}.py") for place in below}
    files |= {
        part / "__init__.py" for place in below for part in (place, *place.parents) if part.is_relative_to(folder)
    }
    return [each for each in files if each.is_file()]


@cache
def repository_files() -> frozenset[Path]:
    """The files of this repository that its commands are made of."""
    waiting, found = [ROOT / name for name in COMMANDS], set()
    while waiting:
        file = waiting.pop()
        if file not in found and file.is_file():
            found.add(file)
            waiting += imported_files(file, file.read_bytes(), ROOT)
    return frozenset(found)


# ---------------------------------------------------------------- its mistakes


@contextmanager
def users_code(*paths: Path) -> Iterator[None]:
    """Whatever the user's code in ``paths`` raises inside becomes a UserError that says where, in one line."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        place = place_of(error, *(path.resolve() for path in paths))
        raise UserError(f"{place}: {type(error).__name__}: {said}") from error


def place_of(error: BaseException, *paths: Path) -> str:
    """The innermost line of the user's own code on the way to the error, such as "my_task.py, line 7, in model"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(is_users(Path(frame.filename).resolve(), path) for path in paths):
            return f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
    return paths[0].name


def is_users(file: Path, own: Path) -> bool:
    """Whether a file is the user's ``own``, or stands in its folder without being of this repository or installed."""
    if file == own:
        return True
    beside = file.suffix == ".py" and file.is_relative_to(own.parent) and "site-packages" not in file.parts
    return beside and not (own.parent == ROOT and file in repository_files())
