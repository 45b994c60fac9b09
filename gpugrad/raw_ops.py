"""Every op by its type, with TensorFlow's signature: ``raw_ops.Mul(x=x, y=y)``."""

from collections.abc import Callable
from typing import Any

from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import REGISTRY, OpSpec

# Inputs that TensorFlow's functions call otherwise than its op definitions.
_RENAMED = {"reduction_indices": "axis", "dim": "axis", "split_dim": "axis"}


def _function(spec: OpSpec) -> Callable[..., Any]:
    names = [formal.name for formal in spec.inputs]

    def call(*, name: str | None = None, **kwargs: Any) -> Any:
        for formal, public in _RENAMED.items():
            if formal in names and public in kwargs and public not in names:
                kwargs[formal] = kwargs.pop(public)
        absent = [n for n in names if n not in kwargs]
        if absent:
            raise TypeError(
                f"{spec.type}() missing required keyword arguments: {', '.join(absent)}"
            )
        inputs = [kwargs.pop(n) for n in names]
        unknown = [
            k for k in kwargs if k not in spec.attrs and k not in _type_attrs(spec)
        ]
        if unknown:
            raise TypeError(
                f"{spec.type}() has no argument {unknown[0]!r}. Its inputs are "
                f"{names}, "
                f"its attributes {sorted(spec.attrs)}."
            )
        return apply_op(spec.type, *inputs, name=name, **kwargs)

    call.__name__ = call.__qualname__ = spec.type
    call.__doc__ = (
        f"The {spec.type} op; inputs {names}, attributes {sorted(spec.attrs)}."
    )
    return call


def _type_attrs(spec: OpSpec) -> set[str | None]:
    return {formal.attr for formal in spec.inputs}


def __getattr__(name: str) -> Callable[..., Any]:
    try:
        return _function(REGISTRY.find(name))
    except KeyError as error:
        raise AttributeError(error.args[0]) from None


def __dir__() -> list[str]:
    return sorted(spec.type for spec in REGISTRY)
