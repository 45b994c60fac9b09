"""check_gradients: derivatives of any order against differences, in a few numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpugrad.autodiff.gradients import gradients
from gpugrad.errors import GraphError
from gpugrad.graph import nest
from gpugrad.graph.constant import to_array
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import densify
from gpugrad.graph.tensor import Tensor
from gpugrad.runtime.session import Session

# A difference that is not certain to this part of the slope decides nothing.
_USEFUL = 0.01
# Values of f are good to so many units in the last place.
_UNITS = 16.0


class Check(NamedTuple):
    """One derivative along one random direction of one argument.

    ``analytic`` is what gradients() gives; ``numeric`` the central difference, which
    is certain to ``tolerance``. ``verdict``: "ok", "WRONG", or "unsure" where the
    tolerance is too wide to tell, or a kink is nearer than the step.
    """

    order: int
    argument: int
    analytic: float
    numeric: float
    tolerance: float
    verdict: str


@dataclass(frozen=True)
class GradientReport:
    """What check_gradients found; true if all of it is right. Prints as a table."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True if every derivative is right, and could be told to be."""
        return all(check.verdict == "ok" for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        head = "order  argument       analytic        numeric   tolerance  verdict"
        lines = [
            f"{c.order:5}  {c.argument:8}  {c.analytic:13.6g}  {c.numeric:13.6g}"
            f"  {c.tolerance:10.1e}  {c.verdict}"
            for c in self.checks
        ]
        return "\n".join((head, *lines))

    def __repr__(self) -> str:
        return str(self)


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    step: float | None = None,
    seed: int = 0,
) -> GradientReport:
    """Compare the derivatives of ``f(*args)`` with central differences.

    ``f`` takes tensors and gives a tensor or a structure of them; it is built in a
    graph of its own. Arguments of floating or complex dtype are differentiated. All
    results are weighted at random and added up to one number; its slope along a random
    direction of each argument is the first order, the slope of that along others the
    second, and so on up to ``order``. ``seed`` chooses the directions.

    ``step`` is the length of the difference, by default what suits the arguments'
    dtype. The tolerance follows from both: what halving the step changes, and what
    rounding does to the values of f. Use float64: with float32 a per cent is often as
    much as can be told.

    Raises ValueError where f gives other values the second time (random numbers), or
    there is nothing to differentiate.
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, not {order}.")
    values = [to_array(np.asarray(v) if hasattr(v, "numpy") else v) for v in args]
    random = np.random.RandomState(seed)
    graph = Graph()
    checks: list[Check] = []
    with graph.as_default(), Session(graph=graph) as session:
        inputs = [
            graph.apply("Placeholder", dtype=graph.convert(v).dtype, shape=v.shape)
            for v in values
        ]
        places = [i for i, t in enumerate(inputs) if t.dtype.is_trainable]
        if not places:
            raise ValueError("No argument has a floating or complex dtype.")
        leaves, _ = nest.flatten(f(*inputs))
        results = [graph.convert(t) for t in leaves]
        results = [t for t in results if t.dtype.is_trainable]
        if not results:
            raise ValueError("f gives nothing of a floating or complex dtype.")
        feed = dict(zip(inputs, values))
        for op in graph.get_collection("variables"):
            session.run(op.initializer, feed)
        shapes = [np.shape(v) for v in _run(session, results, feed)]
        weights = [_direction(random, t, s) for t, s in zip(results, shapes)]
        point = _Point(session, inputs, values, step)
        xs = [inputs[i] for i in places]
        for number in range(1, order + 1):
            total, size = _weighted(graph, results, weights)
            point.require_repeatable(total)
            slopes = [
                densify(g) for g in gradients(total, xs, unconnected_gradients="zero")
            ]
            found = _run(session, slopes, feed)
            for place, slope in zip(places, found):
                along = _direction(random, inputs[place], values[place].shape)
                checks.append(point.check(number, place, total, size, slope, along))
            results = slopes
            weights = [_direction(random, t, np.shape(v)) for t, v in zip(xs, found)]
    return GradientReport(tuple(checks))


def _direction(random: np.random.RandomState, like: Tensor, shape: Any) -> np.ndarray:
    """A random direction of length 1."""
    found: Any = random.normal(size=shape)
    if like.dtype.is_complex:
        found = found + 1j * random.normal(size=shape)
    length = np.sqrt(np.sum(np.abs(found) ** 2))
    return np.asarray(found / max(length, 1e-300), like.dtype.np_dtype)


def _weighted(
    graph: Graph, results: Sequence[Tensor], weights: Sequence[np.ndarray]
) -> tuple[Tensor, Tensor]:
    """The weighted sum of all results, and that of their sizes: float64 scalars."""
    sums, sizes = [], []
    for result, weight in zip(results, weights):
        # The real part of conj(w) y is what a gradient w at y stands for.
        product = graph.apply("Mul", result, graph.convert(np.conj(weight)))
        if product.dtype.is_complex:
            size = graph.apply("ComplexAbs", product, Tout=product.dtype.real_dtype)
            product = graph.apply("Real", product, Tout=product.dtype.real_dtype)
        else:
            size = graph.apply("Abs", product)
        sums.append(_sum(graph, product, weight.ndim))
        sizes.append(_sum(graph, size, weight.ndim))
    return graph.apply("AddN", sums), graph.apply("AddN", sizes)


def _sum(graph: Graph, x: Tensor, rank: int) -> Tensor:
    wide = graph.apply("Cast", x, DstT=graph.convert(np.zeros(())).dtype)
    axes = graph.convert(np.arange(rank, dtype=np.int32))
    found: Tensor = graph.apply("Sum", wide, axes)
    return found


def _run(session: Any, fetches: Sequence[Tensor], feed: dict[Any, Any]) -> list[Any]:
    found: list[Any] = session.run(list(fetches), feed)
    return found


class _Point:
    """Where the derivatives are taken, and how differences are."""

    def __init__(
        self,
        session: Any,
        inputs: Sequence[Tensor],
        values: Sequence[np.ndarray],
        step: float | None,
    ) -> None:
        self._session = session
        self._inputs = inputs
        self._values = values
        kinds = [v.dtype for v in values if v.dtype.kind in "fc"]
        self._epsilon = max((float(np.finfo(k).eps) for k in kinds), default=2.0**-8)
        # Where truncation, step**2, and rounding, epsilon / step, are about the same.
        self._step = self._epsilon ** (1 / 3) if step is None else step

    def _at(self, fetches: Any, place: int, along: np.ndarray, length: float) -> Any:
        feed = dict(zip(self._inputs, self._values))
        value = self._values[place]
        moved = value + np.asarray(length * along, value.dtype)
        feed[self._inputs[place]] = moved
        return self._session.run(fetches, feed)

    def require_repeatable(self, total: Tensor) -> None:
        """ValueError if a second run gives something else."""
        feed = dict(zip(self._inputs, self._values))
        one, other = (self._session.run(total, feed) for _ in range(2))
        if one != other and not (np.isnan(one) and np.isnan(other)):
            raise GraphError(
                f"f gives {one} and then {other} for the same arguments. Random "
                "numbers have no derivative; draw them outside of f."
            )

    def _difference(
        self, fetches: Any, place: int, along: np.ndarray, length: float
    ) -> tuple[float, float]:
        """(the central difference, the size of what was subtracted)."""
        above, size = self._at(fetches, place, along, length)
        below, other = self._at(fetches, place, along, -length)
        return float(above - below) / (2 * length), float(max(size, other))

    def _kink(
        self,
        total: Tensor,
        place: int,
        along: np.ndarray,
        length: float,
        tolerance: float,
    ) -> bool:
        """True if the slopes to both sides differ, however small the step."""
        here = self._at(total, place, along, 0.0)
        gaps = []
        for reach in (length, 2 * length):
            above = self._at(total, place, along, reach)
            below = self._at(total, place, along, -reach)
            gaps.append(abs(above - 2 * here + below) / reach)
        # Where f is smooth, half the step halves the gap.
        return bool(gaps[0] > max(0.75 * gaps[1], tolerance))

    def check(
        self,
        order: int,
        place: int,
        total: Tensor,
        size: Tensor,
        slope: np.ndarray,
        along: np.ndarray,
    ) -> Check:
        """The slope of ``total`` along one direction, both ways."""
        length = self._step * max(
            1.0, float(np.max(np.abs(self._values[place]), initial=0))
        )
        numeric, magnitude = self._difference([total, size], place, along, length)
        rough, _ = self._difference([total, size], place, along, 2 * length)
        wide = np.complex128 if along.dtype.kind == "c" else np.float64
        product = np.conj(slope.astype(wide)) * along.astype(wide)
        analytic = float(np.sum(product).real)
        rounding = _UNITS * self._epsilon * magnitude / length
        # A third of it is the error of the smaller step, if f is smooth.
        tolerance = abs(numeric - rough) / 2 + rounding
        scale = max(float(np.linalg.norm(slope)), abs(numeric))
        # In many dimensions the part of a slope along one direction is small.
        part = scale / max(1.0, np.sqrt(along.size))
        if not abs(analytic - numeric) <= tolerance:
            kink = self._kink(total, place, along, length, tolerance)
            verdict = "unsure" if kink else "WRONG"
        elif scale and tolerance > _USEFUL * part and magnitude:
            verdict = "unsure"
        else:
            verdict = "ok"
        return Check(order, place, analytic, numeric, tolerance, verdict)
