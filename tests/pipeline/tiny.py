"""Configurations that train in a moment."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from dfl.config import Study, read_study
from dfl.methods import Progress

__all__ = ["Noting", "tiny_config", "tiny_study", "write_shop"]

_SECTIONS: Mapping[str, Any] = {
    "data": {"name": "coupon", "sizes": {"rct": 120, "obs": 150, "validation": 100, "test": 160}},
    "network": {"hidden": [4]},
    "training": {
        "epochs": 2,
        "min_steps": 2,
        "batch_size": 64,
        "members": 2,
        "weight_decay": [0.1],
    },
    "budgets": [{"share": 0.3}, {"share": 0.6}],
    "evaluation": {"draws": 5},
}


def tiny_config(method: object = "tsm-sl", **sections: Any) -> dict[str, Any]:
    """Return a configuration on a few hundred simulated rows."""
    return {**_SECTIONS, "method": method, **sections}


def tiny_study(method: object = "tsm-sl", **sections: Any) -> Study:
    return read_study(tiny_config(method, **sections))


def write_shop(path: Path, rows: int = 800) -> dict[str, Any]:
    """Write a randomised experiment with two arms, both of which cost money.

    Returns:
        The data section that reads it.
    """
    generator = np.random.default_rng(0)
    age, arm = generator.normal(size=rows), generator.integers(0, 2, rows)
    table = {
        "customer": np.arange(rows),
        "age": age,
        "city": generator.choice(["north", "south"], rows),
        "arm": np.where(arm == 1, "letter", "mail"),
        "bought": 1 + arm * (2 + age) + generator.normal(size=rows),
    }
    pd.DataFrame(table).to_parquet(path)
    return {
        "path": str(path),
        "treatment": "arm",
        "revenue": "bought",
        "cost": {"mail": 1.0, "letter": 2.0},
        "features": ["age", "city"],
        "recipe": {"policy": 0.1, "pool": 0.3, "rct": 0.2, "validation": 0.1, "test": 0.3},
    }


@final
class Noting:
    """A watcher that notes what it hears, and may do something at one point.

    Args:
        after: do it after this many epochs; 0: never.
        before: do it before the phase whose name begins so; empty: never.
        act: what to do.
    """

    def __init__(
        self, after: int = 0, *, before: str = "", act: Callable[[], None] = lambda: None
    ) -> None:
        self.after, self.before, self.act = after, before, act
        self.said: list[str] = []
        self.epochs: list[tuple[str, int]] = []

    def say(self, text: str) -> None:
        if self.before and text.startswith(self.before):
            self.act()
        self.said.append(text)

    def epoch(self, done: Progress) -> None:
        self.epochs.append((done.stage, done.epoch))
        if len(self.epochs) == self.after:
            self.act()
