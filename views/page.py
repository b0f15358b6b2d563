"""One page about a study: words, tables, audit and figures in one HTML file that needs no other.

Pure functions of what is shown. Elements are made by ``tag``, which escapes every text, so that no name can be taken
for markup.
"""

import base64
import html
import itertools
import re
from collections.abc import Iterable

from matplotlib.figure import Figure

from analysis.differences import FEWEST, compare_pairs, difference_rows, p_text
from analysis.measure import by_model, shared_environment
from analysis.metrics_compared import COMPANIONS, verdict_rows
from analysis.omnibus import CORRECTED, RULES, sensitivity_rows
from analysis.report_tables import READ_BESIDE_LOSS
from analysis.table import ABSENT, Column, Table, number, texts, trial_count
from audit import tables as audit_tables
from labels import counted, label
from views import png

TITLE = "Does the activation function change how reproducible a language model is?"
QUESTION = (
    "Train a language model twice, changing nothing but the random seed, and the two will not predict quite the "
    "same. How much do they disagree, and does the choice of activation function change it? Here small "
    "character-level models are trained with several activation functions, several times with each, and compared."
)
MEASURED = (
    "A cell is one architecture with one activation; a trial is one model of it, trained from one seed. The seeds "
    "are the same in every cell, and all models of the study predict the next character at the same contexts of the "
    "validation text.",
    "Disagreement is relative prediction difference (PD): for two trials of a cell, the mean over contexts and "
    "characters of 2 |p - q| / (p + q), where p and q are the probabilities that the two models give. It is 0 for "
    "models that predict the same, and at most 2. Top-1 mismatches count the contexts where the most probable "
    "character is another.",
    "How much the activation matters to an architecture is the coefficient of variation (CV) of PD: the standard "
    "deviation of its activations' mean PD, in percent of their mean. It contains the noise of the trials, and so is "
    "never 0; the interval is of the CV that would be left without that noise. As pairs share trials, intervals and "
    "tests count trials, not pairs.",
    READ_BESIDE_LOSS,
)
AUDITED = (
    "The study implements an earlier report on the same question. Here that report's numbers and claims are held "
    "against each other and against this study."
)
ANSWERS = {
    "sensitive": "Disagreement (PD) depends on the activation",
    "not shown": "No effect of the activation on disagreement (PD) is shown, and a CV of 10 % is ruled out",
    "too few trials to tell": "Too few trials to tell",
}
LONGEST_OPEN = 12  # rows of the tables under one heading; with more they are folded


# ---------------------------------------------------------------- elements


VOID = ("img", "meta")  # elements without content


class Markup(str):
    """HTML, to be left as it is."""


def tag(name: str, /, *content: str, **attributes: str | bool) -> Markup:
    """An element; content that is not Markup is escaped.

    Of an attribute's name, ``_`` is written as a hyphen, and left out at its end; True has no value, False no place.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(value)}"')
        for key, value in attributes.items()
        if value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    inside = "".join(part if isinstance(part, Markup) else html.escape(part) for part in content)
    return Markup(f"<{name}{written}>{inside}</{name}>")


def paragraphs(lines: Iterable[str]) -> list[Markup]:
    return [tag("p", line) for line in lines]


def fold(heading: str, beside: str, *content: Markup, opened: bool = False, **attributes: str) -> Markup:
    """Content that can be folded away under a heading, with a few words beside it."""
    summary = tag("summary", tag("h3", heading), " ", tag("small", beside))
    return tag("details", summary, *content, open=opened, **attributes)


def identifier(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


# ---------------------------------------------------------------- words


def answer(measured: list[dict]) -> list[Markup]:
    """What the rule says of each architecture, and of activations two by two."""
    rows, by_metric = sensitivity_rows(measured), verdict_rows(measured)
    verdicts = [_verdict(verdict, rows) for verdict in RULES if any(row["verdict"] == verdict for row in rows)]
    cards = [
        tag(
            "li",
            tag("h3", label(row["model"])),
            tag("span", row["verdict"], class_=f"verdict {identifier(row['verdict'])}"),
            tag("p", in_words(row)),
            *paragraphs(other_verdicts(row["model"], by_metric)),
        )
        for row in rows
    ]
    return [tag("ul", *verdicts, class_="answer"), tag("ul", *cards, class_="cards"), *two_by_two(measured)]


def _verdict(verdict: str, rows: list[dict]) -> Markup:
    names = [label(row["model"]) for row in rows if row["verdict"] == verdict]
    where = f" in {len(names)} of {counted(len(rows), 'architecture')}: {', '.join(names)}."
    return tag("li", tag("strong", ANSWERS[verdict]), where)


def in_words(row: dict) -> str:
    """A row of the table of sensitivity as sentences."""
    shared = trial_count(row["n_seeds"], row["n_diverged"], row["planned_trials"])
    basis = f"{row['n_activations']} of {counted(row['n_cells'], 'activation')}, N = {shared} shared seeds"
    if row["cv_from_noise"] is None:
        return f"Not tested: it takes two activations with {FEWEST} trials from the same seeds ({basis})."
    percent = number("{:.2f}\u00a0%")
    return (
        f"Over activations, PD varies by {percent(row['cv'])} (CV), where noise alone gives "
        f"{percent(row['cv_from_noise'])}; without noise it would be {percent(row['low_cv'])} to "
        f"{percent(row['high_cv'])} (95 % interval). Adjusted p: {p_text(row['p_holm'])} ({basis})."
    )


def other_verdicts(model: str, by_metric: list[dict]) -> list[str]:
    """What the same rule says of an architecture by other metrics, and at equal loss, where anything is tested."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in by_metric:
        in_the_table = row["when"] == "the end" and row["metric"] == "relative_pd"
        if row["model"] == model and row["p"] is not None and not in_the_table:
            names = found.setdefault(row["when"], {}).setdefault(row["verdict"], [])
            names.append(f"“{COMPANIONS[row['metric']]}”")
    said = {when: [f"{', '.join(names)}: {verdict}" for verdict, names in by.items()] for when, by in found.items()}
    return [f"At {when}, {'; '.join(verdicts)}." for when, verdicts in said.items()]


def two_by_two(measured: list[dict]) -> list[Markup]:
    shown = [row["shown"] for row in difference_rows(measured, compare_pairs)]
    if not shown:
        return []
    untested = shown.count("too few trials")
    rest = f"; {untested} could not be tested, for want of trials" if untested else ""
    line = (
        f"Two by two: of {counted(len(shown), 'comparison')} of two activations within one architecture, "
        f"{shown.count('yes')} show a difference of PD{rest}. Details: "
    )
    return [tag("p", line, tag("a", "differences", href="#table-differences"), ".")]


def rule() -> list[Markup]:
    """Every verdict, and when it is given."""
    terms = [tag("div", tag("dt", verdict), tag("dd", when)) for verdict, when in RULES.items()]
    return [tag("p", CORRECTED), tag("dl", *terms)]


def settings(measured: list[dict]) -> list[Table]:
    """What all cells were trained with; where they differ, every value."""
    own = {"model", "activation", "shape"}
    names = dict.fromkeys(name for cell in measured for name in cell["config"] if name not in own)
    values = {name: list(dict.fromkeys(_value(cell["config"].get(name)) for cell in measured)) for name in names}
    environment = {name: [_value(value)] for name, value in shared_environment(measured).items()}
    return [
        _facts(title, [{"name": name, "value": " or ".join(found)} for name, found in facts.items()])
        for title, facts in (("Settings", values), ("Software and machine", environment))
    ]


def _value(value: object) -> str:
    if value is None:
        return ABSENT
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(title: str, rows: list[dict]) -> Table:
    columns = (Column("Name", ("name",), str, numeric=False), Column("Value", ("value",), str, numeric=False))
    return Table(title, columns, rows)


# ---------------------------------------------------------------- tables


def table_element(table: Table, heading: str) -> Markup:
    """A table under its title, which is only heard where it is the ``heading`` above; rows of one kind together."""
    caption = tag("caption", table.title, class_="heard" if table.title == heading else "title")
    head = tag("tr", *(tag("th", column.header, scope="col", class_=_kind(column)) for column in table.columns))
    names = sum(1 for _ in itertools.takewhile(lambda column: not column.numeric, table.columns))
    names = names if names < len(table.columns) else 1
    bodies = [
        tag("tbody", *(_row(row, table.columns, names) for row in group))
        for _, group in itertools.groupby(texts(table), key=lambda row: row[0])
    ]
    drawn = tag("table", caption, tag("thead", head), *bodies)
    return tag("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=table.title)


def _row(row: list[str], columns: tuple[Column, ...], names: int) -> Markup:
    """A row whose first ``names`` cells say what it is about."""
    cells = [
        tag("th", text, scope="row") if place < names else tag("td", tag("div", text), class_=_kind(column))
        for place, (text, column) in enumerate(zip(row, columns, strict=True))
    ]
    return tag("tr", *cells)


def _kind(column: Column) -> str:
    return "number" if column.numeric else "text"


def table_group(heading: str, shown: list[Table], beside: str, **attributes: str) -> Markup:
    content = []
    for table in shown:
        content += [table_element(table, heading), *(tag("p", note, class_="note") for note in table.notes)]
    rows = sum(len(table.rows) for table in shown)
    return fold(heading, f"{counted(rows, 'row')}{beside}", *content, opened=rows <= LONGEST_OPEN, **attributes)


def heading_of(name: str) -> str:
    """A table's name on the command line as a heading."""
    return name.replace("_", " ").capitalize()


# ---------------------------------------------------------------- audit


def audit(report: dict, measured: list[dict]) -> list[Markup]:
    lines = [line(report, measured).partition(": ") for line in audit_tables.OUTCOME]
    outcome = [tag("li", tag("strong", f"{topic}: "), said) for topic, _, said in lines]
    shown = [table_group(table.title, [table], "") for table in audit_tables.tables(report, measured)]
    return [tag("p", AUDITED), tag("ol", *outcome), *paragraphs(audit_tables.introduction(measured)), *shown]


# ---------------------------------------------------------------- figures


def figure_section(measured: list[dict], drawn: Iterable[tuple[str, Figure]]) -> list[Markup]:
    """Figures of the study, then of its architectures, then, folded, of their cells; told apart by file name."""
    models = list(by_model(measured))
    of_study, of_models, of_cells = [], [], {model: [] for model in models}
    for name, figure in drawn:
        cell = next((cell for cell in measured if name.startswith(_cell_prefix(cell))), None)
        of_a_model = any(name.startswith(f"{model}_") for model in models)
        place = of_cells[cell["model"]] if cell else of_models if of_a_model else of_study
        place.append(figure_element(figure))
    folded = [
        fold(f"{label(model)}, cell by cell", counted(len(found), "figure"), *found, class_="cells")
        for model, found in of_cells.items()
        if found
    ]
    return [*of_study, *of_models, *folded]


def _cell_prefix(cell: dict) -> str:
    return f"{cell['model']}_{cell['activation']}_{cell['study']}_"


def figure_element(figure: Figure) -> Markup:
    """The picture, with its titles for those who do not see it."""
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    picture = base64.b64encode(png.png_bytes(figure)).decode()
    described = ". ".join(title for title in titles if title)
    return tag("figure", tag("img", src=f"data:image/png;base64,{picture}", alt=described))


# ---------------------------------------------------------------- the page


def page(
    measured: list[dict],
    account: list[str],
    tables: dict[str, list[Table]],
    report: dict,
    drawn: Iterable[tuple[str, Figure]],
) -> str:
    """The whole page: ``account`` says what the study has, ``tables`` are its tables by name on the command line."""
    groups = [
        table_group(heading_of(name), shown, f", --tables {name}", id=f"table-{name}")
        for name, shown in tables.items()
    ]
    sections = {
        "The question": [tag("p", QUESTION)],
        "The answer": answer(measured),
        "How it is measured": paragraphs(MEASURED),
        "The rule for verdicts": rule(),
        "Figures": figure_section(measured, drawn),
        "Tables": groups,
        "The report, number by number": audit(report, measured),
        "Settings": [table_group(table.title, [table], "") for table in settings(measured)],
    }
    sections = {title: content for title, content in sections.items() if content}
    study = measured[0]["study"]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{TITLE} Study {study}"),
        tag("style", Markup(STYLE)),
    )
    body = tag(
        "body",
        tag("header", tag("h1", TITLE), *paragraphs(account)),
        contents(sections, tables),
        tag("main", *(_section(title, content) for title, content in sections.items())),
        tag("footer", tag("p", "Rebuilt by ", tag("code", f"python analyze_results.py --study {study} --html"))),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def contents(sections: Iterable[str], tables: Iterable[str]) -> Markup:
    """Links to every section and to every kind of table."""
    links = []
    for title in sections:
        below = [tag("li", tag("a", heading_of(name), href=f"#table-{name}")) for name in tables]
        inside = [tag("ul", *below)] if title == "Tables" else []
        links.append(tag("li", tag("a", title, href=f"#{identifier(title)}"), *inside))
    return tag("nav", tag("h2", "Contents"), tag("ul", *links), aria_label="Contents")


def _section(title: str, content: list[Markup]) -> Markup:
    return tag("section", tag("h2", title), *content, id=identifier(title))


STYLE = """
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #1d1f22; --pale: #5d636b; --line: #d9dce0; --card: #f3f4f5;
  --link: #0b5cab; --yes: #a33c00; --no: #0a6b52; --shade: #0002; }
@media (prefers-color-scheme: dark) { :root { --page: #16181b; --ink: #e3e5e8; --pale: #a0a7b0; --line: #373c43;
  --card: #20242a; --link: #7db9f5; --yes: #ff9d66; --no: #5fd0ae; --shade: #000a; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 69rem; background: var(--page); color: var(--ink);
  font: 1.05rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1, h2, h3 { line-height: 1.25; text-wrap: balance; }
h1 { font-size: clamp(1.7rem, 5vw, 2.6rem); max-width: 24ch; margin: 1rem 0; letter-spacing: -.015em; }
h2 { font-size: 1.5rem; margin: 3rem 0 1rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 0; }
p, section > ul, ol { max-width: 72ch; }
a { color: var(--link); }
small, .note, footer, header p { color: var(--pale); font-size: .9rem; }
nav h2 { font-size: 1rem; border: 0; margin: 2rem 0 .5rem; padding: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1.25rem; list-style: none; margin: 0; padding: 0; }
nav li:has(ul) { flex-basis: 100%; }
nav ul ul { gap: 0 1rem; padding-left: 1.25rem; font-size: .9rem; }
nav a { display: inline-block; padding: .2rem 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
.answer { list-style: none; padding: 0; font-size: 1.15rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); gap: 1rem;
  padding: 0; list-style: none; }
section > .cards { max-width: none; }
.cards li { background: var(--card); border-radius: .6rem; padding: 1rem; }
.cards p { margin: .6rem 0 0; font-size: .92rem; line-height: 1.5; }
.verdict { font-size: .85rem; font-weight: 600; color: var(--pale); }
.sensitive { color: var(--yes); }
.not-shown { color: var(--no); }
dl div { display: flex; flex-wrap: wrap; gap: 0 1rem; margin: .75rem 0; }
dt { font-weight: 600; flex: 0 0 12rem; }
dd { margin: 0; flex: 1 1 20rem; max-width: 60ch; }
details { border-bottom: 1px solid var(--line); padding: .6rem 0; scroll-margin-top: 1rem; }
summary { cursor: pointer; }
summary h3 { display: inline; }
.scroll { overflow-x: auto; margin: .75rem 0; background:
  linear-gradient(to right, var(--page) 40%, transparent) left / 2rem 100% local no-repeat,
  linear-gradient(to left, var(--page) 40%, transparent) right / 2rem 100% local no-repeat,
  linear-gradient(to right, var(--shade), transparent) left / .7rem 100% no-repeat,
  linear-gradient(to left, var(--shade), transparent) right / .7rem 100% no-repeat; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .5rem 0; }
.heard { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; white-space: nowrap; }
th, td { padding: .3rem .5rem; text-align: left; vertical-align: top; }
tr > :first-child { padding-left: 0; }
thead th { vertical-align: bottom; color: var(--pale); font-weight: 600; min-width: 5rem; }
tbody { border-top: 1px solid var(--line); }
tbody th { font-weight: 500; white-space: nowrap; }
td.text div { width: max-content; max-width: 60ch; }
.number { text-align: right; }
td.number { white-space: nowrap; }
.note { margin: .4rem 0; }
figure { margin: 1.5rem 0; overflow-x: auto; }
img { display: block; width: 100%; min-width: 40rem; padding: .5rem; background: #fff; border-radius: .5rem; }
@media print {
  :root { --page: #fff; --ink: #000; --pale: #444; --line: #bbb; --card: #fff; --shade: transparent; }
  html { font-size: 70%; }
  body { max-width: none; padding: 0; }
  details:not(.cells)::details-content { content-visibility: visible; height: auto; }
  details.cells, nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7pt; }
  th, td, img, td div { padding: .15rem .3rem; min-width: 0 !important; white-space: normal !important; }
  td.text div { width: auto; }
  tr, figure, .cards li { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
}
"""
