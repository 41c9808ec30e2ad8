"""Rows in one table: batches gather what is asked for, and know where rows come from."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from dfl.errors import DataError
from dfl.models import Scaling
from dfl.training.rows import RowPool
from tests.methods.toy import logs


def pool(*sources: str) -> RowPool:
    parts = [logs(100, source=one, seed=index) for index, one in enumerate(sources)]  # type: ignore[arg-type]
    return RowPool.of([parts], [Scaling.fit(*parts)])


def test_a_batch_is_the_rows_of_the_table() -> None:
    table = pool("rct", "obs")
    batch = table.take(torch.tensor([[3, 150], [199, 0]]))
    assert_close(batch.features, table.features[torch.tensor([[3, 150], [199, 0]])])
    assert batch.treatment.tolist() == table.treatment[torch.tensor([[3, 150], [199, 0]])].tolist()
    assert batch.outcome.shape == (2, 2, 2)
    assert batch.from_logs.tolist() == [[False, True], [True, False]]


def test_a_policy_is_not_valued_on_rows_of_unknown_propensity() -> None:
    batch = pool("rct", "obs").take(torch.tensor([[0, 1]]))
    with pytest.raises(DataError, match="a policy is valued on rows whose propensity is known"):
        _ = batch.logged
    assert pool("rct").take(torch.tensor([[0, 1]])).logged.weight.shape == (1, 2)


def test_observational_rows_with_known_propensity_are_as_good_as_randomised_ones() -> None:
    part = logs(100, source="obs", seed=1)
    known = replace(part, propensity=torch.full((100, 3), 1 / 3))
    table = RowPool.of([[known]], [Scaling.fit(known)])
    assert_close(table.take(torch.tensor([[5]])).logged.weight, torch.tensor([[3.0]]))


def test_chunks_cover_a_set() -> None:
    rows = list(pool("rct", "rct").chunks(0))
    assert rows == [slice(0, 200)]
