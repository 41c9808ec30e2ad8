"""`AbstractSimulator`: what the simulators share, from the old policy to filling the parts."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from dfl.checks import check_count, check_number, check_several
from dfl.data.encoder import FeatureEncoder
from dfl.data.hybrid import HybridData
from dfl.data.sources.source import AbstractDataSource
from dfl.data.uplift_data import PotentialOutcomes, Source, UpliftData
from dfl.errors import InvalidValueError
from dfl.scale import CACHED
from dfl.seeds import stream, uniform

__all__ = ["AbstractSimulator", "Assign", "Draws", "PartSizes"]

_EXPLORATION = 0.05  # share of old-policy decisions made at random, so that arms overlap

Assign: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From the old policy's scores ``(M, n)`` to treatments ``(n,)`` and their chances ``(M, n)``."""


@final
@dataclass(frozen=True, kw_only=True)
class PartSizes:
    """Rows of each part that a simulator makes, each >= 1."""

    rct: int = 8_000
    obs: int = 40_000
    validation: int = 10_000
    test: int = 40_000

    def __post_init__(self) -> None:
        """Check the range."""
        for field in fields(self):
            check_count(f"sizes.{field.name}", getattr(self, field.name), at_least=1)

    @staticmethod
    def paper() -> "PartSizes":
        """Return the scale of Bi-DFCL's Criteo study, arXiv:2510.19517."""
        return PartSizes(rct=700_000, obs=3_500_000, validation=1_400_000, test=4_200_000)


@final
@dataclass(frozen=True, eq=False)
class Draws:
    """People drawn together, one column per person; fields are named as in `UpliftData`."""

    features: Tensor  # (F, n)
    treatment: Tensor  # (n,)
    revenue: Tensor  # (n,)
    cost: Tensor  # (n,)
    expected_revenue: Tensor  # (M, n), given the features alone
    expected_cost: Tensor  # (M, n)
    propensity: Tensor  # (M, n)


@dataclass(frozen=True, eq=False, kw_only=True)
class AbstractSimulator(AbstractDataSource):
    """People whose expected outcome under every treatment is known.

    Observational rows were treated by an old policy: a softmax of scores that depend on the
    features (``confounding``) and on a variable that nobody records
    (``hidden_confounding``); 5 % of its decisions are uniformly random.

    ``truth`` holds expected outcomes given the recorded features, averaged over the hidden
    variable: no decision can use more.

    Args:
        sizes: rows of each part.
        confounding: how strongly the old policy follows the features, >= 0; 0: not at all.
        hidden_confounding: how strongly an unrecorded variable drives both the old policy and
            the outcomes, in [0, 1]. Randomised rows are not confounded by it.
        noise: place between expected outcomes (0) and realistic draws (1), in [0, 1].
        rct_shares: chance of each treatment in randomised rows, each > 0, sum 1; None:
            uniform.
        overlap: whether the old policy leaves every treatment a chance with everyone. False:
            it gives each person the treatment of largest score and never explores.
        known_propensity: whether rows carry the chances they were treated with, given
            everything the policy saw.

    Raises:
        InvalidValueError: if an option is out of its range.
    """

    sizes: PartSizes = PartSizes()
    confounding: float = 1.0
    hidden_confounding: float = 0.0
    noise: float = 1.0
    rct_shares: tuple[float, ...] | None = None
    overlap: bool = True
    known_propensity: bool = False

    def __post_init__(self) -> None:
        """Check every option."""
        check_number("confounding", self.confounding, at_least=0)
        for name in ("hidden_confounding", "noise"):
            check_number(name, getattr(self, name), at_least=0, at_most=1)
        arms, shares = len(self.treatment_names), self.rct_shares
        if shares is not None:
            check_several("rct_shares", shares)
        if shares is not None and not (
            len(shares) == arms and min(shares) > 0 and math.isclose(sum(shares), 1, abs_tol=1e-6)
        ):
            raise InvalidValueError(
                f"rct_shares must be {arms} numbers > 0 that sum to 1, got {shares}."
            )

    @property
    @abstractmethod
    def treatment_names(self) -> tuple[str, ...]:
        """Names of the treatments, in order."""

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """Names of the recorded features, in order."""

    @property
    def encoder(self) -> FeatureEncoder:
        """Reads the features of this simulator from a table."""
        return FeatureEncoder.numeric(self.feature_names)

    def hybrid(self, seed: int) -> HybridData:
        """Return the four parts; each depends on the seed and its own size alone."""
        return HybridData(
            rct=self.draw(self.sizes.rct, generator=stream(seed, "rct")),
            obs=self.draw(self.sizes.obs, generator=stream(seed, "obs"), source="obs"),
            validation=self.draw(self.sizes.validation, generator=stream(seed, "validation")),
            test=self.draw(self.sizes.test, generator=stream(seed, "test")),
            encoder=self.encoder,
        )

    def draw(self, rows: int, *, generator: torch.Generator, source: Source = "rct") -> UpliftData:
        """Return new people, treated at random or by the old policy.

        Args:
            rows: how many, >= 1.
            generator: source of randomness, on the CPU.
            source: ``"rct"`` or ``"obs"``.

        Returns:
            float32 rows on the CPU with ``truth``.

        Raises:
            InvalidValueError: if ``rows`` is below 1 or so small that a treatment is missing.
        """
        check_count("rows", rows, at_least=1)
        assign = self._assigner(source, generator)
        columns: dict[str, Tensor] = {}
        # Temporaries stay in the cache, and torch does not wake threads for vectors of this
        # length, which would wait for each other on a busy machine.
        for part in CACHED.of(rows):
            draws = self._draw(part.stop - part.start, generator, assign)
            for field in fields(draws):
                values = (
                    getattr(draws, field.name).mT
                    if field.name in _WIDE
                    else getattr(draws, field.name)
                )
                if part.start == 0:
                    columns[field.name] = values.new_empty((rows, *values.shape[1:]))
                columns[field.name][part] = values
        return self._rows(columns, source)

    @abstractmethod
    def _draw(self, rows: int, generator: torch.Generator, assign: Assign) -> Draws:
        """Return ``rows`` people, treated as ``assign`` decides from the old policy's scores."""

    def _observe(self, expected: Tensor, drawn: Tensor) -> Tensor:
        """Return the outcome between its expectation and its draw."""
        return drawn if self.noise == 1 else expected.lerp(drawn, self.noise)

    def _assigner(self, source: Source, generator: torch.Generator) -> Assign:
        def assign(scores: Tensor) -> tuple[Tensor, Tensor]:
            arms = scores.shape[0]
            if source == "obs" and not self.overlap:
                chances = one_hot(scores.argmax(dim=0), arms).T.to(scores)
            elif source == "obs":
                chances = scores.softmax(dim=0) * (1 - _EXPLORATION) + _EXPLORATION / arms
            else:
                shares = self.rct_shares or (1 / arms,) * arms
                chances = scores.new_tensor(shares)[:, None].expand_as(scores)
            drawn = uniform(scores.shape[1], generator=generator)
            treatment = (drawn >= chances.cumsum(dim=0)[:-1]).sum(dim=0)
            return treatment, chances

        return assign

    def _rows(self, columns: dict[str, Tensor], source: Source) -> UpliftData:
        return UpliftData(
            features=columns["features"],
            treatment=columns["treatment"],
            revenue=columns["revenue"],
            cost=columns["cost"],
            treatments=len(self.treatment_names),
            source=source,
            propensity=columns["propensity"] if self.known_propensity else None,
            truth=PotentialOutcomes(columns["expected_revenue"], columns["expected_cost"]),
            feature_names=self.feature_names,
            treatment_names=self.treatment_names,
        )


_WIDE = frozenset({"features", "expected_revenue", "expected_cost", "propensity"})
