"""Discrete Fourier transforms over the last one, two or three axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import shape_of

family = OpFamily()

_WIDE = (dtypes.float32, dtypes.float64)
_RANKS = {"": 1, "2D": 2, "3D": 3}
_LENGTHS = Input("fft_length", attr=None, dtype=dtypes.int32, static=True)
_SUFFIX = {rank: suffix for suffix, rank in _RANKS.items()}


def _transform(
    xp: Any, outs: Any, x: Any, kind: str, lengths: tuple[int, ...] | None, rank: int
) -> None:
    (out,) = outs
    if x.size == 0 or out.size == 0:
        out[...] = 0
        return
    axes = tuple(range(-rank, 0))
    out[...] = getattr(xp.fft, kind)(x, s=lengths, axes=axes)


def _axes_size(x: Tensor, rank: int, dtype: dtypes.DType) -> Tensor:
    """The number of points of a transform over the last ``rank`` axes of x."""
    apply = x.graph.apply
    sizes = shape_of(x)[-rank:]
    return apply("Cast", apply("Prod", sizes, [0], keep_dims=False), DstT=dtype)


# --- FFT, IFFT ------------------------------------------------------------------------


def _complex_infer(rank: int) -> Callable[[Operation], Any]:
    def infer(op: Operation) -> Any:
        x = op.inputs[0]
        rules.require_dtype(op, 0, rules.COMPLEX)
        rules.require_rank(x._shape, rank, least=True)
        return ((x.dtype, x._shape),)

    return infer


def _complex_lower(kind: str, rank: int) -> Callable[[Builder, Site], View]:
    def lower(b: Builder, site: Site) -> View:
        (x,) = site.inputs
        outs = [(x.dtype, x.shape)]
        (out,) = b.call(kind, _transform, [x], outs, kind=kind, lengths=None, rank=rank)
        return out

    return lower


def _forward_grad(op: Operation, dy: Tensor) -> Any:
    suffix = op.type.removeprefix("FFT")
    size = _axes_size(dy, _RANKS[suffix], dy.dtype)
    return op.graph.apply(f"IFFT{suffix}", dy) * size


def _inverse_grad(op: Operation, dy: Tensor) -> Any:
    suffix = op.type.removeprefix("IFFT")
    size = _axes_size(dy, _RANKS[suffix], dy.dtype)
    return op.graph.apply(f"FFT{suffix}", dy) / size


for _rank, _suffix in _SUFFIX.items():
    for _type, _kind in ((f"FFT{_suffix}", "fftn"), (f"IFFT{_suffix}", "ifftn")):
        family.op(
            _type,
            (Input("input", attr="Tcomplex", default=dtypes.complex64),),
            infer=_complex_infer(_rank),
            lower=_complex_lower(_kind, _rank),
        )
    family.gradient(f"FFT{_suffix}")(_forward_grad)
    family.gradient(f"IFFT{_suffix}")(_inverse_grad)


def fft(input: Any, name: str | None = None) -> Tensor:
    """The Fourier transform over the last axis: y[k] = sum_j x[j] e^(-2 pi i j k / n).

    Complex in, complex out (as all of fft, ifft, fft2d, ifft2d, fft3d, ifft3d).
    """
    return apply_op("FFT", input, name=name)


def ifft(input: Any, name: str | None = None) -> Tensor:
    """The inverse of fft: the opposite sign in the exponent, and divided by n."""
    return apply_op("IFFT", input, name=name)


def fft2d(input: Any, name: str | None = None) -> Tensor:
    """The Fourier transform over the last two axes."""
    return apply_op("FFT2D", input, name=name)


def ifft2d(input: Any, name: str | None = None) -> Tensor:
    """The inverse of fft2d."""
    return apply_op("IFFT2D", input, name=name)


def fft3d(input: Any, name: str | None = None) -> Tensor:
    """The Fourier transform over the last three axes."""
    return apply_op("FFT3D", input, name=name)


def ifft3d(input: Any, name: str | None = None) -> Tensor:
    """The inverse of fft3d."""
    return apply_op("IFFT3D", input, name=name)


# --- RFFT, IRFFT ----------------------------------------------------------------------


def _real_infer(rank: int, inverse: bool) -> Callable[[Operation], Any]:
    def infer(op: Operation) -> Any:
        x, lengths = op.inputs
        rules.require_dtype(op, 0, rules.COMPLEX if inverse else _WIDE)
        rules.require_rank(x._shape, rank, least=True)
        rules.require_rank(lengths._shape, 1)
        dtype = _other_type(x.dtype)
        op.attrs["Treal" if inverse else "Tcomplex"] = dtype
        if x._shape is None:
            return ((dtype, None),)
        sizes: Any = constant.sizes(lengths) or (None,) * rank
        if len(sizes) != rank:
            raise ValueError(
                f"fft_length must have shape [{rank}], not [{len(sizes)}]."
            )
        *others, last = sizes
        if not inverse and last is not None:
            last = last // 2 + 1 if last else 0
        return ((dtype, (*x._shape[:-rank], *others, last)),)

    return infer


def _other_type(dtype: dtypes.DType) -> dtypes.DType:
    """complex64 for float32, and so on; and back."""
    if dtype.is_complex:
        return dtype.real_dtype
    return dtypes.complex64 if dtype is dtypes.float32 else dtypes.complex128


def _real_lower(kind: str, rank: int) -> Callable[[Builder, Site], View]:
    def lower(b: Builder, site: Site) -> View:
        x = site.inputs[0]
        lengths = b.integers(site.inputs[1])
        *others, last = lengths
        if kind == "rfftn":
            wanted, out_last = lengths, last // 2 + 1 if last else 0
        else:
            wanted, out_last = (*others, last // 2 + 1 if last else 0), last
        for have, want in zip(x.shape[-rank:], wanted):
            if have < want:
                raise ValueError(
                    f"Input dimension must have length of at least {want} but got: "
                    f"{have}"
                )
        outs = [(site.dtypes[0], (*x.shape[:-rank], *others, out_last))]
        (out,) = b.call(
            kind, _transform, [x], outs, kind=kind, lengths=lengths, rank=rank
        )
        return out

    return lower


def _grown(x: Tensor, sizes: Tensor, rank: int) -> Tensor:
    """``x`` with zeros after it up to ``sizes`` along its last ``rank`` axes."""
    known = constant.sizes(sizes)
    shape = x._shape
    if shape is not None and known is not None:
        have = shape[-rank:]
        if None not in known and None not in have:
            more = [max(0, n - m) for n, m in zip(known, have)]  # type: ignore[operator]
            if not any(more):
                return x
            before = [[0, 0]] * (len(shape) - rank)
            return apply_op("Pad", x, before + [[0, n] for n in more])
    short = apply_op("Maximum", 0, sizes - shape_of(x)[-rank:])
    count = apply_op("Rank", x) - rank
    after = apply_op(
        "ConcatV2", [apply_op("Fill", apply_op("Pack", [count], axis=0), 0), short], 0
    )
    return apply_op(
        "Pad", x, apply_op("Pack", [apply_op("ZerosLike", after), after], axis=1)
    )


def _fit(x: Tensor, like: Tensor, rank: int) -> Tensor:
    """``x`` with zeros after it up to the shape of ``like``: what a transform of
    fewer points than its input did not read has no gradient.
    """
    return _grown(x, shape_of(like)[-rank:], rank)


def _rfft_grad(op: Operation, dy: Tensor) -> Any:
    # The half spectrum is what a whole one begins with: the gradient of the rest is 0.
    suffix = op.type.removeprefix("RFFT")
    rank = _RANKS[suffix]
    x, lengths = op.inputs
    whole = op.graph.apply(f"IFFT{suffix}", _grown(dy, lengths, rank))
    dx = op.graph.apply("Real", whole, Tout=x.dtype) * _axes_size(whole, rank, x.dtype)
    return [_fit(dx, x, rank), None]


def _irfft_grad(op: Operation, dy: Tensor) -> Any:
    # Frequencies between the first and the middle one stand for their mirror image too.
    suffix = op.type.removeprefix("IRFFT")
    rank = _RANKS[suffix]
    apply = op.graph.apply
    x, lengths = op.inputs
    last = lengths[-1]
    place = apply("Range", 0, last // 2 + 1, 1, name="range")
    alone = apply("Equal", apply("FloorMod", place * 2, last), 0)
    ones = apply("OnesLike", apply("Cast", place, DstT=dy.dtype))
    weight = apply("SelectV2", alone, ones, 2.0 * ones)
    weight = apply("Cast", weight / _axes_size(dy, rank, dy.dtype), DstT=x.dtype)
    dx = apply(f"RFFT{suffix}", dy, lengths) * weight
    return [_fit(dx, x, rank), None]


for _rank, _suffix in _SUFFIX.items():
    family.op(
        f"RFFT{_suffix}",
        (
            Input("input", attr="Treal", default=dtypes.float32),
            _LENGTHS,
        ),
        attrs={"Tcomplex": None},
        infer=_real_infer(_rank, False),
        lower=_real_lower("rfftn", _rank),
    )
    family.op(
        f"IRFFT{_suffix}",
        (
            Input("input", attr="Tcomplex", default=dtypes.complex64),
            _LENGTHS,
        ),
        attrs={"Treal": None},
        infer=_real_infer(_rank, True),
        lower=_real_lower("irfftn", _rank),
    )
    family.gradient(f"RFFT{_suffix}")(_rfft_grad)
    family.gradient(f"IRFFT{_suffix}")(_irfft_grad)


def _real_function(rank: int, inverse: bool, x: Any, lengths: Any, name: Any) -> Tensor:
    default = f"{'i' if inverse else ''}rfft{('', '2d', '3d')[rank - 1]}"
    op_type = f"{'IRFFT' if inverse else 'RFFT'}{_SUFFIX[rank]}"
    with name_scope(name, default, [x, lengths]) as scope:
        x = convert_to_tensor(
            x, dtype_hint=dtypes.complex64 if inverse else dtypes.float32
        )
        if lengths is not None:
            sizes = convert_to_tensor(lengths, dtypes.int32, name="fft_length")
        else:
            sizes = shape_of(x)[-rank:]
            shape = x._shape
            if shape is not None and len(shape) >= rank and None not in shape[-rank:]:
                *others, last = shape[-rank:]
                last = max(0, 2 * (last - 1)) if inverse else last
                sizes = convert_to_tensor(
                    np.array([*others, last], np.int32), name="fft_length"
                )
            elif inverse:
                last = apply_op("Maximum", 0, 2 * (sizes[-1:] - 1))
                sizes = apply_op("ConcatV2", [sizes[:-1], last], 0)
        read = sizes
        if inverse:
            half = sizes[-1:] // 2 + 1
            read = apply_op("ConcatV2", [sizes[:-1], half], 0) if rank > 1 else half
        x = _grown(x, read, rank)
        return apply_op(op_type, x, sizes, name=scope)


def rfft(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """The first n // 2 + 1 frequencies of the transform of real numbers (see fft).

    ``fft_length`` [n] cuts the last axis, or fills it with zeros, to n elements. The
    other frequencies are the conjugates of these.
    """
    return _real_function(1, False, input_tensor, fft_length, name)


def irfft(input_tensor: Any, fft_length: Any = None, name: str | None = None) -> Tensor:
    """The inverse of rfft: n // 2 + 1 frequencies give n real numbers.

    ``fft_length`` [n]; by default n is even: twice the number of frequencies less one.
    """
    return _real_function(1, True, input_tensor, fft_length, name)


def rfft2d(
    input_tensor: Any, fft_length: Any = None, name: str | None = None
) -> Tensor:
    """rfft over the last axis, then fft over the one before; ``fft_length`` [m, n]."""
    return _real_function(2, False, input_tensor, fft_length, name)


def irfft2d(
    input_tensor: Any, fft_length: Any = None, name: str | None = None
) -> Tensor:
    """The inverse of rfft2d; ``fft_length`` [m, n]."""
    return _real_function(2, True, input_tensor, fft_length, name)


def rfft3d(
    input_tensor: Any, fft_length: Any = None, name: str | None = None
) -> Tensor:
    """rfft, then fft over the two axes before; ``fft_length`` [k, m, n]."""
    return _real_function(3, False, input_tensor, fft_length, name)


def irfft3d(
    input_tensor: Any, fft_length: Any = None, name: str | None = None
) -> Tensor:
    """The inverse of rfft3d; ``fft_length`` [k, m, n]."""
    return _real_function(3, True, input_tensor, fft_length, name)
