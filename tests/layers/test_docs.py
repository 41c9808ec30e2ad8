"""The examples of the pages on layers and decision losses run."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHOWN = {"layers.md": 1, "decision_losses.md": 1, "argmax_layers.md": 6}


@pytest.mark.parametrize("name", SHOWN)
def test_the_examples_of_a_page_run(name: str) -> None:
    page = DOCS / name
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == SHOWN[name]
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
