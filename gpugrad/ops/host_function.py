"""py_func: Python functions of NumPy arrays as ops; they run on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes, errors
from gpugrad.dtypes import as_dtype
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

# What a Session raises for an exception of the user's function; the first that fits.
_RAISED: Final = (
    ((TypeError, ValueError), errors.InvalidArgumentError),
    (StopIteration, errors.OutOfRangeError),
    (MemoryError, errors.ResourceExhaustedError),
    (NotImplementedError, errors.UnimplementedError),
)


def _infer(op: Operation) -> Any:
    return tuple((dtype, None) for dtype in op.attrs["Tout"])


def _host(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    function = site.attrs["func"]
    name = getattr(function, "__name__", "function")
    # Copies, in and out: the function may write into its arguments, or keep them, or
    # return an array that it changes later.
    arguments = [a[()] if a.ndim == 0 else a.copy() for a in arrays]
    try:
        result = function(*arguments)
    except errors.OpError:
        raise
    except Exception as error:  # whatever the user's function raises
        kind: type[errors.OpError] = errors.UnknownError
        for raised, wanted in _RAISED:
            if isinstance(error, raised):
                kind = wanted
                break
        text = f"{type(error).__name__}: {error} (in {name})"
        raise kind(None, None, text) from error
    if result is None:
        values = []
    else:
        values = list(result) if isinstance(result, (list, tuple)) else [result]
    if len(values) != len(site.dtypes):
        raise errors.InvalidArgumentError(
            None,
            None,
            f"{name} returns {len(values)} values, but expects to see "
            f"{len(site.dtypes)} values.",
        )
    return [
        _checked(v, dtype, index, name)
        for index, (v, dtype) in enumerate(zip(values, site.dtypes))
    ]


def _checked(value: Any, dtype: dtypes.DType, index: int, name: str) -> np.ndarray:
    array = np.array(value, order="C")
    try:
        found = dtypes.of_numpy(array.dtype)
    except TypeError:
        found = dtypes.variant
    if found is not dtype:
        raise errors.InvalidArgumentError(
            None,
            None,
            f"{index}-th value returned by {name} is {found.name}, but expects "
            f"{dtype.name}",
        )
    if dtype is dtypes.string:
        flat = [v.encode() if isinstance(v, str) else v for v in array.reshape(-1)]
        strings = np.empty(len(flat), object)
        strings[:] = flat
        array = strings.reshape(array.shape)
    return array


for _type, _stateful in (("PyFunc", True), ("PyFuncStateless", False)):
    family.op(
        _type,
        [Input("input", attr=None, number="N")],
        attrs={"func": ..., "Tout": ...},
        infer=_infer,
        host=_host,
        stateful=_stateful,
    )
family.no_gradient("PyFunc", "PyFuncStateless")


def py_func(
    func: Callable[..., Any],
    inp: Sequence[Any],
    Tout: Any,
    stateful: bool = True,
    name: str | None = None,
) -> Any:
    """A Python function of NumPy arrays, called on the host whenever the op runs.

    ``Tout``: the dtype of the result, or a list of them. The results' shapes are
    unknown while building. No gradient passes. ``stateful=False`` says that equal
    inputs give equal results.

    What the function raises comes out of Session.run as an error of gpugrad.errors;
    a result of another dtype or number is an InvalidArgumentError.
    """
    if not callable(func):
        raise ValueError(
            f"Expected func to be callable. Received func={func} of type {type(func)}."
        )
    several = isinstance(Tout, (list, tuple))
    kinds = [as_dtype(t) for t in (Tout if several else [Tout])]
    op_type = "PyFunc" if stateful else "PyFuncStateless"
    result = apply_op(op_type, list(inp), name=name, func=func, Tout=kinds)
    if not kinds:
        return result
    return outputs(result) if several else result


def numpy_function(
    func: Callable[..., Any],
    inp: Sequence[Any],
    Tout: Any,
    stateful: bool = True,
    name: str | None = None,
) -> Any:
    """py_func under its newer name."""
    return py_func(func, inp, Tout, stateful, name)
