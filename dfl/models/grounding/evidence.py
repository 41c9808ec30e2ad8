"""`Evidence`: rows on which predictions are held against outcomes, and their moments."""

from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from dfl.errors import InvalidValueError, ShapeError

__all__ = ["Evidence", "noise_variance"]

_POWERS = (0.0, 0.5, 1.0, 1.5, 2.0)
_FLOOR = 0.1  # of the mean's size: below it the noise does not shrink further


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Outcomes of one kind beside what a model predicts, which did not learn from the row.

    Args:
        predicted: outcome predicted under every treatment, in currency. Shape ``(N, M)``.
        outcome: observed under the treatment received, same currency. Shape ``(N,)``.
        treatment: received. Shape ``(N,)``.
        features: as the model takes them. Shape ``(N, F)``.
        logged: True for rows of the logs, False for rows of the experiment. Shape ``(N,)``.

    Raises:
        ShapeError: if the shapes do not fit together.
        InvalidValueError: if a number is NaN or infinite, or no row is of the experiment.
    """

    predicted: Tensor
    outcome: Tensor
    treatment: Tensor
    features: Tensor
    logged: Tensor

    def __post_init__(self) -> None:
        """Check shapes and values."""
        rows = self.predicted.shape[0]
        shapes = {
            "outcome": self.outcome.shape[:1],
            "treatment": self.treatment.shape[:1],
            "features": self.features.shape[:1],
            "logged": self.logged.shape[:1],
        }
        for name, shape in shapes.items():
            if shape != (rows,):
                raise ShapeError(f"{name} must have {rows} rows like predicted, got {shape}.")
        for name in ("predicted", "outcome", "features"):
            if not bool(getattr(self, name).isfinite().all()):
                raise InvalidValueError(f"{name} must be finite, got NaN or infinity.")
        if bool(self.logged.all()):
            raise InvalidValueError(
                "a correction needs rows of the experiment, got rows of the logs alone."
            )

    @property
    def own(self) -> Tensor:
        """Prediction for the treatment received, float64. Shape ``(N,)``."""
        return self.predicted.gather(1, self.treatment[:, None]).squeeze(1).double()

    def contrasts(self) -> tuple[Tensor, Tensor]:
        """Return each row's contrast at its treatment ``(N,)`` and each treatment's mean ``(M,)``.

        The contrast of a treatment is its prediction minus the person's mean over treatments,
        minus the mean of that over the experiment's rows.
        """
        contrast = self.predicted.double()
        contrast = contrast - contrast.mean(dim=1, keepdim=True)
        mean = contrast[~self.logged].mean(dim=0)
        return (contrast - mean).gather(1, self.treatment[:, None]).squeeze(1), mean

    def rows(self, index: Tensor) -> "Evidence":
        """Return the rows ``index`` in its order."""
        return Evidence(*(getattr(self, f.name)[index] for f in fields(self)))


def noise_variance(outcome: Tensor, mean: Tensor) -> tuple[Tensor, float]:
    """Return the variance of each outcome around its mean, and the exponent found.

    ``phi max(mean, .1 |average mean|)^g``; ``phi`` and ``g`` in {0, .5, 1, 1.5, 2} maximise the
    Gaussian likelihood: counts have g = 1, amounts with a random basket about 2.

    Args:
        outcome: observed, float64. Shape ``(N,)``.
        mean: expected. Shape ``(N,)``.
    """
    size = mean.clamp(min=_FLOOR * float(mean.mean().abs()) + 1e-9)
    error = (outcome - mean).square()
    logarithm = float(size.log().mean())
    tried = []
    for power in _POWERS:
        phi = (error / size**power).mean().clamp(min=torch.finfo(torch.float64).tiny)
        tried.append((float(phi.log()) + power * logarithm, power, phi))
    _, power, phi = min(tried, key=lambda one: one[0])
    return phi * size**power, power
