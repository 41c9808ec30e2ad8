"""Corrections in plain sentences."""

from dataclasses import replace

import pytest
import torch

from dfl.errors import ShapeError
from dfl.models.grounding.basis import Basis
from dfl.models.grounding.correction import Correction, CorrectionForm
from dfl.models.grounding.evidence import Evidence
from dfl.models.grounding.words import in_words

NAMES = {"feature_names": ("recency", "age"), "treatment_names": ("none", "5%", "10%")}


def correction(**changes: object) -> Correction:
    """A correction of the third treatment: -12 % per deviation of recency, +4 % for everyone."""
    features = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    basis = Basis.of(features, torch.tensor([0.0, 1.0, 2.0]))
    own = torch.zeros(5, 1).double()  # the pattern that is 1 at it, centred: no level
    own[:4] = torch.linalg.pinv(basis.doses[:, :4])[:, 2:]
    wanted = torch.tensor([[0.04, -0.12, 0.0]], dtype=torch.float64)
    one = Correction(
        basis=basis,
        multiply=own @ wanted * 0.75,
        addition=own @ wanted * 0.75,
        stretch=0.0,
        contrast_mean=torch.zeros(3),
        unit=5.0,
        noise_power=1.5,
        effective=3.25,
        log_evidence=40.0,
        disagreement=2.0,
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def test_a_correction_is_told_by_treatment_and_feature() -> None:
    told = in_words([correction()], **NAMES)
    assert told[2] == (
        "10%: the predictions overrate it for customers with high recency, by 12 % per standard "
        "deviation; the predictions underrate it for everyone by 4 %."
    )
    assert told[0].startswith("none: the predictions underrate it for customers with high recency")
    assert told[3:] == [
        "Effective number of parameters that serve: 3.2.",
        "The variance of revenue grows as its mean to the power 1.5.",
        "Twice the log evidence for a bias of the logs of their own is 2: logs and experiment "
        "agree as far as these rows can tell.",
    ]


@pytest.mark.parametrize(
    ("level", "factor", "word", "per_cent"),
    [
        (10.0, 0.4, "overrate", 60),
        (10.0, 2.5, "underrate", 150),
        (-10.0, 1.5, "overrate", 50),
        (0.0, 1.0, "underrate", 50),  # customers who bring in and who cost as much
    ],
)
def test_shares_are_of_the_size_of_revenue_and_have_its_sign(
    level: float, factor: float, word: str, per_cent: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4_000, 1, generator=generator)
    predicted = (level + features.sign()).expand(-1, 2)
    treatment = torch.randint(2, (4_000,), generator=generator)
    shift = 0.0 if level else 0.5
    outcome = predicted[:, 0] * torch.where(treatment == 1, factor, 1.0) + shift * treatment
    outcome = outcome + 0.1 * torch.randn(4_000, generator=generator)
    rows = Evidence(predicted, outcome, treatment, features, torch.zeros(4_000).bool())
    form = CorrectionForm(contrast=False)
    told = in_words(Correction.fit(rows, torch.tensor([0.0, 1.0]), [form]))
    (line,) = (one for one in told if one.startswith("treatment 1:"))
    clause = next(one for one in line.split("; ") if "everyone" in one)
    assert word in clause
    assert float(clause.rstrip(".").split()[-2]) == pytest.approx(per_cent, rel=0.1)


def test_several_corrections_are_told_by_their_mean_also_where_one_was_screened() -> None:
    whole = correction()
    none = replace(
        whole,
        basis=whole.basis.only(torch.tensor([0, 2])),
        multiply=torch.zeros(5, 2).double(),
        addition=torch.zeros(5, 2).double(),
        noise_power=1.0,
    )
    told = in_words([whole, none])
    assert (
        "treatment 2: the predictions overrate it for customers with high feature 0, by 6 %"
        in (told[2])
    )
    assert "Effective number of parameters that serve: 3.2, 3.2." in told
    assert "The variance of revenue grows as its mean to the power 1 or 1.5." in told


def test_no_correction_is_said_plainly() -> None:
    none = correction(
        multiply=torch.zeros(5, 3).double(), addition=torch.zeros(5, 3).double(), noise_power=0.0
    )
    told = in_words([none], **NAMES)
    assert told[0] == "No treatment is corrected by 1 % of the average revenue or more."
    assert "The variance of revenue does not depend on its size." in told


@pytest.mark.parametrize(
    ("stretch", "sentence"),
    [
        (0.2, "The predicted differences between treatments are stretched by 20 %."),
        (-0.3, "The predicted differences between treatments are shrunk by 30 %."),
    ],
)
def test_a_stretch_is_told(stretch: float, sentence: str) -> None:
    assert sentence in in_words([correction(stretch=stretch)], **NAMES)
    assert sentence not in in_words([correction()], **NAMES)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        (-1.0, "agree as far as these rows can tell"),
        (12.0, "slight signs that the logs are biased; sound logs show as much at times"),
        (80.0, "the logs are biased: trust no effect that was read from them alone"),
    ],
)
def test_agreement_is_said_plainly(evidence: float, verdict: str) -> None:
    assert in_words([correction(disagreement=evidence)])[-1].endswith(f"{verdict}.")


def test_without_logs_nothing_is_said_of_agreement() -> None:
    assert not any("bias" in line for line in in_words([correction(disagreement=None)]))


@pytest.mark.parametrize("which", ["feature", "treatment"])
def test_names_that_do_not_fit_are_refused(which: str) -> None:
    with pytest.raises(ShapeError, match=rf"{which}_names must be \d or none, got 1"):
        in_words([correction()], **{**NAMES, f"{which}_names": ("one",)})
