from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError
from dfl.models.grounding.cells import Cells
from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.evidence import Evidence, noise_variance
from dfl.scale import Chunks

COST = torch.tensor([0.0, 1.0, 2.0])


def fitted(rows: Evidence, cost: Tensor, form: CorrectionForm) -> Correction:
    return Correction.fit(rows, cost, [form])[0]


def evidence(
    rows: int = 6_000, logs: int = 0, seed: int = 0, true: float = 0.0, bias: float = 0.0
) -> tuple[Evidence, Tensor]:
    """Rows and true outcomes; predictions miss ``true`` in the last arm, logs lie by ``bias``."""
    generator = torch.Generator().manual_seed(seed)
    count = rows + logs
    features = torch.randn(count, 4, generator=generator)
    predicted = 5 + torch.stack([features[:, 0], features[:, 1] + 1, features[:, 2] + 2], dim=1)
    predicted = predicted.clamp(min=0.5)
    truth = predicted.clone()
    truth[:, 2] *= (true * (1 + features[:, 0])).clamp(-1, 1).exp()
    treatment = torch.randint(3, (count,), generator=generator)
    logged = torch.arange(count) >= rows
    outcome = truth.gather(1, treatment[:, None]).squeeze(1)
    outcome = outcome + torch.randn(count, generator=generator)
    outcome = outcome + bias * logged * (treatment - 1) * (1 + features[:, 3])
    return Evidence(predicted, outcome, treatment, features, logged), truth


def error(correction: Correction, rows: Evidence, truth: Tensor) -> float:
    corrected = correction(rows.predicted, rows.features)
    return float((corrected - truth).square().mean().sqrt())


def test_right_predictions_are_left_alone() -> None:
    rows, _ = evidence()
    correction = fitted(rows, COST, CorrectionForm(add=4.0))
    change = correction(rows.predicted, rows.features) - rows.predicted
    assert float(change.abs().max()) < 0.1
    assert correction.effective < 1


@pytest.mark.parametrize(
    ("multiplicative", "true", "left"),
    [(True, 0.1, 0.3), (True, 0.3, 0.15), (False, 0.05, 0.6), (False, 0.1, 0.65)],
)
def test_a_wrong_treatment_is_put_right(multiplicative: bool, true: float, left: float) -> None:
    rows, truth = evidence(true=true)
    correction = fitted(rows, COST, CorrectionForm(multiplicative=multiplicative))
    before = float((rows.predicted - truth).square().mean().sqrt())
    assert error(correction, rows, truth) < left * before
    assert bool(correction.multiply.any()) == multiplicative
    assert 1 < correction.effective < 12


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_treatment_of_three_times_its_prediction_is_put_right_though_the_first_step_overshoots(
    sign: float,
) -> None:
    rows, _ = evidence()
    predicted = sign * (10 + 3 * rows.features[:, :1] + torch.tensor([0.0, 1.0, 2.0]))
    truth = predicted * torch.tensor([1.0, 1.0, 3.0])
    noise = torch.randn(len(truth), generator=torch.Generator().manual_seed(1))
    outcome = truth.gather(1, rows.treatment[:, None]).squeeze(1) + noise
    rows = replace(rows, predicted=predicted, outcome=outcome)
    assert error(fitted(rows, COST, CorrectionForm(contrast=False)), rows, truth) < 0.2


def test_the_logs_help_and_what_they_get_wrong_is_not_served() -> None:
    errors = []
    for seed in range(4):
        rows, truth = evidence(rows=400, logs=20_000, seed=seed, true=0.1, bias=0.3)
        alone = Evidence(**{name: value[:400] for name, value in vars(rows).items()})
        trusted = replace(rows, logged=torch.zeros_like(rows.logged))
        fits = [fitted(one, COST, CorrectionForm()) for one in (rows, alone, trusted)]
        errors.append([error(fit, rows, truth) for fit in fits])
    both, experiment, logs_believed = torch.tensor(errors).mean(dim=0).tolist()
    assert both < 0.6 * experiment
    assert both < 0.5 * logs_believed


def test_a_bias_that_follows_no_order_is_not_served_where_each_treatment_may_have_its_own() -> None:
    errors = []
    for seed in range(3):
        rows, truth = evidence(rows=2_000, logs=20_000, seed=seed)
        lie = (rows.treatment == 1) * (1 + rows.features[:, 3])  # in the middle: no slope says it
        rows = replace(rows, outcome=rows.outcome + 0.5 * lie * rows.logged)
        forms = [CorrectionForm(bias=bias) for bias in ("order", "each")]
        errors.append([error(fitted(rows, COST, form), rows, truth) for form in forms])
    order, each = torch.tensor(errors).mean(dim=0).tolist()
    assert each < 0.6 * order


@pytest.mark.parametrize("level", [True, False])
def test_logs_of_another_level_leave_the_differences_between_treatments(level: bool) -> None:
    """Another season: networks that learned from both lie between, and more so where logs are."""
    rows, truth = evidence(rows=2_000, logs=20_000, seed=1)
    shift = 8 * (1 + 0.3 * rows.features[:, 3])
    shifted = replace(
        rows,
        predicted=rows.predicted + 0.8 * shift[:, None] * torch.tensor([0.8, 1.0, 1.2]),
        outcome=rows.outcome + shift * rows.logged,
    )
    correction = fitted(shifted, COST, CorrectionForm(level=level))
    corrected = correction(shifted.predicted, shifted.features)
    assert bool((correction.multiply[-1] != 0).any()) <= level
    assert float((corrected - truth).square().mean().sqrt()) < 0.3
    apart = [one - one.mean(dim=1, keepdim=True) for one in (corrected, truth, shifted.predicted)]
    before = float((apart[2] - apart[1]).square().mean().sqrt())
    assert float((apart[0] - apart[1]).square().mean().sqrt()) < 0.2 * before


def test_the_order_of_rows_and_the_size_of_chunks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, _ = evidence(rows=3_000, logs=3_000, true=0.3, bias=1.0)
    order = torch.randperm(6_000, generator=torch.Generator().manual_seed(1))
    shuffled = Evidence(**{name: value[order] for name, value in vars(rows).items()})
    whole = fitted(rows, COST, CorrectionForm())
    again = fitted(shuffled, COST, CorrectionForm())
    monkeypatch.setattr("dfl.models.grounding.cells.CACHED", Chunks(700))
    pieces = fitted(rows, COST, CorrectionForm())
    for other in (again, pieces):
        torch.testing.assert_close(other.multiply, whole.multiply, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(other.addition, whole.addition, rtol=1e-7, atol=1e-9)


def test_people_are_corrected_one_by_one_as_together_and_in_their_dtype() -> None:
    rows, _ = evidence(true=0.3)
    correction = fitted(rows, COST, CorrectionForm())
    together = correction(rows.predicted, rows.features)
    one = correction(rows.predicted[7:8], rows.features[7:8])
    torch.testing.assert_close(one, together[7:8])
    assert together.dtype == torch.float32
    assert correction(rows.predicted.double(), rows.features).dtype == torch.float64
    assert correction(rows.predicted[:0], rows.features[:0]).shape == (0, 3)


def test_money_in_another_unit_gives_the_same_correction_in_that_unit() -> None:
    rows, _ = evidence(true=0.3)
    cents = replace(rows, predicted=100 * rows.predicted, outcome=100 * rows.outcome)
    first = fitted(rows, COST, CorrectionForm())
    second = fitted(cents, COST, CorrectionForm())
    torch.testing.assert_close(
        second(cents.predicted, rows.features),
        100 * first(rows.predicted, rows.features),
        rtol=1e-5,
        atol=1e-4,
    )


def test_forms_fitted_together_are_those_fitted_alone() -> None:
    rows, _ = evidence(rows=3_000, logs=3_000, true=0.3, bias=1.0)
    forms = [
        CorrectionForm(),
        CorrectionForm(add=1.0, bias="each"),
        CorrectionForm(multiplicative=False),
        CorrectionForm(add=0.02, contrast=False),
    ]
    for form, together in zip(forms, Correction.fit(rows, COST, forms), strict=True):
        alone = fitted(rows, COST, form)
        assert together.multiply.equal(alone.multiply)
        assert together.addition.equal(alone.addition)
        assert (together.stretch, together.effective) == (alone.stretch, alone.effective)
        assert together.disagreement == alone.disagreement


def test_a_wide_basis_is_screened_and_the_feature_that_matters_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, truth = evidence(true=0.3)
    noise = torch.randn(6_000, 60, generator=torch.Generator().manual_seed(2))
    wide = replace(rows, features=torch.cat([noise, rows.features], dim=1))
    monkeypatch.setattr("dfl.models.grounding.cells._SCREENED", 5)
    correction = fitted(wide, COST, CorrectionForm())
    assert len(correction.basis.keep) == 6
    assert {0, 61} <= set(correction.basis.keep.tolist())
    assert error(correction, wide, truth) < 0.3 * float(
        (rows.predicted - truth).square().mean().sqrt()
    )


def test_features_are_screened_alike_in_every_currency(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = evidence(true=0.3)
    noise = torch.randn(6_000, 60, generator=torch.Generator().manual_seed(2))
    wide = replace(rows, features=torch.cat([noise, rows.features], dim=1))
    monkeypatch.setattr("dfl.models.grounding.cells._SCREENED", 5)
    kept = []
    for unit in (1.0, 2.0**40, 2.0**-20):
        told = replace(wide, predicted=unit * wide.predicted, outcome=unit * wide.outcome)
        kept.append(Cells.of(told, COST).basis.keep)
    assert kept[0].equal(kept[1])
    assert kept[0].equal(kept[2])


def test_constant_features_a_tiny_arm_and_two_treatments_are_no_trouble() -> None:
    rows, _ = evidence(true=0.3)
    flat = replace(rows, features=torch.ones_like(rows.features))
    assert fitted(flat, COST, CorrectionForm())(flat.predicted, flat.features).isfinite().all()
    few = (rows.treatment < 2) | (torch.arange(6_000) < 6)
    tiny = Evidence(**{name: value[few] for name, value in vars(rows).items()})
    assert fitted(tiny, COST, CorrectionForm()).multiply.isfinite().all()
    pair = rows.treatment < 2
    two = Evidence(**{name: value[pair] for name, value in vars(rows).items()})
    two = replace(two, predicted=two.predicted[:, :2])
    assert fitted(two, COST[:2], CorrectionForm()).multiply.isfinite().all()


def test_the_noise_of_counts_grows_with_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(20_000, generator=generator, dtype=torch.float64) * 9 + 1
    variance, power = noise_variance(torch.poisson(mean, generator=generator), mean)
    assert power == 1.0
    torch.testing.assert_close(variance, mean, rtol=0.05, atol=0)
    constant, power = noise_variance(mean, mean)  # no error at all
    assert bool((constant > 0).all())


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"outcome": torch.zeros(3)}, ShapeError, "outcome must have 10 rows like predicted"),
        ({"outcome": torch.full((10,), torch.nan)}, InvalidValueError, "outcome must be finite"),
        ({"logged": torch.ones(10).bool()}, InvalidValueError, "needs rows of the experiment"),
    ],
)
def test_rows_that_do_not_fit_are_refused(
    changes: dict[str, Tensor], kind: type[Exception], message: str
) -> None:
    rows, _ = evidence(rows=10)
    with pytest.raises(kind, match=message):
        replace(rows, **changes)


def test_forms_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="add must be >= 0, got -1"):
        CorrectionForm(add=-1.0)
    with pytest.raises(InvalidValueError, match="bias must be one of 'order', 'each', got 'none'"):
        CorrectionForm(bias="none")  # type: ignore[arg-type]
