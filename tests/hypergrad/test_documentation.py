"""The two worked examples of docs/hypergradients.md, against what their makers know."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dfl.hypergrad import HYPERGRADIENTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hypergradients.md"


@cache
def examples() -> dict[str, Any]:
    """Run the page from top to bottom."""
    names: dict[str, Any] = {"__name__": "page"}
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    return names


def test_penalties_find_the_features_that_matter() -> None:
    page = examples()
    penalty = page["penalty"]
    assert float(penalty[:5].max()) < 0.2
    assert float(penalty[5:].median()) > 5 * float(penalty[:5].max())
    rows, true = page["x"], page["true"]
    best = torch.linalg.lstsq(rows[:, :5], page["y"].unsqueeze(1)).solution.squeeze(1)
    oracle = float((best - true[:5]).norm() ** 2)  # knows which five matter
    plain = torch.linalg.lstsq(rows, page["y"].unsqueeze(1)).solution.squeeze(1)
    tuned = float((page["tuned"].inner["weight"] - true).norm() ** 2)
    assert tuned < 0.5 * float((plain - true).norm() ** 2)
    assert tuned < 2 * oracle + 0.1


def test_weights_tell_right_labels_from_wrong_ones() -> None:
    page = examples()
    weight, flipped = page["weight"], page["flipped"]
    above = (weight[~flipped].unsqueeze(1) > weight[flipped]).float().mean()
    assert float(above) > 0.95
    right = (page["x_test"] @ page["learned"].inner["weight"] > 0).float() == page["y_test"]
    assert float(right.float().mean()) > 0.95


def test_the_page_lists_every_name_with_its_class() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in HYPERGRADIENTS.names():
        assert f"| `{name}` | `{HYPERGRADIENTS.load(name).__name__}` |" in text
