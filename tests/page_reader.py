"""What a reader finds on a page: a parser of HTML for the tests."""

from html.parser import HTMLParser

VOID = ("meta", "img")


class Page(HTMLParser):
    """The elements with the names and classes of those around them, attributes and text, in order."""

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

    def texts(self, *names: str) -> list[str]:
        """The text of every such element, with single spaces."""
        return [" ".join(element["text"].split()) for element in self.all(*names)]

    def tables(self) -> dict[str, list[list[str]]]:
        """The texts of each table by its caption, row by row, below its header; names of a group begin its rows."""
        tables, rows, group = {}, [], []
        for element in self.all("caption", "tbody", "tr", "b", "th", "td"):
            name, around = element["name"], element["around"]
            if name == "caption":
                rows = tables.setdefault(element["text"], [])
            elif name == "tbody":
                group = []
            elif name == "b" and "group" in around:
                group.append(element["text"])
            elif name == "tr" and "tbody" in around and element.get("class") != "group":
                rows.append(list(group))
            elif name in ("th", "td") and "tbody" in around and "group" not in around:
                rows[-1].append(element["text"])
        return tables
