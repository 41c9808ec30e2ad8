import json
import re
from html.parser import HTMLParser
from typing import Any, final

import pytest

from dfl.report import Table
from dfl.report.html import Section, page
from dfl.report.sections import numbers_of
from tests.report.sample import metrics


@final
class Reader(HTMLParser):
    """Counts tags and collects text and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "input"):
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
    sections = [
        Section("Part", ["A sentence."], [table], ["A plot", "not drawn"]),
        Section("Configuration", text="method: tsm-sl", folded=True),
    ]
    text = page("Title", sections, {"A plot": b"png"}, lead=["First."])
    found = read(text)
    assert found.open == []
    assert found.links == ["data:image/png;base64,cG5n"]
    words = ("Title", "First.", "Part", "A sentence.", "Numbers", "a", "x", "1", "A note.")
    for word in (*words, "A plot", "Configuration", "method: tsm-sl"):
        assert word in found.words
    assert "<script" not in text
    assert text.index("<details>") < text.index("method: tsm-sl") < text.index("</details>")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)


NAMES = ("<b>$x_1^2</b>", "</script><script>alert(1)</script>", "a & b", "'\"`")


@pytest.mark.parametrize("bad", NAMES)
def test_names_cannot_break_the_page(bad: str) -> None:
    table = Table(bad, (bad,), [(bad,)], bad)
    sections = [Section(bad, [bad], [table], [bad], "groups", bad)]
    numbers = {"treatments": [bad], "groups": {bad: []}, "curve": [], "mix": [], "start": 0.0}
    text = page(bad, sections, {bad: b""}, lead=[bad], numbers=numbers)
    found = read(text)
    assert found.open == []
    assert "b" not in found.tags
    assert found.tags.count("script") == 2
    assert "".join(found.words).count(bad) == 12
    assert embedded(text) == numbers


def test_the_numbers_are_embedded_as_they_are() -> None:
    numbers = numbers_of(metrics())
    text = page("x", [Section("y", widget="slider")], {}, numbers=numbers)
    assert embedded(text) == json.loads(json.dumps(numbers))
    found = metrics()
    assert embedded(text)["curve"] == found["curve"]
    assert embedded(text)["mix"] == found["mix"]
    assert embedded(text)["treatments"] == list(found["arms"])  # in their order
    assert numbers_of(found | {"curve": []}) is None


def embedded(text: str) -> Any:
    """Return the numbers inside the page, as a browser would read them."""
    inside = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', text)
    assert inside is not None
    return json.loads(inside[1])
