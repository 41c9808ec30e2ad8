"""`PriceTag`: the time and memory that one call takes."""

import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["PriceTag"]

T = TypeVar("T")


@final
@dataclass(frozen=True)
class PriceTag:
    """What a call took.

    Args:
        seconds: processor time on a CPU, time until it is done on an accelerator.
        megabytes: most memory of tensors made by the call and alive at once.
    """

    seconds: float
    megabytes: float

    @staticmethod
    def timed(call: Callable[[], T], device: torch.device) -> tuple[T, float]:
        """Return what a call returns, and how many seconds it took."""
        if device.type != "cuda":
            start = time.process_time()
            return call(), time.process_time() - start
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        found = call()
        torch.cuda.synchronize(device)
        return found, time.perf_counter() - start

    @staticmethod
    def memory(call: Callable[[], object]) -> float:
        """Return a call's peak of memory in megabytes; what other libraries hold is unseen."""
        with _Alive() as alive:
            call()
        peak: float = alive.peak / 1e6
        return peak


@final
class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Adds up the bytes of all storages that operations made and nobody has let go."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it made."""
        given = {_key(one) for one in tree_leaves((args, kwargs)) if _counts(one)}
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if _counts(one) and _key(one) not in self._known | given:
                storage = one.untyped_storage()
                self._known.add(_key(one))
                self.now += storage.nbytes()
                weakref.finalize(storage, self._gone, _key(one), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return found

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _counts(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _key(tensor: torch.Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
