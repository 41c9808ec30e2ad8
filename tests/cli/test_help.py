import inspect
import re

import pytest

from dfl.cli.help import ERRORS, code_of
from dfl.errors import DataError, DflError
from tests.cli.outcome import Dfl
from tests.conftest import ROOT

HEAD = """# Errors

A mistake, in the call, in a file or on the disk, ends a command with one line and exit code 2. The
line names what was expected, what came and what to do, and at its end the kind of the error:
`dfl help Data` and the like print what stands here, without a network. In Python an error is a
class of `dfl.errors`, called `DataError` and the like; each derives from `DflError` and from the
built-in that one would expect. A warning says what is done all the same, and why.
"""


def page() -> str:
    """Return the page of all errors, from their docstrings."""
    parts = [f"## {name}\n\n{inspect.getdoc(cls)}\n" for name, cls in ERRORS.items()]
    return "\n".join([HEAD, *parts]).replace("``", "`")


def test_the_page_holds_every_kind() -> None:
    assert (ROOT / "docs" / "errors.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", ERRORS)
def test_every_kind_says_what_causes_it_and_what_helps(name: str, dfl: Dfl) -> None:
    text = dfl("help", name).text
    assert re.search("Usual cause: .+ What helps: .+", text, re.DOTALL)
    assert dfl("help", f"{name}Error".lower()).text == text


def test_all_kinds_have_a_line_each(dfl: Dfl) -> None:
    text = dfl("help").text
    assert all(name in text for name in ERRORS)


def test_an_unknown_code_is_an_error_with_the_nearest(dfl: Dfl) -> None:
    done = dfl("help", "Confg")
    assert done.code == 2
    assert "Did you mean 'Config'?" in done.text
    assert "A command explains itself: dfl COMMAND --help." in done.text


def test_an_error_of_others_has_the_code_of_what_it_derives_from() -> None:
    class TheirError(DataError):
        pass

    assert code_of(TheirError("x")) == "Data"
    assert code_of(DflError("x")) == ""


def test_a_message_leads_to_its_page(dfl: Dfl) -> None:
    assert dfl("run", "nothing").text.endswith("More: dfl help Config")
