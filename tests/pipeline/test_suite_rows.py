"""What a suite keeps of a training: both forms of Qini, and nothing where nothing is defined."""

import pytest
import torch

from dfl.data import CriteoLikeSimulator, PartSizes
from dfl.metrics import Bootstrap, normalised_qini, qini
from dfl.models import Prediction
from dfl.pipeline.suite_rows import measured
from dfl.pipeline.yardstick import Yardstick
from tests.pipeline.tiny_suite import tiny_suite


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    sizes = PartSizes(rct=300, obs=300, validation=200, test=3_000)
    test = CriteoLikeSimulator(sizes=sizes, noise=0.1).hybrid(0).test
    return Yardstick.of(test, tiny_suite().studies["ads", "tsm-sl"].budgets, Bootstrap(draws=4))


def test_both_forms_of_qini_are_those_of_the_metrics(yardstick: Yardstick) -> None:
    truth = yardstick.test.truth
    assert truth is not None
    found = measured(
        tiny_suite().studies["ads", "tsm-sl"], yardstick, Prediction(truth.revenue, truth.cost)
    )
    uplift = truth.revenue[:, 1] - truth.revenue[:, 0]
    given = {"estimator": "doubly-robust", "bootstrap": Bootstrap(draws=4)}
    whole, unit = (form(yardstick.test, uplift, **given) for form in (qini, normalised_qini))
    assert (found["qini"], found["qini_se"]) == (
        whole.coefficient.value,
        whole.coefficient.standard_error,
    )
    assert (found["qini_normalised"], found["qini_normalised_se"]) == (
        unit.value,
        unit.standard_error,
    )


def test_what_is_undefined_is_empty_and_the_rest_is_there(yardstick: Yardstick) -> None:
    rows = len(yardstick.test)
    alike = Prediction(torch.rand(rows, 2), torch.ones(rows, 2))  # costs do not differ
    found = measured(tiny_suite().studies["ads", "tsm-sl"], yardstick, alike)
    assert found["aucc_raw"] is None
    assert found["true_aucc"] is None
    assert found["qini"] is not None
