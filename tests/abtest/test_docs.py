import re
from pathlib import Path

import pytest

from dfl.abtest import ESTIMATORS

PAGE = (Path(__file__).parents[2] / "docs" / "abtest.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(example, "docs/abtest.md", "exec"), {"__name__": "example"})
    assert "STATE measures the effect on the bulk of users" in capsys.readouterr().out


def test_the_page_names_every_estimator() -> None:
    assert set(ESTIMATORS.names()) <= set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE))
