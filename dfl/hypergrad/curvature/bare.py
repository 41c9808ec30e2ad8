"""`check_bare`: modules that several processes share must not be wrapped."""

from dfl.errors import UnsupportedProblemError
from dfl.hypergrad.base import Parameters
from dfl.scale import rank_of

__all__ = ["check_bare"]


def check_bare(name: str, parameters: Parameters) -> None:
    """Refuse parameters of a wrapped module: the wrappers know no second derivatives.

    Raises:
        UnsupportedProblemError: if they are those of FSDP, or, where several processes share
            the rows, of DDP.
    """
    sharded = any(
        type(value).__name__ in ("DTensor", "FlatParameter") for value in parameters.values()
    )
    prefixed = all(key.startswith("module.") for key in parameters) and rank_of()[1] > 1
    if sharded or prefixed:
        raise UnsupportedProblemError(
            f"{name} holds parameters of a module wrapped in {'FSDP' if sharded else 'DDP'}, whose "
            "second derivatives are wrong without a word or fail: give those of the bare module; "
            "gradients and products of curvature are added up over the processes here."
        )
