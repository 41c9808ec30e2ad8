import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError
from dfl.models.grounding.sparse_bayes import SparseFit, sparse_bayes


def problem(seed: int, rows: int = 300, columns: int = 12, kept: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    weights = torch.zeros(columns, dtype=torch.float64)
    weights[:kept] = torch.tensor([1.0, -0.7, 0.5], dtype=torch.float64)[:kept]
    return x, x @ weights + torch.randn(rows, generator=generator, dtype=torch.float64)


def fit(x: Tensor, y: Tensor, add: float = 2.0) -> SparseFit:
    return sparse_bayes(x.T @ x, x.T @ y, add=add)


def log_evidence(x: Tensor, y: Tensor, alpha: Tensor) -> float:
    """Log evidence over the empty set, from its definition: ``y ~ N(0, I + X A^-1 X')``."""
    used = alpha.isfinite()
    covariance = torch.eye(len(y), dtype=torch.float64)
    covariance = covariance + (x[:, used] / alpha[used]) @ x[:, used].T
    value = -0.5 * (torch.logdet(covariance) + y @ torch.linalg.solve(covariance, y))
    return float(value + 0.5 * y @ y)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_columns_that_matter(seed: int) -> None:
    found = fit(*problem(seed))
    assert set(range(3)) <= set(found.kept.tolist())
    assert len(found.kept) <= 5
    assert found.weights[:3].tolist() == pytest.approx([1.0, -0.7, 0.5], abs=0.2)
    assert 2.5 < float(found.share.sum()) <= len(found.kept)


def test_noise_alone_keeps_nothing_under_a_threshold() -> None:
    kept = [len(fit(*problem(seed, columns=40, kept=0), add=4.0).kept) for seed in range(10)]
    assert sum(kept) <= 2


def test_the_evidence_is_that_of_its_definition_and_no_single_change_raises_it() -> None:
    x, y = problem(1)
    found = sparse_bayes(x.T @ x, x.T @ y, add=0.0, stop=1e-9, max_steps=5_000)
    places = found.kept
    gram = x[:, places].T @ x[:, places]
    alpha = torch.full((x.shape[1],), torch.inf, dtype=torch.float64)
    guess = torch.ones(len(places), dtype=torch.float64)
    for _ in range(2_000):  # MacKay's fixed point on the kept columns
        covariance = torch.linalg.inv(gram + torch.diag(guess))
        mean = covariance @ (x[:, places].T @ y)
        guess = (1 - guess * covariance.diagonal()) / mean.square()
    alpha[places] = guess
    assert found.log_evidence == pytest.approx(log_evidence(x, y, alpha), abs=1e-5)
    for column in range(x.shape[1]):
        for factor in (0.9, 1.1):
            moved = alpha.clone()
            moved[column] = moved[column] * factor if moved[column].isfinite() else 10.0**factor
            assert log_evidence(x, y, moved) <= found.log_evidence + 1e-9


def test_identical_columns_are_counted_once() -> None:
    x, y = problem(2)
    twice = torch.cat([x, x], dim=1)
    found, alone = fit(twice, y), fit(x, y)
    torch.testing.assert_close(twice @ found.weights, x @ alone.weights, rtol=1e-6, atol=1e-6)


def test_empty_and_constant_columns_are_left_out() -> None:
    x, y = problem(3)
    found = fit(torch.cat([x, torch.zeros(len(x), 2, dtype=torch.float64)], dim=1), y)
    assert not set(found.kept.tolist()) & {12, 13}
    nothing = sparse_bayes(torch.zeros(3, 3).double(), torch.zeros(3).double(), add=2.0)
    assert nothing.weights.tolist() == [0, 0, 0]
    assert nothing.log_evidence == float(nothing.share.sum()) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"add": -1.0}, "add must be >= 0, got -1"), ({"add": 1.0, "stop": 0.0}, "stop must be > 0")],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        sparse_bayes(torch.eye(2).double(), torch.ones(2).double(), **options)


@pytest.mark.parametrize("second", [1.0 + 1e-15, 1.0 + 1e-6, 2.0])
def test_a_gram_matrix_that_rounding_made_indefinite_is_no_trouble(second: float) -> None:
    gram = torch.tensor([[1.0, second], [second, 1.0]], dtype=torch.float64)
    for moment in ([50.0, 40.0], [1e8, -1e8], [3.0, 3.0]):
        found = sparse_bayes(gram, torch.tensor(moment, dtype=torch.float64), add=0.0)
        assert found.weights.isfinite().all()
        assert found.log_evidence > 0
