from html.parser import HTMLParser
from typing import final

from dfl.report import Table
from dfl.report.html import page


@final
class Reader(HTMLParser):
    """Counts tags and collects text and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_a_page_needs_no_other_file() -> None:
    table = Table("Numbers", ("a", "b"), [("x", "1")], "A note.")
    found = read(page("Title", [table], {"A plot": b"png"}, "method: tsm-sl"))
    assert found.open == []
    assert found.links == ["data:image/png;base64,cG5n"]
    for word in ("Title", "Numbers", "a", "x", "1", "A note.", "A plot", "method: tsm-sl"):
        assert word in found.words


def test_names_cannot_break_the_page() -> None:
    bad = "<b>&</b>"
    found = read(page(bad, [Table(bad, (bad,), [(bad,)], bad)], {bad: b""}, bad))
    assert "b" not in found.open
    assert found.words.count(bad) == 8
