"""What corrections say: `in_words` in plain sentences, `effects` as numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dfl.errors import ShapeError
from dfl.models.grounding.cells import CAP
from dfl.models.grounding.correction import Correction

__all__ = ["effects", "in_words", "labels"]

_LEAST = 0.01  # of the average revenue: smaller corrections are not told
_MOST = 4  # reasons told for each treatment
_AGREE, _DISAGREE = 6.0, 30.0  # up to 25 also where nothing is confounded, in our worlds


def in_words(
    corrections: Sequence[Correction],
    *,
    feature_names: Sequence[str] = (),
    treatment_names: Sequence[str] = (),
) -> list[str]:
    """Say what the mean of corrections changes, how much it learned, and whether logs agree.

    Sizes are shares of the average revenue, for a person whose prediction is average: what
    multiplies and what is added, taken together. Where revenue may be negative, the average is
    that of its size.

    Args:
        corrections: of one model, at least one.
        feature_names: one per feature, or empty.
        treatment_names: one per treatment, or empty.

    Returns:
        One sentence per treatment that is corrected by 1 % or more, the largest reasons first;
        then one each on differences between treatments (where they are stretched or shrunk),
        size, noise and agreement.

    Raises:
        ShapeError: if the names are not as many as features or treatments.
    """
    effect = effects(corrections)
    features, arms = labels(effect[:, 1:], feature_names, treatment_names)
    told = [
        f"{arm}: {line}."
        for arm, row in zip(arms, effect, strict=True)
        if (line := _arm(row, features))
    ]
    if not told:
        told = ["No treatment is corrected by 1 % of the average revenue or more."]
    return [
        *told,
        *_stretch(corrections),
        _size(corrections),
        _noise(corrections),
        *_agreement(corrections),
    ]


def effects(corrections: Sequence[Correction]) -> Tensor:
    """Return the mean correction at an average prediction, as shares of the average revenue.

    Positive where revenue is raised. Per treatment: of everyone, then by one standard deviation
    more of each feature. Shape ``(M, 1 + F)``.
    """
    return torch.stack([_effect(one) for one in corrections]).mean(dim=0)


def labels(
    effect: Tensor, feature_names: Sequence[str], treatment_names: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of features and treatments, numbered where there are none.

    Args:
        effect: shape ``(M, F)``.
        feature_names: F, or empty.
        treatment_names: M, or empty.

    Raises:
        ShapeError: if the names are not as many.
    """
    arms = _names("treatment", treatment_names, effect.shape[0])
    return _names("feature", feature_names, effect.shape[1]), arms


def _effect(correction: Correction) -> Tensor:
    basis = correction.basis
    power, added = (basis.doses @ one for one in (correction.multiply, correction.addition))
    power[:, 1:] += power[:, :1]  # the first of the columns kept is that of everyone
    factor = power.clamp(-CAP, CAP).exp()
    factor[:, 1:] -= factor[:, :1]
    factor[:, 0] -= 1
    effect = added.new_zeros(len(added), 1 + len(basis.mean))
    effect[:, basis.keep] = math.copysign(1, correction.unit) * (factor + added)
    return effect


def _arm(effect: Tensor, features: Sequence[str]) -> str:
    """Say how one treatment is corrected; empty where it is not."""
    clauses = []
    for place in effect.abs().argsort(descending=True)[:_MOST].tolist():
        size = float(effect[place])
        if abs(size) < _LEAST:
            break
        word = "overrate" if size < 0 else "underrate"
        whom = f"customers with high {features[place - 1]}," if place else "everyone"
        per = " per standard deviation" if place else ""
        clauses.append(f"the predictions {word} it for {whom} by {100 * abs(size):.0f} %{per}")
    return "; ".join(clauses)


def _stretch(corrections: Sequence[Correction]) -> list[str]:
    mean = sum(one.stretch for one in corrections) / len(corrections)
    if abs(mean) < _LEAST:
        return []
    word = "stretched" if mean > 0 else "shrunk"
    return [f"The predicted differences between treatments are {word} by {100 * abs(mean):.0f} %."]


def _size(corrections: Sequence[Correction]) -> str:
    sizes = ", ".join(f"{one.effective:.1f}" for one in corrections)
    return f"Effective number of parameters that serve: {sizes}."


def _noise(corrections: Sequence[Correction]) -> str:
    powers = sorted({one.noise_power for one in corrections})
    if powers == [0.0]:
        return "The variance of revenue does not depend on its size."
    listed = " or ".join(f"{power:g}" for power in powers)
    return f"The variance of revenue grows as its mean to the power {listed}."


def _agreement(corrections: Sequence[Correction]) -> list[str]:
    """Say whether logs and experiment agree; nothing where there were no logs."""
    found = [one.disagreement for one in corrections if one.disagreement is not None]
    if not found:
        return []
    mean = sum(found) / len(found)
    if mean < _AGREE:
        verdict = "logs and experiment agree as far as these rows can tell"
    elif mean < _DISAGREE:
        verdict = "slight signs that the logs are biased; sound logs show as much at times"
    else:
        verdict = "the logs are biased: trust no effect that was read from them alone"
    return [f"Twice the log evidence for a bias of the logs of their own is {mean:.0f}: {verdict}."]


def _names(what: str, names: Sequence[str], count: int) -> Sequence[str]:
    if names and len(names) != count:
        raise ShapeError(f"{what}_names must be {count} or none, got {len(names)}.")
    return names or [f"{what} {number}" for number in range(count)]
