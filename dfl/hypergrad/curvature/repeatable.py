"""`Repeatable`: refuses a loss that would not give the same value, or change nothing, twice."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch.overrides import TorchFunctionMode

from dfl.errors import UnsupportedProblemError

__all__ = ["Repeatable"]

# Functions that draw from torch's own generators, unless they are given another.
_DRAWS = re.compile(
    "(bernoulli|cauchy|exponential|geometric|log_normal|multinomial|normal|poisson|rand|randint|"
    "randn|random|randperm|rrelu|uniform)(_|_like)?|fractional_max_pool[23]d|gumbel_softmax"
)


@final
class Repeatable(TorchFunctionMode):
    """Watches one evaluation of a loss; losses are evaluated several times per hypergradient.

    Args:
        name: the argument that the loss came as, for messages.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, unless it is one that must not be repeated.

        Raises:
            UnsupportedProblemError: at dropout, at batch or spectral normalisation that updates
                what it keeps, and, in an inner loss, at random numbers.
        """
        options = dict(kwargs or {})
        kind = getattr(func, "__name__", "")
        if _is_dropout(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must give the same value at every call, but it uses dropout: call "
                "network.eval(), which switches it off, or multiply by a mask that you drew once."
            )
        if self._name == "inner_loss" and _draws(kind, args, options):
            raise UnsupportedProblemError(
                f"inner_loss must give the same value at every call, but its {kind} draws random "
                "numbers: draw them once, outside of the loss, or from a torch.Generator that the "
                "loss itself seeds."
            )
        if kind == "normalize" and options.get("out") is not None:
            raise UnsupportedProblemError(
                f"{self._name} must change nothing, but its spectral_norm takes a step of power "
                "iteration at every call: call network.eval()."
            )
        if _updates_averages(kind, args, options):
            raise UnsupportedProblemError(
                f"{self._name} must change nothing, but its {kind} updates running averages at "
                "every call: call network.eval(), or build the layer with "
                "track_running_stats=False, which normalises by the rows given."
            )
        return func(*args, **options)


def _is_dropout(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if kind == "scaled_dot_product_attention":
        return float(options.get("dropout_p", args[4] if len(args) > 4 else 0.0)) > 0
    if "dropout" not in kind:
        return False
    share = args[1] if len(args) > 1 else options.get("p", 0.5)
    training = args[2] if len(args) > 2 else options.get("training", True)
    return bool(training) and float(share) > 0


def _draws(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    if not _DRAWS.fullmatch(kind) or options.get("generator") is not None:
        return False
    # rrelu(input, lower, upper, training)
    return not kind.startswith("rrelu") or bool(options.get("training", len(args) > 3 and args[3]))


def _updates_averages(kind: str, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Say so for functional batch and instance normalisation with averages, while training."""
    if kind not in ("batch_norm", "instance_norm"):
        return False
    averages = options.get("running_mean", args[1] if len(args) > 1 else None)
    flag = {"batch_norm": "training", "instance_norm": "use_input_stats"}[kind]
    on = args[5] if len(args) > 5 else options.get(flag, kind == "instance_norm")
    return averages is not None and bool(on)
