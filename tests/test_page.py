"""The page: it parses, shows what it is given, needs nothing from outside, and fits a desk and a phone."""

import base64
import html
import io
import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from page_reader import Page
from PIL import Image
from runs import run_to_its_end
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell

from analysis import answer, finding_tables, omnibus
from analysis.findings import Findings
from analysis.metrics_compared import metric_label
from analysis.table import Column, Table, plain
from analysis.tables import TABLES
from labels import label
from views import page
from views.drawing import Level
from views.page import AuditSection, Picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def words(*headers: str) -> tuple[Column, ...]:
    return tuple(Column(header, (header,), plain, numeric=False) for header in headers)


AUDIT = AuditSection(
    ["Ours: study cpu.", "Compare the kind of number, not the number."],
    [("Arithmetic", "of 400 printed numbers, 12 differ."), ("Claims", "of 40 claims, 12 hold.")],
    [
        Table("3.4 Small study", words("Section", "Claim"), [{"Section": "3.4", "Claim": "a long claim, " * 9}]),
        Table("Claims in words", words("Section", "Claim"), [{"Section": "7", "Claim": "x"}] * 13, ("In words.",)),
    ],
)
ACCOUNT = ["Study cpu: 4 of 4 cells", "Missing trials: charlm relu 1 of 3"]


def png(width: int = 12, height: int = 5) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), width).save(file, format="PNG")
    return file.getvalue()


PICTURES = [
    Picture("Relative PD of every cell", Level.STUDY, png(120, 50)),
    Picture("PD beside loss", Level.STUDY, png(13)),
    Picture("CharLM compared", Level.ARCHITECTURE, png(14), "charlm"),
    Picture("CharLM letter by letter", Level.ARCHITECTURE, png(15), "charlm"),
    Picture("My model compared", Level.ARCHITECTURE, png(16), "my_model"),
]


def found(cells: list[dict]) -> Findings:
    return Findings.of_study(cells, cells[0]["study"])


def made(findings: Findings, headline="The headline.", account=ACCOUNT, tables=None, audit=AUDIT, **changes) -> str:
    tables = {name: make(findings) for name, make in TABLES.items()} if tables is None else tables
    figures = {"pictures": PICTURES, "command": "python", "more_figures": "30 more figures are in plots/"} | changes
    return page.page(findings, headline, account, tables, audit, **figures)


def bare(findings: Findings, **changes) -> Page:
    """The page without tables, audit and pictures unless they are given."""
    nothing = {"tables": {}, "audit": None, "pictures": [], "more_figures": ""}
    return Page(made(findings, **(nothing | changes)))


def cell_at(distance: float, model: str, activation: str) -> dict:
    """Six trials, all of whose pairs are at about ``distance``."""
    rng = random.Random(f"{model} {activation}")
    pairs = [make_pair(*pair, rng.gauss(distance, 0.005)) for pair in itertools.combinations(range(1, 7), 2)]
    return make_cell(model, activation, trials=[make_trial(n) for n in range(1, 7)], pairs=pairs, planned=6)


NAMED = [
    random_cell(model, name, n_trials=6) for model in ("charlm", "my_model") for name in ("relu", "my_own", "gelu")
]
STUDIES = {
    "one architecture": [random_cell("convlm", name) for name in ("relu", "gelu", "swish")],
    "one cell of one trial": [random_cell("charlm", "relu", n_trials=1)],
    "partial": [random_cell("charlm", "relu"), make_cell("minigpt", "gelu", trials=[make_trial(1)])],
    "diverged": [random_cell("charlm", "gelu"), make_cell(trials=[make_trial(1), make_trial(2), make_diverged(3)])],
    "all diverged": [make_cell(trials=[make_diverged(1), make_diverged(2)])],
    "unknown names": NAMED,
}


@pytest.fixture(scope="module")
def findings() -> Findings:
    return found(NAMED)


@pytest.fixture(scope="module")
def text(findings) -> str:
    return made(findings)


@pytest.fixture(scope="module")
def whole(text) -> Page:
    return Page(text)


def all_tables(findings: Findings) -> list[Table]:
    return [table for make in TABLES.values() for table in make(findings)] + AUDIT.tables


# ---------------------------------------------------------------- what is in it


@pytest.mark.parametrize("cells", STUDIES.values(), ids=STUDIES.keys())
def test_any_study_gives_a_page_with_every_table(cells):
    findings = found(cells)
    page = Page(made(findings, answer.headline(findings)))
    titles = [table.title for table in all_tables(findings) if table.rows]
    captions = page.texts("caption")
    assert [title for title in captions if title in titles] == titles
    (body,) = page.texts("body")
    assert not re.search(r"\b(nan|None|inf)\b", body)
    assert all(line in body for line in (*ACCOUNT, answer.headline(findings), answer.scope(findings)))


def test_the_cells_of_its_tables_are_those_of_the_tables(findings, whole):
    shown = whole.tables()
    for table in all_tables(findings):
        if table.rows:
            assert shown[table.title] == table.texts(), table.title


def test_names_that_repeat_become_lines_above_their_rows():
    columns = (*words("Architecture", "At", "Metric"), Column("CV", ("CV",), plain))
    rows = [dict(zip(("Architecture", "At", "Metric", "CV"), (*names, 1), strict=True))
            for names in itertools.product("ab", "xy", "pqr")]  # fmt: skip
    shown = page.shown_table(Table("Title", columns, rows))
    assert [group.names for group in shown.groups] == [
        [("Architecture", model), ("At", when)] for model in "ab" for when in "xy"
    ]
    assert shown.columns == [("Metric", "text"), ("CV", "number")] and shown.n_headers == 1
    few = page.shown_table(Table("Title", columns, rows[::3]))
    assert [group.names for group in few.groups] == [[]] and few.n_headers == 3


def test_a_rank_is_kept_in_view_with_its_name():
    columns = (*words("Architecture"), Column("Rank", ("Rank",), plain), *words("Activation"))
    rows = [{"Architecture": "a", "Rank": place, "Activation": "x"} for place in (1, 2, 3)]
    shown = page.shown_table(Table("Title", columns, rows))
    assert shown.ranked and shown.n_headers == 2


def test_every_note_and_every_line_of_the_audit_is_there(findings, whole):
    paragraphs = set(whole.texts("p"))
    assert paragraphs >= {note for table in all_tables(findings) for note in table.notes}
    assert paragraphs >= set(AUDIT.introduction)
    items = [item["text"] for item in whole.all("li") if item["around"][-2:] == ["ol", "outcome"]]
    assert items == [f"{topic}: {sentence}" for topic, sentence in AUDIT.outcome]


def test_every_picture_is_there_in_order_and_the_first_comes_with_the_answer(whole):
    images = whole.all("img")
    assert [image["alt"] for image in images] == [picture.title for picture in PICTURES]
    assert ["header" in image["around"] for image in images] == [True, False, False, False, False]
    for image, picture in zip(images, PICTURES, strict=True):
        bytes_ = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert bytes_ == picture.png
        with Image.open(io.BytesIO(bytes_)) as decoded:
            assert (image["width"], image["height"]) == tuple(map(str, decoded.size))
    assert [caption.split(" Enlarge")[0] for caption in whole.texts("figcaption")] == [
        f"Figure {place}. {picture.title}" for place, picture in enumerate(PICTURES, 1)
    ]


def test_pictures_of_an_architecture_come_under_its_name(whole):
    inside = [each for each in whole.all("h3", "img") if "section" in each["around"]]
    order = [each["alt"] if each["name"] == "img" else each["text"] for each in inside]
    place = order.index("PD beside loss")
    expected = ["PD beside loss", "CharLM", "CharLM compared", "CharLM letter by letter", "my_model"]
    assert order[place : place + 5] == expected


def test_the_rest_of_the_figures_is_named_and_linked(findings):
    assert "30 more figures are in plots/" in bare(findings, more_figures="30 more figures are in plots/").texts("p")
    linked = bare(findings, more_figures="More figures", more_figures_link="../plots/")
    assert [link["text"] for link in linked.all("a") if link["href"] == "../plots/"] == ["More figures"]


def test_what_is_missing_has_no_section(findings):
    page = bare(findings)
    assert not page.all("img", "figure", "ol")
    headings = page.texts("h2", "a")
    assert "Settings, software and machine" in headings
    assert not {"Figures", "Tables", "The report, number by number"} & set(headings)


def test_a_table_without_rows_keeps_its_title_and_notes(findings):
    page = bare(findings, tables={"one": [Table("Empty", words("A"), [], ("Why it is.",))], "none": []})
    assert "Empty" in page.texts("h3") and "Why it is." in page.texts("p")
    assert "Empty" not in page.texts("caption")
    assert "table-none" not in [element.get("id") for element in page.elements]


def test_settings_software_and_machine_show_every_value_where_cells_differ():
    other = random_cell("charlm", "gelu")
    other["config"] |= {"iterations": 500, "dropout": None}
    other["trials"][0]["environment"] |= {"torch": "2.14.0"}
    page = bare(found([random_cell("charlm", "relu"), other]))
    facts = dict(zip(page.texts("dt"), page.texts("dd"), strict=True))
    assert facts["iterations"] == "100 or 500" and facts["dropout"] == "–"
    assert facts["vary"] == "init, order, dropout" and facts["torch"] == "2.13.0 or 2.14.0"
    assert "shape" not in facts


# ---------------------------------------------------------------- the answer


def test_the_first_screen_has_question_headline_scope_and_activations(findings, whole):
    before = whole.elements[: next(n for n, each in enumerate(whole.elements) if each["name"] == "nav")]
    shown = {each["text"] for each in before}
    assert shown >= {answer.QUESTION, "The headline.", answer.scope(findings), "ReLU", "GELU", "my_own"}
    assert [each["alt"] for each in before if each["name"] == "img"] == [PICTURES[0].title]


def test_the_cards_are_the_answers_for_each_architecture(findings, whole):
    cards = [item for item in whole.all("li") if item["around"][-2:] == ["ul", "cards"]]
    answers = answer.architecture_answers(findings)
    for card, each in zip(cards, answers, strict=True):
        expected = f"{label(each.model)} {each.verdict} {each.in_words()} {each.evidence()}"
        assert card["text"].split() == expected.split()


def test_every_verdict_has_its_rule_and_one_look(whole):
    rules = {
        term: rule for term, rule in zip(whole.texts("dt"), whole.texts("dd"), strict=True) if term in omnibus.RULES
    }
    assert rules == omnibus.RULES
    assert {finding_tables.FAMILY, finding_tables.FIXED} <= set(whole.texts("p"))
    assert {each["class"] for each in whole.with_class("verdict")} == {"verdict"}


def test_verdicts_by_other_metrics_are_those_of_the_findings(findings, whole):
    shown = whole.tables()["The same rule by other metrics"]
    expected = {}
    for each in findings.metric_verdicts:
        place = (each.when, metric_label(each.sensitivity.metric))
        expected.setdefault(place, []).append(each.sensitivity.verdict)
    assert sorted(shown) == sorted([*place, *verdicts] for place, verdicts in expected.items())


def test_verdicts_by_other_metrics_are_left_out_where_nothing_is_tested():
    assert "The same rule by other metrics" not in bare(found(STUDIES["one cell of one trial"])).tables()


def test_differences_two_by_two_are_counted():
    differing = [cell_at(0.2, "charlm", "relu"), cell_at(0.4, "charlm", "gelu")]
    cells = [*differing, random_cell("charlm", "swish", n_trials=1)]
    (line,) = bare(found(cells)).with_class("two-by-two")
    said = " ".join(line["text"].split())
    assert said.startswith(
        "Two by two, 1 of 3 differences of PD between two activations of one architecture is shown"
    )
    assert "2 could not be tested" in said
    of_four = page.two_by_two([SimpleNamespace(shown=shown) for shown in (True, False, False, None)])
    assert of_four == page.TwoByTwo(4, shown=1, untested=1)
    assert not bare(found(STUDIES["one cell of one trial"])).with_class("two-by-two")


# ---------------------------------------------------------------- a page that needs no other and can be read


def test_nothing_is_fetched_and_every_link_leads_somewhere(whole):
    assert not whole.all("script", "link", "iframe", "object", "base")
    assert all(element["src"].startswith("data:") for element in whole.elements if "src" in element)
    (style,) = whole.all("style")
    assert not re.search(r"url\(|@import|//", style["text"])
    ids = [element["id"] for element in whole.elements if "id" in element]
    assert len(set(ids)) == len(ids)
    links = {element["href"] for element in whole.all("a")}
    assert links <= {f"#{name}" for name in ids}
    not_there = {"smelu", "registered", "rates", "parts", "sizes"}
    assert {f"#table-{name}" for name in TABLES.keys() - not_there} <= links


def test_every_section_is_in_the_contents(whole):
    links = [each["href"] for each in whole.all("a") if "nav" in each["around"]]
    assert [link for link in links if "table-" not in link] == [f"#{each['id']}" for each in whole.all("section")]


def test_it_is_accessible(whole):
    assert whole.all("html")[0]["lang"] == "en"
    assert all(image["alt"] for image in whole.all("img"))
    assert {"col", "row", "rowgroup"} == {element.get("scope") for element in whole.all("th")}
    assert len(whole.all("caption")) == len(whole.all("table"))
    assert whole.texts("h1") == [answer.QUESTION]
    levels = [int(each["name"][1]) for each in whole.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    regions = whole.with_class("scroll")
    assert len(regions) == len(whole.all("table"))
    assert all(each["tabindex"] == "0" and each["role"] == "region" and each["aria-label"] for each in regions)
    first = whole.all("a")[0]
    assert first["class"] == "skip" and first["href"] == "#the-answer"
    labelled = {each["aria-labelledby"] for each in whole.elements if "aria-labelledby" in each}
    assert labelled <= {each.get("id") for each in whole.elements}


def test_every_row_begins_with_a_header(whole):
    rows = [each for each in whole.all("tr", "th", "td") if "tbody" in each["around"]]
    first = [after["name"] for row, after in itertools.pairwise(rows) if row["name"] == "tr"]
    assert set(first) == {"th"}


def test_long_tables_are_folded_and_short_ones_are_not(findings):
    tables = {name: [Table(name, words("A"), [{"A": name}] * rows)] for name, rows in (("twelve", 12), ("more", 13))}
    opened = {each["id"]: "open" in each for each in bare(findings, tables=tables).all("details") if "id" in each}
    assert opened == {"table-twelve": True, "table-more": False}


def test_everything_is_escaped():
    bad = ['<script async="">alert(1)</script>', "a 'quoted' & <b>bold</b>"]
    cells = [random_cell(bad[0], name, study=bad[0]) for name in ("relu", bad[1], "gelu")]
    picture = Picture(bad[0], Level.ARCHITECTURE, png(), bad[0])
    audit = AuditSection([bad[0]], [(bad[0], bad[1])], [Table(bad[0], words(*bad), [{bad[0]: bad[1]}], (bad[1],))])
    findings = found(cells)
    text = made(
        findings, bad[0], bad, None, audit, pictures=[picture] * 2, more_figures=bad[1], more_figures_link='"><b>'
    )
    page = Page(text)
    assert not page.all("script")
    assert not [each for each in page.all("b") if each["text"] == "bold"]
    shown = {each["text"] for each in page.all("th", "h3", "p", "li", "div")}
    assert shown >= set(bad)
    assert f"3.5 {bad[0]}" in [element.get("aria-label") for element in page.elements]
    assert {image["alt"] for image in page.all("img")} == {bad[0]}


def test_the_same_input_gives_the_same_bytes_from_any_folder(findings, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tables = {name: make(findings) for name, make in reversed(TABLES.items())}
    assert made(found(NAMED), tables={name: tables[name] for name in TABLES}) == text


# ---------------------------------------------------------------- in a browser

MEASURE = """
function measure(frame) {
  const page = frame.contentDocument, style = (element) => frame.contentWindow.getComputedStyle(element);
  const wide = page.documentElement.clientWidth;
  const box = (selector) => page.querySelector(selector).getBoundingClientRect();
  const first = {
    target: page.querySelector(":target")?.id ?? "", background: style(page.body).backgroundColor,
    headline: box(".headline").bottom, picture: box("header img").top, names: box(".names").bottom,
    contents: box("nav").top, close: box(".close").right, large: box(".large").toJSON(), height: frame.clientHeight,
  };
  for (const details of page.querySelectorAll("details")) details.open = true;
  const outside = [...page.body.querySelectorAll("*")].filter((element) => {
    const { left, right, width } = element.getBoundingClientRect();
    return width && (left < -0.5 || right > wide + 0.5) && !element.closest(".scroll, .skip, .unseen, .large:target");
  });
  const scrolls = [...page.querySelectorAll(".scroll")].filter((each) => each.scrollWidth > each.clientWidth + 1);
  const moved = scrolls.filter((each) => {
    const cell = each.querySelector("tbody tr:last-child th"), before = cell.getBoundingClientRect().left;
    each.scrollLeft = 60;
    return Math.abs(cell.getBoundingClientRect().left - before) > 0.5;
  });
  const looks = [...page.querySelectorAll(".verdict")].map((each) => style(each).color + style(each).borderColor);
  return { ...first, wide, scrollWidth: page.documentElement.scrollWidth, scrolls: scrolls.length,
    moved: moved.length, outside: outside.map((each) => each.outerHTML.slice(0, 99)), looks: new Set(looks).size };
}
addEventListener("load", () => {
  const measured = [...document.querySelectorAll("iframe")].map(measure);
  document.getElementById("measured").textContent = JSON.stringify(measured);
});
"""
VIEWS = [(width, height, scheme, target) for width, height in ((1280, 800), (390, 844))
         for scheme in ("light", "dark") for target in ("", "#large-1")]  # fmt: skip


def frames(views) -> str:
    """A page that shows the report at several sizes and measures it, as headless browsers refuse narrow windows."""
    shown = "".join(
        f'<iframe style="border:0;width:{width}px;height:{height}px;color-scheme:{scheme}" src="report.html{target}">'
        "</iframe>"
        for width, height, scheme, target in views
    )
    return f'<!DOCTYPE html><meta charset="utf-8"><script>{MEASURE}</script>{shown}<pre id="measured"></pre>'


def browse(folder: Path) -> tuple[str, str]:
    """The document after loading, and what the browser logged."""
    switches = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        "--hide-scrollbars",
        "--window-size=1400,900",
        *(f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "frames.html").as_uri()),
    )
    environment = os.environ | {"HOME": str(folder)}
    done = run_to_its_end([CHROMIUM, *switches], env=environment)
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> tuple[dict, str]:
    """Measurements of the page by view, and the browser's log."""
    folder = tmp_path_factory.mktemp("browser")
    long = "an_activation_with_a_long_name_and_no_place_to_break_it"
    names = ("relu", "gelu", "swish", "swiglu", long)
    findings = found([random_cell(model, name) for model in ("charlm", "nanotransformer") for name in names])
    pictures = [Picture("Relative PD of every cell", Level.STUDY, png(1200, 540)), *PICTURES[1:]]
    text = made(findings, answer.headline(findings), [*ACCOUNT, "x" * 200], pictures=pictures)
    (folder / "report.html").write_text(text)
    (folder / "frames.html").write_text(frames(VIEWS))
    document, log = browse(folder)
    (measured,) = re.findall('<pre id="measured">(.+?)</pre>', document, re.DOTALL)
    return dict(zip(VIEWS, json.loads(html.unescape(measured)), strict=True)), log


in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@in_a_browser
@pytest.mark.parametrize("view", VIEWS, ids=lambda view: " ".join(map(str, view)).strip())
def test_nothing_is_wider_than_the_screen(seen, view):
    measured = seen[0][view]
    assert measured["wide"] == view[0]
    assert measured["outside"] == []
    assert measured["scrollWidth"] <= measured["wide"]


@in_a_browser
@pytest.mark.parametrize("view", VIEWS[::2], ids=lambda view: " ".join(map(str, view)).strip())
def test_the_answer_is_on_the_first_screen(seen, view):
    measured = seen[0][view]
    assert measured["target"] == ""
    assert measured["headline"] < measured["names"] < measured["picture"] < measured["contents"]
    assert measured["headline"] < measured["height"]
    if view[0] == 1280:
        assert measured["picture"] + 100 < measured["height"]


@in_a_browser
@pytest.mark.parametrize("view", VIEWS[1::2], ids=lambda view: " ".join(map(str, view)).strip())
def test_a_figure_opens_over_the_whole_screen_and_can_be_closed(seen, view):
    measured = seen[0][view]
    assert measured["target"] == "large-1"
    large = measured["large"]
    assert (large["left"], large["top"], large["width"], large["height"]) == (0, 0, *view[:2])
    assert 0 < measured["close"] <= view[0]


@in_a_browser
def test_wide_tables_scroll_in_their_frames_and_keep_their_first_column(seen):
    for view, measured in seen[0].items():
        assert measured["scrolls"] > (20 if view[0] == 390 else 0)
        assert measured["moved"] == 0


@in_a_browser
def test_light_and_dark_differ_and_a_verdict_has_one_look_in_each(seen):
    backgrounds = {view[2]: measured["background"] for view, measured in seen[0].items()}
    assert len(set(backgrounds.values())) == 2
    assert {measured["looks"] for measured in seen[0].values()} == {1}


@in_a_browser
def test_the_browser_has_nothing_to_complain_about(seen):
    assert "CONSOLE" not in seen[1]
