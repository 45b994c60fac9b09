"""The public names: where they stand, what is said of those that are missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad import api
from gpugrad.graph.spec import REGISTRY

MODULES = [
    gg,
    tf,
    *(getattr(gg, place) for place in ("math", "nn", "linalg", "random")),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_all_is_sorted_and_there(module: Any) -> None:
    assert module.__all__ == sorted(set(module.__all__))
    for name in module.__all__:
        assert hasattr(module, name)


def test_the_table_has_no_name_twice() -> None:
    for flavour, tops in (("gg", {".", "gg"}), ("v1", {".", "v1"})):
        for place in [None, *api.places()]:
            wanted = tops if place is None else {place}
            seen: dict[str, str] = {}
            for source, places, words in api.TABLE:
                if wanted.isdisjoint(places.split()):
                    continue
                for word in words.split():
                    name = word.partition("=")[0]
                    assert name not in seen, (flavour, place, name, source)
                    seen[name] = source


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: gg.reduce_summ, "reduce_sum"),
        (lambda: gg.nn.rellu, "relu"),
        (lambda: tf.nn.rellu, "relu"),
        (lambda: tf.placeholdr, "placeholder"),
        (lambda: gg.raw_ops.Matmul, "MatMul"),
    ],
)
def test_a_missing_name_says_the_nearest(call: Any, text: str) -> None:
    with pytest.raises(AttributeError, match=text):
        call()


def test_flavours() -> None:
    assert gg.gradients is not tf.gradients
    assert gg.where is not tf.where and tf.where_v2 is not None
    assert gg.reduce_sum is tf.reduce_sum is gg.math.reduce_sum is tf.math.reduce_sum


def test_raw_ops_take_every_op_by_keywords() -> None:
    with gg.Graph().as_default():
        x = gg.constant([1.0, 2.0])
        y = gg.raw_ops.Mul(x=x, y=3.0, name="m")
        assert (y.op.type, y.op.name) == ("Mul", "m")
        total = gg.raw_ops.Sum(input=x, axis=0, keep_dims=True)
        assert total.shape.as_list() == [1]
        with pytest.raises(TypeError, match="missing required keyword arguments: y"):
            gg.raw_ops.Mul(x=x)
        with pytest.raises(TypeError, match="no argument 'z'"):
            gg.raw_ops.Mul(x=x, y=x, z=1)
    assert set(dir(gg.raw_ops)) == {spec.type for spec in REGISTRY}


def test_submodules_can_be_imported() -> None:
    code = "from gpugrad.nn import relu; import gpugrad.math, gpugrad.compat.v1"
    subprocess.run([sys.executable, "-c", code], check=True)
