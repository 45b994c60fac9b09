"""tf.test: a TestCase that compares arrays and runs graphs."""

from __future__ import annotations

import re
import shutil
import tempfile
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpugrad.errors import OpError
from gpugrad.graph import build, sessions
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import Variable
from gpugrad.ops.random import set_random_seed
from gpugrad.runtime import devices
from gpugrad.runtime.session import Session

_RANDOM_SEED = 87654321


def get_temp_dir() -> str:
    """A new folder; it is not deleted."""
    return tempfile.mkdtemp()


def is_gpu_available(
    cuda_only: bool = False, min_cuda_compute_capability: Any = None
) -> bool:
    """True if sessions run on a GPU."""
    return devices.backend(None).device_type == "GPU"


def main(argv: list[str] | None = None) -> None:
    """Run the tests of the script."""
    unittest.main(argv=argv)


def _compared(value: Any) -> Any:
    return value.eval() if isinstance(value, (Tensor, Variable)) else value


class TestCase(unittest.TestCase):
    """unittest's, with an empty default graph and the same random seed for each test.

    Arrays may be given as tensors where a session is open.
    """

    _kept: Session | None = None
    __test__ = False  # for pytest: this one has no tests, those derived from it have

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__test__ = cls.__dict__.get("__test__", True)

    def setUp(self) -> None:
        """An empty default graph, and seeds."""
        super().setUp()
        build.reset_default_graph()
        set_random_seed(_RANDOM_SEED)

    def tearDown(self) -> None:
        """Close the session that the test kept."""
        if self._kept is not None:
            self._kept.close()
        super().tearDown()

    def get_temp_dir(self) -> str:
        """A folder that is deleted after the test."""
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder

    # --- sessions ---------------------------------------------------------------------

    @contextmanager
    def session(
        self,
        graph: Any = None,
        config: Any = None,
        use_gpu: bool = True,
        force_gpu: bool = False,
    ) -> Iterator[Session]:
        """A session for the block, and its graph the default."""
        with Session(graph=graph, config=config) as session:
            yield session

    @contextmanager
    def cached_session(
        self,
        graph: Any = None,
        config: Any = None,
        use_gpu: bool = True,
        force_gpu: bool = False,
    ) -> Iterator[Session]:
        """The session that all blocks of this test share; variables stay."""
        session = self._kept
        if session is None:
            session = self._kept = Session(graph=graph, config=config)
        with session.graph.as_default(), session.as_default():
            yield session

    # A property, so that a collector of tests does not take it for one.
    test_session = property(lambda self: self.cached_session)

    def evaluate(self, tensors: Any) -> Any:
        """The values, in the default session."""
        return sessions.require(None, "evaluate()").run(tensors)

    # --- assertions -------------------------------------------------------------------

    def assertAllClose(
        self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: Any = None
    ) -> None:
        """|a - b| <= atol + rtol * |b| everywhere; also in lists, tuples and dicts."""
        if isinstance(a, dict):
            self.assertEqual(set(a), set(b), msg)
            for key in a:
                self.assertAllClose(a[key], b[key], rtol, atol, msg)
        elif isinstance(a, (list, tuple)) and _is_ragged(a):
            self.assertEqual(len(a), len(b), msg)
            for x, y in zip(a, b):
                self.assertAllClose(x, y, rtol, atol, msg)
        else:
            a, b = np.asarray(_compared(a)), np.asarray(_compared(b))
            self.assertEqual(a.shape, b.shape, msg)
            np.testing.assert_allclose(a, b, rtol, atol, err_msg=msg or "")

    def assertNotAllClose(self, a: Any, b: Any, **kwargs: Any) -> None:
        """Not assertAllClose."""
        try:
            self.assertAllClose(a, b, **kwargs)
        except AssertionError:
            return
        raise AssertionError("The two values are close at all elements.")

    def assertAllCloseAccordingToType(
        self,
        a: Any,
        b: Any,
        rtol: float = 1e-6,
        atol: float = 1e-6,
        float_rtol: float = 1e-6,
        float_atol: float = 1e-6,
        half_rtol: float = 1e-3,
        half_atol: float = 1e-3,
        msg: Any = None,
    ) -> None:
        """assertAllClose, with the tolerance of the less precise of both."""
        a, b = np.asarray(_compared(a)), np.asarray(_compared(b))
        for kinds, r, t in (
            ((np.float32, np.complex64), float_rtol, float_atol),
            ((np.float16,), half_rtol, half_atol),
        ):
            if a.dtype in kinds or b.dtype in kinds:
                rtol, atol = max(rtol, r), max(atol, t)
        self.assertAllClose(a, b, rtol, atol, msg)

    def assertAllEqual(self, a: Any, b: Any, msg: Any = None) -> None:
        """Equal in shape and in every element; a NaN equals a NaN."""
        a, b = np.asarray(_compared(a)), np.asarray(_compared(b))
        self.assertEqual(a.shape, b.shape, msg)
        np.testing.assert_array_equal(a, b, err_msg=msg or "")

    def assertAllGreater(self, a: Any, target: Any) -> None:
        """Every element is greater."""
        self.assertTrue(np.all(np.asarray(_compared(a)) > target))

    def assertAllLess(self, a: Any, target: Any) -> None:
        """Every element is less."""
        self.assertTrue(np.all(np.asarray(_compared(a)) < target))

    def assertNear(self, f1: Any, f2: Any, err: float, msg: Any = None) -> None:
        """|f1 - f2| <= err, of two numbers."""
        self.assertTrue(f1 == f2 or abs(f1 - f2) <= err, msg or f"{f1} != {f2}")

    def assertArrayNear(
        self, farray1: Any, farray2: Any, err: float, msg: Any = None
    ) -> None:
        """assertNear, of the numbers of two lists."""
        self.assertEqual(len(farray1), len(farray2), msg)
        for f1, f2 in zip(farray1, farray2):
            self.assertNear(float(f1), float(f2), err, msg)

    def assertShapeEqual(self, input_a: Any, input_b: Any, msg: Any = None) -> None:
        """An array and a tensor, or two of either, have one shape."""
        first, second = (
            tuple(v.shape.as_list()) if hasattr(v, "get_shape") else np.shape(v)
            for v in (input_a, input_b)
        )
        self.assertEqual(first, second, msg)

    def assertDTypeEqual(self, target: Any, expected_dtype: Any) -> None:
        """An array or a tensor has the dtype."""
        self.assertEqual(np.asarray(_compared(target)).dtype, expected_dtype)

    @contextmanager
    def assertRaisesWithPredicateMatch(
        self, exception_type: Any, expected_err_re_or_predicate: Any
    ) -> Iterator[None]:
        """The block raises an exception of the type, with a message that matches a
        pattern, or of which a function is true.
        """
        try:
            yield
        except exception_type as error:
            wanted: str | Callable[[Any], Any] = expected_err_re_or_predicate
            if isinstance(wanted, str):
                matches = re.search(wanted, str(error)) is not None
            else:
                matches = bool(wanted(error))
            if not matches:
                raise AssertionError(
                    f"{type(error).__name__} was raised, but {str(error)!r} does not "
                    f"match {expected_err_re_or_predicate!r}."
                ) from error
        else:
            raise AssertionError(f"{exception_type} was not raised.")

    def assertRaisesOpError(self, expected_err_re_or_predicate: Any) -> Any:
        """assertRaisesWithPredicateMatch for an error while a graph runs."""
        return self.assertRaisesWithPredicateMatch(
            OpError, expected_err_re_or_predicate
        )

    def assertStartsWith(
        self, actual: str, expected_start: str, msg: Any = None
    ) -> None:
        """The text begins so."""
        self.assertTrue(actual.startswith(expected_start), msg or actual)


def _is_ragged(values: Any) -> bool:
    """True if a list is no array: it holds tensors, dicts or parts of other shapes."""
    if any(isinstance(v, (dict, Tensor, Variable, Operation)) for v in values):
        return True
    return len({np.shape(v) for v in values}) > 1
