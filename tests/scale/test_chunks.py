import pytest
import torch

from dfl.scale import CACHED, STREAMED, Chunks


@pytest.mark.parametrize(
    ("numbers", "rows", "columns"),
    [(10, 0, 3), (10, 1, 3), (10, 7, 3), (10, 9, 3), (9, 9, 3), (1, 4, 5), (100, 4, 5), (7, 3, 0)],
)
def test_chunks_cover_all_rows_in_order_and_hold_no_more_numbers_than_allowed(
    numbers: int, rows: int, columns: int
) -> None:
    parts = list(Chunks(numbers).of(rows, columns))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    for part in parts:
        held = (part.stop - part.start) * columns
        assert held <= numbers or part.stop - part.start == 1


def test_a_column_is_the_default() -> None:
    assert list(Chunks(4).of(10)) == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_no_rows_are_no_chunks() -> None:
    assert list(Chunks(4).of(0, 2)) == []


def test_a_sum_over_chunks_is_the_sum() -> None:
    table = torch.arange(60.0).reshape(12, 5)
    total = sum(float(table[part].sum()) for part in Chunks(10).of(*table.shape))
    assert total == float(table.sum())


def test_what_is_cached_is_smaller_than_what_is_streamed() -> None:
    assert CACHED.numbers < STREAMED.numbers
