"""Every exception that gpugrad raises by a name of its own.

    Exception
    +-- ValueError
    |   +-- GraphError            a graph that cannot be built: shapes, names, graphs
    +-- TypeError
    |   +-- GraphTypeError        a graph that cannot be built: element types
    |   +-- OperatorNotAllowedInGraphError   ``if t``, ``for x in t``
    +-- LookupError
    |   +-- GradientLookupError   an op on the path has no gradient rule
    +-- OpError                   something failed while a graph ran
        +-- InvalidArgumentError, FailedPreconditionError, OutOfRangeError, ...

Where a builtin fits as it is (RuntimeError for a closed Session, KeyError for an
unknown name) that builtin is raised.
"""

from __future__ import annotations

from typing import Any


class GpugradError(Exception):
    """Base of the errors below, to catch them all."""


class GraphError(GpugradError, ValueError):
    """The graph cannot be built as asked: a shape, a name or a graph is wrong."""


class GraphTypeError(GpugradError, TypeError):
    """The graph cannot be built as asked: an element type is wrong."""


class OperatorNotAllowedInGraphError(GpugradError, TypeError):
    """Python asked a symbolic tensor for a value that it does not have yet."""


class GradientLookupError(GpugradError, LookupError):
    """A gradient arrived at an op that has no rule."""


class OpError(GpugradError):
    """A step failed while the graph ran.

    ``op`` is the operation, ``node_def`` its NodeDef (None when unknown), ``message``
    the text, ``error_code`` TensorFlow's number of the class.
    """

    error_code = 2

    def __init__(self, node_def: Any, op: Any, message: str) -> None:
        super().__init__(message)
        self._node_def = node_def
        self.op = op
        self.message = message

    @property
    def node_def(self) -> Any:
        """The NodeDef that was given, or the operation's."""
        if self._node_def is None and self.op is not None:
            return self.op.node_def
        return self._node_def


class CancelledError(OpError):
    """The run was cancelled."""

    error_code = 1


class UnknownError(OpError):
    """The cause is not known."""

    error_code = 2


class InvalidArgumentError(OpError, ValueError):
    """An op met values or shapes that it does not accept."""

    error_code = 3


class DeadlineExceededError(OpError):
    """Time ran out before the end."""

    error_code = 4


class NotFoundError(OpError, LookupError):
    """Something asked for by name does not exist."""

    error_code = 5


class AlreadyExistsError(OpError):
    """Something to be made is there already."""

    error_code = 6


class PermissionDeniedError(OpError):
    """The caller may not do this."""

    error_code = 7


class ResourceExhaustedError(OpError, MemoryError):
    """Memory ran out."""

    error_code = 8


class FailedPreconditionError(OpError, RuntimeError):
    """A state was missing, such as the value of a variable."""

    error_code = 9


class AbortedError(OpError):
    """Something else that ran at the same time was in the way."""

    error_code = 10


class OutOfRangeError(OpError):
    """An iteration went past its end."""

    error_code = 11


class UnimplementedError(OpError):
    """The device cannot do this."""

    error_code = 12


class InternalError(OpError):
    """An invariant of gpugrad did not hold."""

    error_code = 13


class UnavailableError(OpError):
    """A device did not answer."""

    error_code = 14


class DataLossError(OpError):
    """A file is damaged."""

    error_code = 15


class UnauthenticatedError(OpError):
    """The caller did not say who it is."""

    error_code = 16


def describe(op: Any) -> str:
    """``Mul node 'loss/mul' (created at train.py:41)``, for messages."""
    where = op.created_at()
    made = f" (created at {where})" if where else ""
    return f"{op.type} node {op.name!r}{made}"
