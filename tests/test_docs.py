"""Every Python snippet of every page runs, and every command that a page shows is one."""

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main

from dfl.cli import app
from dfl.data import DataCard, Hillstrom
from tests.conftest import ROOT
from tests.data.conftest import small_table

PAGES = [
    page
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if not {ROOT / "docs" / "template", ROOT / "docs" / "tutorials"} & {*page.parents}
]  # the tutorials have a test of their own, which runs their commands too


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


# What a page takes for granted: the reader's own data, and imports that it has named in words.
GIVEN = {
    "data.md": """
from dfl.data import load
tomorrow = __import__("pandas").read_parquet("mine.parquet")
""",
    "metrics.md": """
import torch
from dfl.data import PartSizes, open_source
sizes = PartSizes(rct=100, obs=100, validation=100, test=2000)
data = open_source("coupon", sizes=sizes).hybrid(0).test
revenue, cost = data.truth.revenue, data.truth.cost
""",
    "results.md": """
from dfl.data import CouponSimulator, PartSizes
from dfl.methods import BiDfcl, Training
from dfl.training.bilevel import BilevelSettings
""",
}


def write_tables(folder: Path) -> None:
    """Write the tables that pages read, with the reader's columns."""
    small = small_table(Hillstrom.card)
    pd.concat([small] * 20, ignore_index=True).to_parquet(folder / "hillstrom.parquet")
    rows = 600
    table = {
        "offer": [("none", "5%", "10%")[k % 3] for k in range(rows)],
        "spend": [float(k % 7) for k in range(rows)],
        "age": [float(k % 50) for k in range(rows)],
        "city": [("Oslo", "Rome")[k % 2] for k in range(rows)],
        "visits": [k % 11 for k in range(rows)],
        "household": list(range(rows)),
        "kind": [("rct", "obs")[k // 300] for k in range(rows)],
    }
    pd.DataFrame(table).to_parquet(folder / "mine.parquet")


def numbers(text: str) -> list[float]:
    return [float(one) for one in re.findall(r"\d+\.\d+", text)]


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda p: p.stem)
def test_the_snippets_of_a_page_run_one_after_the_other(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_tables(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFL_DATA", str(tmp_path))
    monkeypatch.setattr(DataCard, "verify", lambda *_: None)  # ours is not the published file
    space: dict[str, Any] = {"__name__": page.stem}
    exec(GIVEN.get(page.name, ""), space)
    for number, text in enumerate(snippets(page)):
        fewer = text.replace("00_000", "_000")  # a hundredth of millions of rows shows as much
        exec(compile(fewer, f"{page.name}, snippet {number}", "exec"), space)
    said = re.findall(r"^It prints (.*?),? where", page.read_text(encoding="utf-8"), re.M)
    printed = capsys.readouterr().out.splitlines()
    for one in said:  # another processor may round otherwise
        assert any(numbers(line) == pytest.approx(numbers(one), abs=0.011) for line in printed), one


def commands(page: Path) -> list[str]:
    """Return what a page shows as commands: in lines of their own, or inline with options."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?: {4}|\$ )(dfl .*)$", text, flags=re.MULTILINE)
    inline = [one for one in re.findall(r"`(dfl [^`]+)`", text) if " -" in one]
    shown = [re.split(r" {3,}| #", line)[0] for line in (*lines, *inline)]
    return [one for one in shown if not re.search(r"CONFIG|FILE|FAMILY|RUN|COMMAND|\.\.\.", one)]


SHOWN = [(page.name, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_that_a_page_shows_is_one(page: str, line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    command.make_context(name, arguments)  # raises at an unknown option or a missing argument


def test_pages_show_snippets_and_commands() -> None:
    assert sum(len(snippets(page)) for page in PAGES) >= 14
    assert len(SHOWN) >= 20
