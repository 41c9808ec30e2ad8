"""The configurations that the documentation shows."""

import re
from pathlib import Path
from typing import Any

import pytest

from dfl.config import from_yaml, read_study

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command_line.md"
SHOWN: list[dict[str, Any]] = [
    from_yaml(text, str(PAGE))
    for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
]


@pytest.mark.parametrize("config", SHOWN, ids=lambda config: "-".join(config))
def test_a_configuration_in_the_documentation_is_one(config: dict[str, Any]) -> None:
    study = read_study({"method": "tsm-sl", **config})
    study.check()
    assert read_study(study.config).config == study.config


def test_there_are_configurations_in_the_documentation() -> None:
    assert len(SHOWN) == 2
