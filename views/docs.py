"""The docs that hold numbers, and the README, written from the committed studies: templates filled with findings.

A template in ``docs/templates/`` calls the methods of ``Numbers``; what it does not call holds no number of ours.
"""

import re
import textwrap
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.equal_loss import When
from labels import label, listed
from views.doc_numbers import Numbers

TEMPLATES = Path("docs") / "templates"
README = "README.md"
WIDTH = 130
NOT_PROSE = ("#", "|", "<", "!", "```", "    ")  # how blocks begin whose lines are not to be filled


class Piloted(Protocol):
    """What the pilots of a cell say (``runner.pilots.Choice``): the best learning rate, the loss at each that was
    tried, and whether a better one may lie beyond them."""

    @property
    def rate(self) -> float | None: ...

    @property
    def losses(self) -> dict[float, float | None]: ...

    @property
    def at_edge(self) -> bool: ...


Pilots = Mapping[tuple[str, str], Piloted]  # by architecture and activation


def pages(
    contents: list[dict], report: dict, root: Path, parameters: str, pilots: dict[str, Pilots]
) -> dict[str, str]:
    """Every page that has a template, by its path from ``root``; ``parameters`` is the table of model sizes,
    ``pilots`` are those of each study that are complete."""
    filled = {
        "numbers": Numbers(contents, report, root),
        "parameters": parameters,
        "pilots": pilots,
    }
    templates = environment(root)
    names = sorted(path.name for path in (root / TEMPLATES).glob("*.md"))
    return {
        name if name == README else f"docs/{name}": wrapped(templates.get_template(name).render(filled))
        for name in names
    }


def environment(root: Path) -> Environment:
    """The templates, and what they use beside what they are filled with."""
    templates = Environment(
        loader=FileSystemLoader(root / TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals.update(label=label, When=When, edge_of_grid=edge_of_grid, favoured=favoured)
    return templates


def edge_of_grid(pilots: Pilots, models: Container[str]) -> str:
    """The cells of ``models`` whose best rate is at the edge of those tried, such as "0.016 in TinyLSTM (ReLU and
    GELU)", or nothing."""
    found: dict[tuple[str, float], list[str]] = {}
    for (model, activation), cell in pilots.items():
        if model in models and cell.at_edge and cell.rate:
            found.setdefault((model, cell.rate), []).append(label(activation))
    return "; ".join(f"{rate:g} in {label(model)} ({listed(names)})" for (model, rate), names in found.items())


def favoured(pilots: Pilots, model: str) -> str:
    """The best rate of each activation of an architecture, and those that were tried, such as "ReLU 0.001 and GELU
    0.004, of 0.001, 0.002 and 0.004"."""
    cells = {activation: cell for (name, activation), cell in pilots.items() if name == model and cell.rate}
    best = listed(f"{label(name)} {cell.rate:g}" for name, cell in cells.items())
    tried = sorted({rate for cell in cells.values() for rate in cell.losses})
    return f"{best}, of {listed(f'{rate:g}' for rate in tried)}"


def wrapped(markdown: str) -> str:
    """The paragraphs and list items of ``markdown`` in lines of at most ``WIDTH`` characters; all else as it is."""
    blocks, in_code = [], False
    for block in markdown.split("\n\n"):
        prose = not in_code and not block.lstrip().startswith(NOT_PROSE) and "```" not in block
        in_code ^= block.count("```") % 2 == 1
        blocks.append("\n".join(map(_filled, _items(block))) if prose else block)
    return "\n\n".join(blocks)


def _items(block: str) -> list[str]:
    """A paragraph, or each item of a list with the lines that continue it."""
    is_list = re.match(r"\n*(\* |\d+\. )", block)
    return re.split(r"\n(?=\* |\d+\. )", block) if is_list else [block]


def _filled(text: str) -> str:
    marker = re.match(r"\s*(\* |\d+\. )?", text)
    lines = textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        subsequent_indent=" " * len(marker.group(1) or "") if marker else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines + "\n" * (len(text) - len(text.rstrip("\n")))
