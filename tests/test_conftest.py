"""Tests in a browser are left out where there is none, and that is said."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, final

import pytest

from tests.conftest import (
    browser_path,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_terminal_summary,
)


@final
@dataclass(frozen=True)
class Item:
    marker: str

    def get_closest_marker(self, name: str) -> bool:
        return name == self.marker


def collected() -> list[Any]:
    """Collect one test in a browser and one without; return what is left."""
    config: Any = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: None))
    items: list[Any] = [Item("browser"), Item("")]
    pytest_collection_modifyitems(config, items)
    return items


def told() -> str:
    said: list[str] = []
    reporter: Any = SimpleNamespace(section=said.append, write_line=said.append)
    pytest_terminal_summary(reporter)
    return " ".join(said)


def test_without_a_browser_its_tests_are_left_out_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DFL_BROWSER", raising=False)
    pytest_configure()
    assert collected() == [Item("")]
    assert told().startswith("LEFT OUT Tests of the report's page in a browser: no Chromium")


def test_where_a_browser_is_needed_its_absence_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("DFL_BROWSER", "needed")
    with pytest.raises(pytest.UsageError, match="DFL_BROWSER=needed, and no Chromium was found"):
        pytest_configure()


def test_a_browser_that_is_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFL_BROWSER", "here/chrome")
    assert browser_path() == "here/chrome"
    pytest_configure()
    assert len(collected()) == 2
    assert told() == ""
