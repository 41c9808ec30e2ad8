import pytest

from dfl.cli.console import literal, show
from dfl.report import Table


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        (":smile:", ":smile:"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\x07\x9b", r"a\rb\x07\x9b"),
        ("\u202eabc", r"\u202eabc"),
        ("two\nlines", "two\nlines"),
        ("日本", "日本"),
    ],
)
def test_a_name_is_shown_letter_by_letter(name: str, shown: str) -> None:
    assert literal(name).plain == shown


def test_a_table_of_such_names(capsys: pytest.CaptureFixture[str]) -> None:
    bad = "[red]\x1b[2J[/]"
    show(Table(bad, (bad, "x"), [(bad, "1")], bad))
    assert capsys.readouterr().out.count(r"[red]\x1b[2J[/]") == 4
