"""`Curvature` and `Layout`: what implicit hypergradients know of an inner loss at one point."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, prod
from typing import Literal, Self, TypeAlias, final

import torch
from torch import Tensor

from dfl.checks import check_count
from dfl.errors import InvalidValueError
from dfl.hypergrad.base import Parameters
from dfl.hypergrad.curvature.point import check_finite
from dfl.scale import power_of_two

__all__ = ["Curvature", "Layout", "Product", "StepSize", "check_step_size", "power_iteration"]

Product: TypeAlias = Callable[[Tensor], Tensor]
"""``v -> A v``, ``(members, n) -> (members, n)``; each row has a symmetric matrix of its own."""

StepSize: TypeAlias = float | Literal["stable"]


@final
@dataclass(frozen=True, eq=False)
class Layout:
    """Turns a list of parameters into ``(members, n)`` and back, in a fixed order.

    Args:
        names: of the parameters.
        shapes: of every parameter, the member axis included where there is one.
        members: number of members, or None where the loss is a scalar; the flat form then
            has one row.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    members: int | None

    @classmethod
    def of(cls, parameters: Parameters, members: int | None) -> Self:
        """Read the names and shapes of ``parameters``."""
        shapes = tuple(value.shape for value in parameters.values())
        return cls(tuple(parameters), shapes, members)

    @property
    def rows(self) -> int:
        """Rows of the flat form."""
        return 1 if self.members is None else self.members

    @property
    def sizes(self) -> list[int]:
        """Numbers per member in each parameter."""
        return [prod(shape if self.members is None else shape[1:]) for shape in self.shapes]

    def flatten(self, tensors: Iterable[Tensor]) -> Tensor:
        """Return all tensors side by side. Shape ``(members, n)``."""
        pairs = zip(tensors, self.sizes, strict=True)
        return torch.cat([tensor.reshape(self.rows, size) for tensor, size in pairs], dim=1)

    def unflatten(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Cut ``flat (members, n)`` into tensors of the parameters' shapes."""
        pairs = zip(torch.split(flat, self.sizes, dim=1), self.shapes, strict=True)
        return tuple(part.reshape(shape) for part, shape in pairs)

    def per_member(self, values: Tensor) -> Tensor:
        """Turn ``(rows,)`` into the shape of the loss: ``()``, or ``(members,)``."""
        return values.squeeze(0) if self.members is None else values

    def draw(self, generator: torch.Generator, *, columns: int) -> Tensor:
        """Draw standard normal columns over one member's flat parameters.

        The same numbers for a parameter of the same name, whatever the order of parameters,
        their dtype, device and members.

        Args:
            generator: where the numbers come from.
            columns: how many.

        Returns:
            Shape ``(n, columns)``, float32, on the generator's device.
        """
        sizes = dict(zip(self.names, self.sizes, strict=True))
        drawn = {
            name: torch.randn(
                (sizes[name], columns),
                generator=generator,
                device=generator.device,
                dtype=torch.float32,
            )
            for name in sorted(sizes)
        }
        return torch.cat([drawn[name] for name in self.names])


@final
@dataclass(frozen=True, eq=False)
class Curvature:
    """Holds second derivatives of an inner loss ``f`` at one point, as products.

    The graph behind them is built once and lives as long as this object.

    Args:
        layout: order and shapes of the flat vectors.
        inner_gradient: ``df / d inner``. Shape ``(members, n)``.
        product: ``v -> H v`` with ``H`` the Hessian of ``f`` in ``inner``, or an
            approximation of it. ``(members, n) -> (members, n)``.
        mixed: ``q -> d (q . df/d inner) / d outer``, exact, one tensor per outer parameter.
    """

    layout: Layout
    inner_gradient: Tensor
    product: Product
    mixed: Callable[[Tensor], Parameters]

    def draw(self, generator: torch.Generator, *, columns: int) -> Tensor:
        """Draw columns as `Layout.draw` does, in the dtype and on the device of ``inner``."""
        return self.layout.draw(generator, columns=columns).to(self.inner_gradient)

    def largest(self, generator: torch.Generator, *, iterations: int) -> Tensor:
        """Estimate the largest absolute curvature of every member by `power_iteration`.

        Args:
            generator: draws the first vector, the same one for every member.
            iterations: products, >= 1.

        Returns:
            In units of ``H``. Shape ``(members,)``.

        Raises:
            InvalidValueError: if ``iterations`` is out of range or a product is not finite.
        """
        first = self.draw(generator, columns=1).squeeze(1)
        found = power_iteration(
            self.product, first.expand_as(self.inner_gradient), iterations=iterations
        )
        check_finite(self.layout.per_member(found), "the largest curvature of inner_loss")
        return found

    def stable_step(
        self, generator: torch.Generator, *, iterations: int, damping: float = 0.0
    ) -> Tensor:
        """Return 1 / (largest absolute curvature + damping), safely below 2 / curvature.

        Args:
            generator: draws the first vector of the power iteration.
            iterations: products, >= 1.
            damping: added to the curvature, >= 0.

        Returns:
            One step per member, in inverse units of ``H``. Shape ``(members,)``.

        Raises:
            InvalidValueError: if a member has no curvature, or as `largest` does.
        """
        largest = self.largest(generator, iterations=iterations)
        if not bool((largest > 0).all()):
            raise InvalidValueError(
                "step_size 'stable' needs curvature, but inner_loss has none at inner: give "
                "step_size a number."
            )
        return 1 / (largest + damping)


def check_step_size(step_size: object) -> None:
    """Check an option ``step_size``.

    Raises:
        InvalidValueError: if it is neither a finite number > 0 nor ``"stable"``.
    """
    number = isinstance(step_size, int | float) and 0 < step_size < inf
    if not number and step_size != "stable":
        raise InvalidValueError(
            f"step_size must be a finite number > 0 or 'stable', got {step_size!r}."
        )


def power_iteration(product: Product, start: Tensor, *, iterations: int) -> Tensor:
    """Estimate every member's largest absolute eigenvalue.

    ``|A v|`` for a unit vector ``v`` that was multiplied by ``A`` again and again: a lower
    bound that closes in from below.

    Args:
        product: ``v -> A v``, symmetric.
        start: first vectors, random. Shape ``(members, n)``.
        iterations: products, >= 1.

    Returns:
        In units of ``A``. Shape ``(members,)``.

    Raises:
        InvalidValueError: if ``iterations`` is below 1.

    Source:
        Golub and Van Loan (2013), Matrix Computations, section 8.2.1.
    """
    check_count("iterations", iterations, at_least=1)
    vector = start
    for _ in range(iterations):
        scaled = vector / _size(vector)
        length = scaled.norm(dim=1, keepdim=True)
        vector = product(scaled / torch.where(length > 0, length, 1))
    size = _size(vector)
    found: Tensor = size.squeeze(1) * (vector / size).norm(dim=1)
    return found


def _size(vectors: Tensor) -> Tensor:
    """Return what to divide each row by, ``(members, 1)``, so that squares keep in range."""
    return power_of_two(vectors.abs().amax(dim=1, keepdim=True))
