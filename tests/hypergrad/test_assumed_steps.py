import pytest
import torch

from dfl.errors import InvalidValueError
from dfl.hypergrad import AssumedSteps, largest_eigenvalue, look_ahead
from tests.hypergrad.problems import network


def test_it_takes_look_ahead_steps_as_long_as_the_curvature_allows() -> None:
    problem = network(2)
    call = (problem.composed, problem.inner, problem.outer)
    ahead = AssumedSteps(3)
    ahead.measure_anew(torch.Generator().manual_seed(5))
    largest = largest_eigenvalue(*call, iterations=10, generator=torch.Generator().manual_seed(5))
    expected = look_ahead(*call, steps=3, step_size=1 / largest).inner
    torch.testing.assert_close(ahead(*call), expected, rtol=0, atol=0)


def test_the_length_is_kept_until_it_is_measured_anew() -> None:
    ahead, inner = AssumedSteps(1), {"a": torch.tensor(1.0)}
    steep, flat = (lambda i, o, k=k: k * i["a"] ** 2 / 2 for k in (10.0, 1.0))
    assert float(ahead(steep, inner, {"b": inner["a"]})["a"]) == 0
    assert float(ahead(flat, inner, {"b": inner["a"]})["a"]) == pytest.approx(0.9)
    ahead.measure_anew(torch.Generator())
    assert float(ahead(flat, inner, {"b": inner["a"]})["a"]) == 0


def test_no_steps_leave_everything_as_it_is() -> None:
    inner = {"a": torch.ones(2, requires_grad=True)}
    found = AssumedSteps(0)(lambda i, o: i["a"].sum(), inner, inner)
    assert torch.equal(found["a"], inner["a"])
    assert not found["a"].requires_grad
    with pytest.raises(InvalidValueError, match="steps must be >= 0, got -1"):
        AssumedSteps(-1)
