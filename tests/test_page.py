"""The page: it parses, shows what the tables and figures show, and needs nothing from outside."""

import base64
import io
import itertools
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, write_cells

import analyze_results
from analysis import metrics_compared, omnibus
from analysis.measure import measure_study
from analysis.table import texts
from audit import tables as audit_tables
from labels import label
from study import files
from views import page

REPORT = files.read_json(analyze_results.REPORT_PATH)
VOID = ("meta", "img")


class Page(HTMLParser):
    """What a reader finds: elements with the names and classes of those around them, attributes and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name, attributes):
        around = [word for e in self.open for word in (e["name"], *e.get("class", "").split())]
        element = {"name": name, "around": around, **dict(attributes), "text": ""}
        self.elements.append(element)
        if name not in VOID:
            self.open.append(element)

    def handle_endtag(self, name):
        assert self.open and self.open.pop()["name"] == name, f"</{name}> closes another element"

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *names: str) -> list[dict]:
        return [element for element in self.elements if element["name"] in names]

    def with_class(self, word: str) -> list[dict]:
        return [element for element in self.elements if word in element.get("class", "").split()]

    def tables(self) -> list[list[list[str]]]:
        """The texts of each table, row by row, without its header."""
        tables = []
        for element in self.all("table", "tr", "th", "td"):
            if element["name"] == "table":
                tables.append([])
            elif element["name"] == "tr":
                tables[-1].append([])
            else:
                tables[-1][-1].append(element["text"])
        return [rows[1:] for rows in tables]


def made(cells: list[dict], drawn=()) -> str:
    measured = measure_study(cells, "cpu")
    shown = {name: make(measured) for name, make in analyze_results.TABLES.items()}
    return page.page(measured, analyze_results.account(measured), shown, REPORT, drawn)


def cell_at(distance: float, model: str, activation: str) -> dict:
    """Four trials, all of whose pairs are at about ``distance``."""
    rng = random.Random(f"{model} {activation}")
    pairs = [make_pair(*pair, rng.gauss(distance, 0.005)) for pair in itertools.combinations((1, 2, 3, 4), 2)]
    return make_cell(model, activation, trials=[make_trial(n) for n in (1, 2, 3, 4)], pairs=pairs, planned=4)


NAMED = [random_cell(model, name) for model in ("charlm", "my_model") for name in ("relu", "my_own")]
STUDIES = {
    "one architecture": [random_cell("convlm", name) for name in ("relu", "gelu", "swish")],
    "one cell of one trial": [random_cell("charlm", "relu", n_trials=1)],
    "partial": [random_cell("charlm", "relu"), make_cell("minigpt", "gelu", trials=[make_trial(1)])],
    "diverged": [random_cell("charlm", "gelu"), make_cell(trials=[make_trial(1), make_trial(2), make_diverged(3)])],
    "all diverged": [make_cell(trials=[make_diverged(1), make_diverged(2)])],
    "unknown names": NAMED,
}


@pytest.fixture(scope="module")
def whole() -> tuple[Page, list[dict]]:
    """A page with figures, and the measured cells that it is about."""
    measured = measure_study(NAMED, "cpu")
    return Page(made(NAMED, analyze_results.study_figures(measured, named=False))), measured


# ---------------------------------------------------------------- what is in it


@pytest.mark.parametrize("cells", STUDIES.values(), ids=STUDIES.keys())
def test_any_study_gives_a_page_with_every_table(cells):
    page, measured = Page(made(cells)), measure_study(cells, "cpu")
    titles = [table.title for make in analyze_results.TABLES.values() for table in make(measured)]
    titles += [table.title for table in audit_tables.tables(REPORT, measured)]
    captions = [element["text"] for element in page.all("caption")]
    assert [title for title in captions if title in titles] == titles
    (body,) = page.all("body")
    assert not re.search(r"\b(nan|None|inf)\b", body["text"])
    for line in analyze_results.account(measured):
        assert line in body["text"]


def test_the_cells_of_its_tables_are_those_of_the_tables(whole):
    page, measured = whole
    shown = [table for make in analyze_results.TABLES.values() for table in make(measured)]
    shown += audit_tables.tables(REPORT, measured)
    assert page.tables()[: len(shown)] == [texts(table) for table in shown]


def test_every_note_and_every_line_of_the_audit_is_there(whole):
    page, measured = whole
    paragraphs = {element["text"] for element in page.all("p")}
    notes = [note for make in analyze_results.TABLES.values() for table in make(measured) for note in table.notes]
    assert paragraphs >= {*notes, *audit_tables.introduction(measured)}
    items = [element["text"] for element in page.all("li") if element["around"][-1] == "ol"]
    assert [f"{place}. {text}" for place, text in enumerate(items, 1)] == audit_tables.outcome(REPORT, measured)


def test_every_figure_is_there_and_only_those_of_cells_are_folded(whole):
    page, measured = whole
    drawn = [(depth(name), titles_of(figure)) for name, figure in analyze_results.study_figures(measured, False)]
    images = page.all("img")
    assert [image["alt"] for image in images] == [titles for _, titles in sorted(drawn, key=lambda one: one[0])]
    assert ["details" in image["around"] for image in images] == sorted(place == 2 for place, _ in drawn)
    for image in images:
        picture = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        with Image.open(io.BytesIO(picture)) as decoded:
            assert decoded.format == "PNG" and min(decoded.size) > 100


def depth(name: str) -> int:
    """0 for a figure of the study, 1 of an architecture, 2 of a cell, by its file's name."""
    model = re.match("charlm_|my_model_", name)
    return 2 if re.search("_(relu|my_own)_cpu_", name) else 1 if model else 0


def titles_of(figure) -> str:
    return ". ".join(filter(None, [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]))


def test_figures_of_a_cell_stand_with_their_architecture():
    cells = [random_cell("my", "relu"), random_cell("my_own", "relu")]
    measured = measure_study(cells, "cpu")
    page = Page(made(cells, analyze_results.study_figures(measured, named=False)))
    place = {id(element): number for number, element in enumerate(page.elements)}
    my, my_own = (place[id(element)] for element in page.with_class("cells"))
    for image in [image for image in page.all("img") if "details" in image["around"]]:
        assert my < place[id(image)]
        assert image["alt"].startswith("my_own with") == (place[id(image)] > my_own)


# ---------------------------------------------------------------- the answer


def test_every_verdict_has_its_words():
    assert list(page.ANSWERS) == list(omnibus.RULES)


def test_the_answer_is_that_of_the_sensitivity_table(whole):
    page, measured = whole
    _, table = analyze_results.TABLES["sensitivity"](measured)
    cards = [element for element in page.all("li") if "cards" in element["around"]]
    assert len(cards) == len(table.rows) == 2
    for card, row, shown in zip(cards, table.rows, texts(table), strict=True):
        header = [column.header for column in table.columns]
        cell = dict(zip(header, shown, strict=True))
        assert card["text"].startswith(label(row["model"]) + cell["Verdict"])
        said, others = card["text"].split(" shared seeds)")
        numbers = re.findall(r"\d+\.\d+", said)
        bounds = re.findall(r"\d+\.\d+", cell["CV without noise (%), 95 % interval"])
        assert numbers == [cell["CV of PD (%)"], cell["CV from noise alone (%)"], *bounds, cell["p, Holm"]]
        assert f"{cell['Activations']} activations, N = {cell['N shared seeds']}" in said
        for line in metrics_compared.verdict_rows(measured):
            if line["model"] == row["model"] and (line["when"], line["metric"]) != ("the end", "relative_pd"):
                name = re.escape(f"“{metrics_compared.COMPANIONS[line['metric']]}”")
                assert re.search(rf"At {line['when']}, [^.]*{name}[^;:.]*: {line['verdict']}[;.]", others)


def answers(cells: list[dict]) -> list[str]:
    return [element["text"] for element in Page(made(cells)).all("li") if "answer" in element["around"]]


def test_the_answer_follows_the_numbers():
    distances = {"relu": 0.2, "gelu": 0.3, "swish": 0.4, "swiglu": 0.5}
    differing = [cell_at(distance, "charlm", name) for name, distance in distances.items()]
    alike = [cell_at(0.3, "minigpt", name) for name in distances]
    few = [random_cell("convlm", name, n_trials=2) for name in distances]
    sensitive, not_shown, unknown = answers(differing + alike + few)
    assert sensitive == "Disagreement (PD) depends on the activation in 1 of 3 architectures: CharLM."
    assert not_shown.endswith("ruled out in 1 of 3 architectures: MiniGPT.")
    assert unknown == "Too few trials to tell in 1 of 3 architectures: ConvLM."
    assert answers(few) == ["Too few trials to tell in 1 of 1 architecture: ConvLM."]


def test_differences_two_by_two_are_counted():
    differing = [cell_at(0.2, "charlm", "relu"), cell_at(0.4, "charlm", "gelu")]
    cells = [*differing, random_cell("charlm", "swish", n_trials=1)]
    text = Page(made(cells)).all("main")[0]["text"]
    assert "of 3 comparisons of two activations within one architecture, 1 show a difference" in text
    assert "2 could not be tested" in text


# ---------------------------------------------------------------- a page that stands alone and can be read


def test_nothing_is_fetched_and_every_link_leads_somewhere(whole):
    page, _ = whole
    assert not page.all("script", "link", "iframe", "object", "base")
    assert all(element["src"].startswith("data:") for element in page.elements if "src" in element)
    (style,) = page.all("style")
    assert not re.search(r"url\(|@import|//", style["text"])
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(set(ids)) == len(ids)
    links = {element["href"] for element in page.all("a")}
    assert links == {f"#{name}" for name in ids}


def test_it_is_accessible(whole):
    page, _ = whole
    assert page.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in page.all("img"))
    assert {"col", "row"} == {element.get("scope") for element in page.all("th")}
    assert len(page.all("caption")) == len(page.all("table"))
    assert [element["text"] for element in page.all("h1")] == [page.TITLE]
    # name and value, such as architecture and activation, are both headers of a row of results
    row = [element["name"] for element in page.all("th", "td") if "tbody" in element["around"]][:3]
    assert row == ["th", "th", "td"]


def test_long_tables_are_folded_and_short_ones_are_not():
    page = Page(made([random_cell("charlm", name) for name in ("relu", "gelu", "swish", "swiglu")]))
    opened = {element["id"]: "open" in element for element in page.all("details") if "id" in element}
    assert not opened["table-trials"]
    assert opened["table-results"] and opened["table-sensitivity"]


def test_names_are_escaped():
    names = ['<script async="">alert(1)</script>', "a 'quoted' & <b>bold</b>"]
    page = Page(made([random_cell(names[0], name) for name in ("relu", names[1])]))
    assert not page.all("script", "b")
    shown = {element["text"] for element in page.all("th", "h3")}
    assert shown >= set(names)
    assert f"3.5 {names[0]}" in [element.get("aria-label") for element in page.elements]


# ---------------------------------------------------------------- the command


def run(folder: Path, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, "--html", *options])


def test_the_command_writes_one_page_and_nothing_else(tmp_path, capsys):
    cell = random_cell("charlm", "relu")
    results = write_cells(tmp_path / "results", [cell])
    before = set(tmp_path.rglob("*"))
    assert run(tmp_path) == 0
    page = results / files.PAGE_NAME
    assert set(tmp_path.rglob("*")) - before == {page}
    said = capsys.readouterr().out
    assert said.startswith("Study cpu: 1 of 1 cell") and f"Page: {page}" in said
    first = page.read_bytes()
    drawn = list(analyze_results.study_figures(measure_study([cell], "cpu"), named=True))
    assert len(Page(first.decode()).all("img")) == len(drawn)
    assert run(tmp_path) == 0
    assert page.read_bytes() == first


def test_without_plots_the_page_has_no_figures(tmp_path):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    assert run(tmp_path, "--no-plots") == 0
    page = Page((results / files.PAGE_NAME).read_text())
    assert not page.all("img")
    assert "Figures" not in [element["text"] for element in page.all("h2", "a")]


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    page = results / files.PAGE_NAME
    page.write_text("old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    assert run(tmp_path, "--no-plots") == 2
    assert page.read_text() == "old"
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(results.glob("*.part"))


def test_the_page_takes_the_place_of_audit_and_tables(tmp_path, capsys):
    for option in (["--audit"], ["--tables", "results"]):
        with pytest.raises(SystemExit) as stopped:
            run(tmp_path, *option)
        assert stopped.value.code == 2
        assert "not allowed with" in capsys.readouterr().err
