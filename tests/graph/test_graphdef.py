"""GraphDef and MetaGraphDef: what is written is read back as it was."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes, messages
from gpugrad.graph.graphdef import values
from tests.ops import harness

pytest.importorskip("tensorboard.compat.proto", reason="needs the extra tensorboard")

FOLDER = Path(__file__).parent
CASES: list[harness.Case] = []
for _file in sorted((FOLDER.parent / "ops").glob("cases_*.py")):
    if _file.stem != "cases_control":  # sub-graphs
        CASES += importlib.import_module(f"tests.ops.{_file.stem}").CASES


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


# --- round trips ----------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_op_and_its_gradient(case: harness.Case, graph: tf.Graph) -> None:
    """The graph read back is equal, and computes the same bits."""
    arrays = harness.draw(case, 7)
    xs = [tf.placeholder(v.dtype, v.shape) for v in arrays]
    made = case.build(*xs)
    ys = [
        tf.convert_to_tensor(y)
        for y in (made if isinstance(made, (list, tuple)) else [made])
    ]
    real = [tf.real(y) if y.dtype.is_complex else y for y in ys]
    grads = tf.gradients([y for y in real if y.dtype.is_floating], xs)
    outs = ys + [tf.convert_to_tensor(g) for g in grads if g is not None]
    feed = {x.name: v for x, v in zip(xs, arrays)}
    with tf.Session() as session:
        wanted = session.run(outs, feed)
    written = graph.as_graph_def()
    data = written.SerializeToString()
    with tf.Graph().as_default() as again:
        tf.import_graph_def(tf.GraphDef.FromString(data), name="")
        with tf.Session() as session:
            found = session.run([t.name for t in outs], feed)
    for a, b in zip(wanted, found):
        np.testing.assert_array_equal(a, b)
    assert again.as_graph_def() == written


@pytest.mark.parametrize(
    "value",
    [
        np.float32(1.5), np.arange(6, dtype=np.int8).reshape(2, 3), np.zeros((0, 3)),
        np.array([True, False]), np.array([1 + 2j, 3j], np.complex64),
        np.array([b"a", b"", b"\xff\x00"], object), np.array([2**63], np.uint64),
        np.array(np.inf, np.float16),
    ],
    ids=str,
)  # fmt: skip
def test_constants(value: Any) -> None:
    array = np.asarray(value)
    proto = values.tensor_proto(array, dtypes.of_numpy(array.dtype))
    back = values.from_tensor_proto(proto)
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("dtype", "shape", "field", "given", "wanted"),
    [
        ("float32", (2,), "float_val", [1.5, 2.5], [1.5, 2.5]),
        ("float32", (2, 2), "float_val", [3.0], [[3, 3], [3, 3]]),
        ("int32", (3,), "int_val", [1, 2], [1, 2, 2]),
        ("int64", (2,), "int64_val", [], [0, 0]),
        ("float16", (2,), "half_val", [0x3C00, 0xC000], [1.0, -2.0]),
        ("bool", (), "bool_val", [True], True),
        ("complex64", (2,), "scomplex_val", [1.0, 2.0, 0.0, 3.0], [1 + 2j, 3j]),
        ("complex128", (), "dcomplex_val", [1.0, 2.0], 1 + 2j),
        ("string", (2,), "string_val", [b"a", b"b"], [b"a", b"b"]),
        ("string", (1,), "string_val", [], [b""]),
        ("uint32", (1,), "uint32_val", [2**32 - 1], [2**32 - 1]),
    ],
)
def test_constants_as_tensorflow_writes_them(
    dtype: str, shape: Any, field: str, given: Any, wanted: Any
) -> None:
    number = dtypes.as_dtype(dtype).as_datatype_enum
    proto = messages.message("TensorProto")(dtype=number)
    proto.tensor_shape.CopyFrom(values.shape_proto(shape))
    getattr(proto, field).extend(given)
    found = values.from_tensor_proto(proto)
    assert found.shape == shape and found.tolist() == wanted


def test_wrong_constants() -> None:
    proto = messages.message("TensorProto")(dtype=1)
    proto.float_val.extend([1.0, 2.0, 3.0])
    proto.tensor_shape.CopyFrom(values.shape_proto((2,)))
    with pytest.raises(ValueError, match="has 3 values"):
        values.from_tensor_proto(proto)
    proto.tensor_shape.CopyFrom(values.shape_proto((None,)))
    with pytest.raises(ValueError, match="no whole shape"):
        values.from_tensor_proto(proto)


def test_a_node(graph: tf.Graph) -> None:
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    parts = tf.split(x, 2, axis=1)
    with graph.device("/cpu:0"), tf.control_dependencies([x]):
        y = tf.negative(parts[1], name="y")
    node = y.op.node_def
    assert (node.name, node.op, node.device) == ("y", "Neg", "/device:CPU:0")
    assert list(node.input) == ["split:1", "^x"]
    assert node.attr["T"].type == 1
    shape = x.op.node_def.attr["shape"].shape
    assert [d.size for d in shape.dim] == [-1, 2]
    assert tf.placeholder(tf.int32).op.node_def.attr["shape"].shape.unknown_rank
    text = str(y.op)
    for part in ('name: "y"', 'op: "Neg"', 'input: "split:1"', 'input: "^x"'):
        assert part in text
    added = graph.as_graph_def(add_shapes=True)
    shapes = {n.name: n.attr["_output_shapes"].list.shape for n in added.node}
    assert [d.size for d in shapes["y"][0].dim] == [-1, 1] and len(shapes["split"]) == 2
    assert [n.name for n in graph.as_graph_def(from_version=4).node] == ["Placeholder"]


def test_random_numbers_and_lists_of_several_types() -> None:
    tf.set_random_seed(3)
    r = tf.random_normal([4], seed=5)
    a, b = tf.identity_n([r, tf.constant(1)])
    checked = tf.Assert(tf.reduce_all(r < 9.0), [r, b])
    with tf.control_dependencies([checked]):
        out = a + tf.cast(b, tf.float32)
    with tf.Session() as session:
        wanted = session.run(out)
    data = tf.get_default_graph().as_graph_def()
    with tf.Graph().as_default():
        (again,) = tf.import_graph_def(data, return_elements=[out.name])
        with tf.Session() as session:
            np.testing.assert_array_equal(session.run(again), wanted)


# --- importing ------------------------------------------------------------------------


def simple() -> Any:
    with tf.Graph().as_default() as g:
        x = tf.placeholder(tf.float32, [2], name="x")
        with tf.name_scope("s"):
            y = tf.multiply(x, 3.0, name="y")
        with tf.colocate_with(y), tf.control_dependencies([y]):
            tf.negative(x, name="z")
        return g.as_graph_def()


def test_names_maps_and_elements(graph: tf.Graph) -> None:
    inside = tf.constant([5.0, 6.0], name="inside")
    with tf.control_dependencies([inside]):
        y, op, z = tf.import_graph_def(
            simple(), {"x:0": inside * 2.0}, ["s/y:0", "s/y", "z:0"], name="n"
        )
    assert (y.name, op.name, z.name) == ("n/s/y:0", "n/s/y", "n/z:0")
    assert op is y.op and z.op.control_inputs == (op,) and op.control_inputs == ()
    assert z.op.colocation_groups() == [b"loc:@n/s/y"]
    with tf.Session() as session:
        assert session.run(y).tolist() == [30.0, 36.0]
    assert tf.import_graph_def(simple()) is None
    tf.import_graph_def(simple())
    names = [o.name for o in graph.get_operations()]
    assert "import/s/y" in names and "import_1/s/y" in names
    tf.import_graph_def(simple(), name="")
    assert tf.identity(inside, name="x").op.name == "x_1"


def test_nodes_in_any_order() -> None:
    data = simple()
    nodes = list(data.node)[::-1]
    del data.node[:]
    data.node.extend(nodes)
    (y,) = tf.import_graph_def(data, return_elements=["s/y:0"], name="")
    assert y.op.inputs[0].name == "x:0"


def node(data: Any, name: str) -> Any:
    return next(n for n in data.node if n.name == name)


def change(which: str, **fields: Any) -> Any:
    data = simple()
    for field, value in fields.items():
        if field == "attr":
            for key, proto in value.items():
                node(data, which).attr[key].CopyFrom(values.attr_value(key, proto))
        elif field == "input":
            node(data, which).input[:] = value
        elif field == "without":
            del node(data, which).attr[value]
        else:
            setattr(node(data, which), field, value)
    return data


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: 3, TypeError, "must be a GraphDef proto, not int"),
        (
            lambda: change("s/y", op="Mull"),
            tf.errors.UnimplementedError,
            r"cannot import: Mull \(1, such as 's/y'\)",
        ),
        (lambda: change("s/y", op="While"), tf.errors.UnimplementedError, "While"),
        (
            lambda: change("s/y", input=["gone", "x"]),
            ValueError,
            "input 'gone', but the GraphDef has no node 'gone'",
        ),
        (lambda: change("s/y", input=["x"]), ValueError, "has 1 inputs; 2 were exp"),
        (lambda: change("s/y", input=["x:3", "x"]), ValueError, "1 outputs, no 'x:3'"),
        (
            lambda: change("x", input=["^z"]),
            tf.errors.UnimplementedError,
            "is part of a circle",
        ),
        (lambda: change("x", name="z"), ValueError, "several nodes named 'z'"),
        (
            lambda: change("s/y", attr={"half": True}),
            ValueError,
            "has the attribute 'half' = True",
        ),
        (lambda: change("x", without="dtype"), ValueError, "lacks the attribute 'dt"),
        (
            lambda: change("s/y", attr={"T": dtypes.int32}),
            TypeError,
            "Input 'x' of 'Mul'",
        ),
    ],
)
def test_what_cannot_be_imported(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        tf.import_graph_def(make())


def test_attributes_without_effect_are_dropped() -> None:
    tf.import_graph_def(change("s/y", attr={"half": False, "grad_a": True}))


def test_a_refused_import_adds_nothing(graph: tf.Graph) -> None:
    tf.constant(1.0, name="z")
    for make, name in (
        (simple, ""),
        (lambda: change("z", op="No"), "n"),
        (lambda: change("z", input=["x", "no"]), "n"),
    ):
        with pytest.raises((ValueError, tf.errors.UnimplementedError)):
            tf.import_graph_def(make(), name=name)
    assert [op.name for op in graph.get_operations()] == ["z"]
    with pytest.raises(ValueError, match="not found in graph_def: \\[nope\\]"):
        tf.import_graph_def(simple(), {"nope": tf.constant(1.0)})
    with pytest.raises(ValueError, match="return_element 'no:0' not found"):
        tf.import_graph_def(simple(), return_elements=["no:0"])


# --- what cannot be written -----------------------------------------------------------


def test_sub_graphs_and_python_functions(graph: tf.Graph) -> None:
    x = tf.placeholder(tf.float32, [])
    tf.cond(x > 0.0, lambda: x, lambda: -x)
    with pytest.raises(tf.errors.UnimplementedError, match="If node .*test_graphdef"):
        graph.as_graph_def()
    with tf.Graph().as_default() as other:
        tf.py_func(np.sin, [1.0], tf.float32)
        with pytest.raises(tf.errors.UnimplementedError, match="attribute 'func'"):
            other.as_graph_def()


def test_without_the_extra() -> None:
    code = """
import sys
sys.modules["tensorboard"] = None
import gpugrad.compat.v1 as tf
x = tf.constant(1.0)
print(x.op, end="")
for ask in (lambda: tf.GraphDef, lambda: x.op.node_def, x.graph.as_graph_def):
    try:
        ask()
    except ImportError as error:
        print(error)
with tf.Session() as session:
    try:
        session.run(tf.placeholder(tf.float32, name="p"))
    except tf.errors.InvalidArgumentError as error:
        print(error.op.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith('name: "Const"\nop: "Const"')
    assert done.stdout.count("pip install 'gpugrad[tensorboard]'") == 3
    assert done.stdout.endswith("p\n")


def test_errors_hold_their_node() -> None:
    p = tf.placeholder(tf.float32, name="p")
    with tf.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            session.run(p + 1.0)
    assert caught.value.node_def.name == "p" and caught.value.op is p.op
    assert tf.errors.InternalError(None, None, "x").node_def is None


# --- files ----------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
def test_write_graph(as_text: bool, graph: tf.Graph, tmp_path: Path) -> None:
    tf.constant(1.0, name="c")
    for given in (graph, graph.as_graph_def()):
        path = tf.train.write_graph(given, tmp_path / "a" / "b", "g.pb", as_text)
        assert path == str(tmp_path / "a" / "b" / "g.pb")
        found = messages.parse("GraphDef", Path(path).read_bytes(), path)
        assert found == graph.as_graph_def()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["g.pb"]
    with pytest.raises(ValueError, match=r"g\.pb holds no GraphDef, neither"):
        messages.parse("GraphDef", b"\xff\xff\xff", path)


def model() -> tuple[Any, Any]:
    x = tf.placeholder(tf.float32, [None, 2], name="x")
    w = tf.get_variable("w", initializer=[[1.0], [2.0]])
    step = tf.train.get_or_create_global_step()
    loss = tf.reduce_mean(tf.square(tf.matmul(x, w) - 1.0), name="loss")
    train = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")
    return loss, train


FEED = {"x:0": [[1.0, -1.0], [0.5, 2.0]]}


def test_a_model_goes_on_from_its_files(tmp_path: Path) -> None:
    loss, train = model()
    tf.add_to_collection("numbers", 3)
    tf.add_to_collection("texts", "t")
    tf.add_to_collection("odd", object())
    saver = tf.train.Saver(max_to_keep=3)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, FEED)
        path = saver.save(session, tmp_path / "m", 1)
        session.run(train, FEED)
        wanted = session.run(loss, FEED)
    for scope in (None, "again"):
        prefix = f"{scope}/" if scope else ""
        with tf.Graph().as_default():
            if scope:
                tf.constant(0.0, name="w")
            loaded = tf.train.import_meta_graph(path + ".meta", import_scope=scope)
            assert loaded.max_to_keep == 3
            assert tf.get_collection("numbers") == [3]
            assert tf.get_collection("odd") == []
            (w,) = tf.trainable_variables()
            assert w.name == f"{prefix}w:0" and w.shape == (2, 1)
            assert tf.train.get_global_step().name == f"{prefix}global_step:0"
            assert "w/Adam_1" in loaded.variables
            feed = {f"{prefix}x:0": FEED["x:0"]}
            with tf.Session() as session:
                loaded.restore(session, path)
                session.run(f"{prefix}train", feed)
                assert session.run(f"{prefix}loss:0", feed) == wanted
                assert session.run(f"{prefix}global_step:0") == 2
            graph = tf.get_default_graph()
            (dw,) = tf.gradients(graph.get_tensor_by_name(f"{prefix}loss:0"), w)
            assert dw.shape == (2, 1)


def test_a_saver_of_names_of_its_own(tmp_path: Path) -> None:
    model()
    (w,) = tf.trainable_variables()
    saver = tf.train.Saver({"kept": w})
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        path = saver.save(session, tmp_path / "m")
    text = saver.export_meta_graph(str(tmp_path / "t.meta"), as_text=True)
    assert (tmp_path / "t.meta").read_text() == messages.to_text(text)
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.train.import_meta_graph(str(tmp_path / "t.meta"))
        assert list(loaded.variables) == ["kept"]
        loaded.restore(session, path)
        assert session.run("w:0").tolist() == [[1.0], [2.0]]


def test_a_graph_that_no_message_holds_is_saved_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tf.Variable(1.0)
    tf.py_func(np.sin, [1.0], tf.float32)
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(2):
            saver.save(session, tmp_path / "m", step)
    assert [r.getMessage() for r in caplog.records if "is not written" in r.msg] == [
        caplog.records[0].getMessage()
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint", "m-0.npz", "m-1.npz",
    ]  # fmt: skip


def test_export_without_a_saver(tmp_path: Path, graph: tf.Graph) -> None:
    with graph.device("/gpu:0"):
        tf.constant(1.0, name="c")
    proto = tf.train.export_meta_graph(graph=graph, clear_devices=True)
    assert proto.graph_def.node[0].device == ""
    with tf.Graph().as_default():
        assert tf.train.import_meta_graph(proto) is None
    kept = tf.train.export_meta_graph(graph=graph)
    with tf.Graph().as_default() as other:
        tf.train.import_meta_graph(kept, clear_devices=True)
        assert other.get_operations()[0].device == ""
    (tmp_path / "bad.meta").write_bytes(b"\xff\xff")
    with pytest.raises(ValueError, match=r"bad\.meta holds no MetaGraphDef"):
        tf.train.import_meta_graph(tmp_path / "bad.meta")


def test_a_meta_graph_of_tensorflow() -> None:
    """Written by TensorFlow 2.21 (op declarations and shapes taken out): softmax, a
    Momentum step, a Saver. The numbers are those that TensorFlow computed with it.
    """
    saver = tf.train.import_meta_graph(FOLDER / "data" / "tensorflow_2_21.meta")
    assert list(saver.variables) == ["global_step", "v", "v/Momentum"]
    assert not [o for o in tf.get_default_graph().get_operations() if "save" in o.name]
    (y,), sizes = tf.get_collection("outputs"), tf.get_collection("sizes")
    assert y.shape.as_list() == [None, 3] and sizes == [3]
    (train,) = tf.get_collection("train_op")
    feed = {"x:0": [[1.0, -1.0], [0.5, 0.25]]}
    with tf.Session() as session:
        session.run("init")
        for _ in range(3):
            session.run(train, feed)
        y, loss, v, step = session.run([y, "loss:0", "v:0", "global_step:0"], feed)
    wanted_y = [[5.3334632, 5.3335824, 5.3329549], [5.1317334, 5.2790041, 5.5892625]]
    wanted_v = [[1.0007783, 2.0014942, 2.9977276], [4.0003891, 5.0007477, 5.9988637]]
    assert step == 3
    np.testing.assert_allclose(loss, 0.0031132586, rtol=1e-5)
    np.testing.assert_allclose(y, wanted_y, rtol=1e-6)
    np.testing.assert_allclose(v, wanted_v, rtol=1e-6)
