"""`far`: a device of its own that computes on the CPU, so that device mistakes show without a GPU.

A tensor on ``far`` refuses to meet one on the CPU, as one on CUDA would: operations on both, CPU
generators, `Tensor.numpy`. As on CUDA, scalars without dimension may cross, and CPU indices may
index.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule as DummyBackend
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

__all__ = ["FarTensor", "far"]


class _Module(DummyBackend):
    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend("far", backend_module=_Module())

_MOVES = ("aten::copy_", "aten::_to_copy")
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class FarTensor(Tensor):
    """A tensor that says it is on ``far``, and keeps its numbers in ``near`` on the CPU."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        """Wrap a CPU tensor."""
        made: FarTensor = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=torch.device("far", 0),
        )
        made.near = near
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        """Show the numbers."""
        return f"far({self.near!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Constructors(TorchFunctionMode):
    """What turns Python numbers into tensors passes dispatch by: build it near, then move it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            kwargs = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            func, args = torch.tensor, args[1:]
        if func is Tensor.tolist:
            return func(args[0].cpu())
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], FarTensor):
            device, wants = kwargs.pop("device", None), kwargs.pop("requires_grad", False)
            made = func(*args, **kwargs)
            made = made if device is None else made.to(device)
            return made.requires_grad_() if wants else made
        return func(*args, **kwargs)


class _Generator(torch.Generator):
    """A source of random numbers that remembers which device it is for."""

    def __new__(cls, device: torch.device | str = "cpu") -> "_Generator":
        made: _Generator = super().__new__(cls)
        if torch.device(device).type == "far":
            _FAR_GENERATORS[made._cdata] = made
        return made


_FAR_GENERATORS: WeakValueDictionary[int, _Generator] = WeakValueDictionary()


@contextmanager
def far() -> Iterator[torch.device]:
    """Make ``torch.device("far")`` work inside the context."""
    with _Constructors(), _Dispatch(), patch.object(torch, "Generator", _Generator):
        yield torch.device("far", 0)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    distant = [each for each in tensors if isinstance(each, FarTensor)]
    _check(name, args, tensors, distant)
    device = kwargs.get("device")
    if device is not None:
        goes_far = torch.device(device).type == "far"
        kwargs = kwargs | {"device": torch.device("cpu") if goes_far else device}
    elif name == "aten::copy_":
        goes_far = isinstance(args[0], FarTensor)
    else:
        goes_far = bool(distant)
    generator = kwargs.get("generator")
    if generator is not None and (generator._cdata in _FAR_GENERATORS) is not goes_far:
        raise RuntimeError(f"Expected a generator of the tensor's own device ({name})")
    near_args, near_kwargs = tree_map(_near, (args, kwargs))
    found = func(*near_args, **near_kwargs)
    if goes_far:
        found = tree_map(_far, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if distant else found


def _check(name: str, args: Any, tensors: list[Tensor], distant: list[FarTensor]) -> None:
    strangers = [each for each in tensors if not isinstance(each, FarTensor) and each.ndim > 0]
    if not distant or not strangers or name in _MOVES:
        return
    if name in _INDEXING and isinstance(args[0], FarTensor) and not isinstance(args[-1], Tensor):
        return
    raise RuntimeError(
        f"Expected all tensors to be on the same device, but found far:0 and cpu ({name})"
    )


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value


def _far(value: Any) -> Any:
    return FarTensor(value) if type(value) is Tensor else value


def _kernel(overload: Any) -> Any:
    return lambda *args, **kwargs: _run(overload, args, kwargs)


# Backward passes run on a thread of the device's own, where no mode is on. What makes tensors:
_LIBRARY = torch.library.Library("aten", "IMPL")
for _overload in (
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.copy_.default,
):
    _LIBRARY.impl(_overload, _kernel(_overload), "PrivateUse1")
