"""A shop whose coupon pays for some customers only, and policies that train in a moment."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import sklearn

from dfl import Budget
from dfl.methods import Training
from dfl.sklearn import BudgetedPolicy

TINY = Training(epochs=2, min_steps=20, batch_size=64, members=1, weight_decay=(0.1,))
HALF = Budget(share=0.5)


def policy(**options: object) -> BudgetedPolicy:
    return BudgetedPolicy(**{"training": TINY, "budget": HALF, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def shop() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = 400
    age, arm = draw.normal(size=rows), draw.integers(0, 3, rows)
    return pd.DataFrame(
        {
            "age": age,
            "city": draw.choice(["north", "south"], rows),
            "offer": np.array(["none", "5%", "10%"])[arm],
            "revenue": 2 + arm * (1 + np.tanh(2 * age)) + 0.1 * draw.normal(size=rows),
            "cost": arm * 0.5,
        }
    )


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield
