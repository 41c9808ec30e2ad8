from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.abtest import Experiment
from dfl.errors import DTypeError, InvalidValueError, ShapeError
from dfl.stats.arrays import labels, matrix, vector


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(["control", pd.NA, "a", "a"], dtype="string"),
        pd.Series([0, pd.NA, 1, 1], dtype="Int64"),
        pd.Series([True, pd.NA, False, False], dtype="boolean"),
        pd.Series(["control", None, "a", "a"], dtype=object),
        ["control", float("nan"), "a", "a"],
        np.array([0.0, np.nan, 1.0, 1.0]),
        np.ma.masked_equal([0, 7, 1, 1], 7),
        np.array(["2024-01-01", "NaT", "2024-01-02", "2024-01-02"], dtype="datetime64[D]"),
    ],
    ids=["text", "whole", "truth", "None", "mixed", "float", "masked", "day"],
)
def test_a_missing_label_is_counted_whatever_it_is_written_as(values: object) -> None:
    array = np.asarray(values, dtype=object) if isinstance(values, list) else values
    with pytest.raises(InvalidValueError, match="arm must be known in every row, it is missing"):
        labels("arm", array, 4)


def test_an_experiment_names_the_rows_without_an_arm() -> None:
    arm = pd.Series(["control", "a"] * 50, dtype="string")
    arm[1] = pd.NA
    with pytest.raises(InvalidValueError, match="it is missing in 1 of 100"):
        Experiment(treatment=arm, metric=np.arange(100.0))


def test_labels_that_are_there_come_back() -> None:
    assert labels("arm", pd.Series(["NA", "", "b"], dtype="string"), 3).tolist() == ["NA", "", "b"]
    assert labels("arm", pd.Series([0, 1], dtype="Int64"), 2).tolist() == [0, 1]


def test_shapes_and_kinds_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"arm must be \(3,\), got \(2,\)"):
        labels("arm", ["a", "b"], 3)
    with pytest.raises(DTypeError, match="x must hold numbers, got"):
        vector("x", ["a", "b"])
    with pytest.raises(ShapeError, match=r"x must be \(3, p\) with p >= 1"):
        matrix("x", [[1.0], [2.0]], 3)
    with pytest.raises(InvalidValueError, match="x must be finite, got 1 NaN or infinite of 2"):
        vector("x", [1.0, float("inf")])


def test_masked_numbers_are_missing() -> None:
    with pytest.raises(InvalidValueError, match="metric must be finite, got 1 NaN or infinite of"):
        vector("metric", np.ma.masked_equal([1, 2, 99], 99))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_are_read_without_their_graph_and_in_any_precision(dtype: torch.dtype) -> None:
    tensor = torch.tensor([1.0, 2.5], dtype=dtype, requires_grad=True)
    assert vector("metric", tensor).tolist() == labels("arm", tensor, 2).tolist() == [1, 2.5]


@pytest.mark.parametrize("ids", [np.array([2.0**53, 1]), np.array([2**24, 1], np.float32)])
def test_ids_that_ran_together_as_floats_are_refused(ids: Any) -> None:
    assert len(labels("clusters", ids - 1, 2)) == 2
    with pytest.raises(InvalidValueError, match="neighbours have run together"):
        labels("clusters", ids, 2)
