"""What a library answers to a program: values, derivatives, dtypes, static shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.oracle.program import Program


@dataclass(frozen=True)
class Answer:
    """One tensor, or why there is none.

    ``kind``: "tensor", "slices", "none" (of gradients), or "refused": ``dtype`` is
    then the name of the exception's builtin class. ``arrays``: the value; of slices
    values, indices, dense_shape.
    """

    kind: str
    dtype: str = ""
    shape: tuple[int | None, ...] | None = None
    arrays: tuple[np.ndarray, ...] = ()
    message: str = ""


NONE = Answer("none")


def answers(tf: Any, program: Program) -> dict[str, Answer]:
    """By name of a line, "first 0", "second 0" and so on: what ``tf`` answers."""
    graph = tf.Graph()
    space: dict[str, Any] = {"tf": tf, "np": np, "inf": np.inf, "nan": np.nan}
    with graph.as_default():
        wanted: dict[str, Any] = {}
        found: dict[str, Answer] = {}
        if not _execute(program.forward, space, found, "forward"):
            return found
        for name in program.made:
            wanted[name] = tf.convert_to_tensor(space[name])
        for order in ("first", "second"):
            if not _execute(getattr(program, order), space, found, order):
                break
            wanted |= {f"{order} {i}": g for i, g in enumerate(space[order])}
        initialize = tf.global_variables_initializer()
    with tf.Session(graph=graph, config=_config(tf)) as session:
        session.run(initialize)
        feeds = eval(program.feeds, dict(space))  # noqa: S307
        return found | _values(session, wanted, feeds)


def _execute(
    text: str, space: dict[str, Any], found: dict[str, Answer], stage: str
) -> bool:
    """Run source; an exception becomes the answer of the stage."""
    try:
        exec(text, space)
    except Exception as error:  # noqa: BLE001
        found[stage] = _refusal(error)
        return False
    return True


def _refusal(error: Exception) -> Answer:
    builtin = next(c for c in type(error).__mro__ if c.__module__ == "builtins")
    return Answer("refused", builtin.__name__, message=f"{error}"[:400])


def _config(tf: Any) -> Any:
    """TensorFlow without its rewriter, which loses feeds and rounds otherwise."""
    config = tf.ConfigProto()
    if hasattr(config, "SerializeToString"):
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        config.graph_options.optimizer_options.opt_level = -1
        config.intra_op_parallelism_threads = 1
        config.inter_op_parallelism_threads = 1
    return config


def _values(session: Any, wanted: dict[str, Any], feeds: Any) -> dict[str, Answer]:
    """Everything in one run; where that fails, each in a run of its own."""
    known = {name: t for name, t in wanted.items() if t is not None}
    found = dict.fromkeys(wanted, NONE)
    try:
        values = session.run(known, feeds)
        return found | {n: _answer(known[n], values[n]) for n in known}
    except Exception:  # noqa: BLE001
        pass
    for name, tensor in known.items():
        try:
            found[name] = _answer(tensor, session.run(tensor, feeds))
        except Exception as error:  # noqa: BLE001
            found[name] = _refusal(error)
    return found


def _answer(tensor: Any, value: Any) -> Answer:
    if hasattr(value, "indices"):
        parts = (value.values, value.indices, value.dense_shape)
        arrays = tuple(np.asarray(p) for p in parts if p is not None)
        return Answer("slices", tensor.dtype.name, _static(tensor.values), arrays)
    dtype = tensor.dtype.base_dtype.name
    return Answer("tensor", dtype, _static(tensor), (np.asarray(value),))


def _static(tensor: Any) -> tuple[int | None, ...] | None:
    shape = tensor.shape
    return None if shape.rank is None else tuple(shape.as_list())
