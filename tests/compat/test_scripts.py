"""What scripts of TensorFlow 1 use besides graphs: flags, files, logs, tests."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

# --- tf.app, tf.flags -----------------------------------------------------------------

SCRIPT = '''
"""Trains something."""
import gpugrad.compat.v1 as tf

flags = tf.app.flags
flags.DEFINE_string("data_dir", "/tmp/data", "Where it is.")
flags.DEFINE_integer("steps", 10, "How many. 100%.")
flags.DEFINE_float("rate", 0.1, "How fast.")
flags.DEFINE_boolean("debug", False, "Say more.")
flags.DEFINE_bool("log", True, "Say anything.")
flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")
flags.DEFINE_list("names", "a,b", "Which.")
flags.DEFINE_multi_integer("size", None, "How large.")
FLAGS = flags.FLAGS


def main(_):
    print(FLAGS.data_dir, FLAGS.steps, FLAGS.rate, FLAGS.debug, FLAGS.log)
    print(FLAGS.mode, FLAGS.names, FLAGS.size, _[1:])
    return 3


if __name__ == "__main__":
    tf.app.run()
'''


def script(tmp_path: Path, text: str, *args: str) -> Any:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, str(path), *args],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(tf.__file__).parents[2])},
    )


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        ([], ["/tmp/data 10 0.1 False True", "train ['a', 'b'] None []"]),
        (
            ["--data_dir=x", "--steps", "0x10", "-rate=1e-3", "--debug", "--nolog"],
            ["x 16 0.001 True False", "train ['a', 'b'] None []"],
        ),
        (
            ["--debug=false", "--mode=eval", "--names=", "--size=1", "--size=2"],
            ["/tmp/data 10 0.1 False True", "eval [] [1, 2] []"],
        ),
        (
            ["--debug", "file", "--other=1", "--", "--steps=3"],
            [
                "/tmp/data 10 0.1 True True",
                "train ['a', 'b'] None ['file', '--other=1', '--steps=3']",
            ],
        ),
    ],
)
def test_flags(tmp_path: Path, args: list[str], lines: list[str]) -> None:
    done = script(tmp_path, SCRIPT, *args)
    assert done.stdout.splitlines() == lines, done.stderr
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("arg", "text"),
    [
        ("--steps=many", "'many' is no integer"),
        ("--mode=test", "'test' is not one of train, eval"),
        ("--debug=perhaps", "'perhaps' is neither true nor false"),
    ],
)
def test_a_wrong_value_is_said_and_nothing_runs(
    tmp_path: Path, arg: str, text: str
) -> None:
    done = script(tmp_path, SCRIPT, arg)
    assert done.returncode == 2 and done.stdout == ""
    assert text in done.stderr


def test_help(tmp_path: Path) -> None:
    done = script(tmp_path, SCRIPT, "--help")
    assert done.returncode == 0
    for text in ("Trains something.", "--steps", "How many. 100%. (default: 10)"):
        assert text in done.stdout


def test_flags_read_before_anything_parses_them(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        import gpugrad.compat.v1 as tf
        tf.flags.DEFINE_integer("batch_size", 64, "")
        tf.flags.DEFINE_string(flag_name="x", default_value="1", docstring="old")
        FLAGS = tf.flags.FLAGS
        FLAGS._parse_flags()
        for name, value in sorted(FLAGS.__flags.items()):
            print(name.upper(), value)
        tf.flags.DEFINE_integer("late", 0, "")
        print(FLAGS.late)
        FLAGS.batch_size = 5
        print(FLAGS.batch_size, FLAGS["batch_size"], "late" in FLAGS, len(FLAGS))
        """,
        "--batch_size=32",
        "--late=7",
    )
    assert done.stdout.split("\n")[:4] == ["BATCH_SIZE 32", "X 1", "7", "5 5 True 3"]


def test_flag_errors() -> None:
    flags = tf.flags
    values = flags.FlagValues()
    flags.DEFINE_integer("steps", "12", "How many.", flag_values=values)
    flags.DEFINE_integer("steps", 12, "How many.", flag_values=values)  # the same
    values(["program"])
    assert values.steps == 12 and values.flag_values_dict() == {"steps": 12}
    with pytest.raises(flags.DuplicateFlagError, match="defined twice"):
        flags.DEFINE_integer("steps", 13, "How many.", flag_values=values)
    with pytest.raises(AttributeError, match="no flag 'stepps'. The nearest are steps"):
        values.stepps  # noqa: B018
    with pytest.raises(AttributeError, match="no flag 'rate' to set"):
        values.rate = 1
    with pytest.raises(flags.IllegalFlagValueError, match="'--step=1'.*steps"):
        values(["program", "--step=1"])
    with pytest.raises(flags.IllegalFlagValueError, match="'x' of the flag 'n'"):
        flags.DEFINE_integer("n", "x", "", flag_values=values)
    flags.DEFINE_string("path", None, "", flag_values=values)
    flags.mark_flag_as_required("path", flag_values=values)
    with pytest.raises(flags.IllegalFlagValueError, match="--path needs a value"):
        values(["program"])
    assert values(["program", "--path=p", "rest"]) == ["program", "rest"]
    assert values.path == "p"


# --- tf.logging -----------------------------------------------------------------------


def test_logging(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        import gpugrad.compat.v1 as tf
        tf.logging.info("not shown")
        tf.logging.warning("shown %d", 1)
        tf.logging.set_verbosity(tf.logging.INFO)
        tf.logging.info("shown %s", "two")
        tf.logging.debug("not shown")
        for n in range(3):
            tf.logging.log_first_n(tf.logging.ERROR, "once %d", 1, n)
            tf.logging.log_every_n(tf.logging.ERROR, "every other %d", 2, n)
        assert tf.logging.get_verbosity() == tf.logging.INFO
        """,
    )
    assert done.stderr.splitlines() == [
        "WARNING:gpugrad:shown 1",
        "INFO:gpugrad:shown two",
        "ERROR:gpugrad:once 0",
        "ERROR:gpugrad:every other 0",
        "ERROR:gpugrad:every other 2",
    ]


def test_logging_goes_where_the_program_sends_it(caplog: Any, capsys: Any) -> None:
    with caplog.at_level(logging.INFO, "gpugrad"):
        tf.logging.info("to the root's handlers")
    assert "to the root's handlers" in caplog.text
    assert capsys.readouterr().err == ""


# --- tf.gfile -------------------------------------------------------------------------


def test_gfile(tmp_path: Path) -> None:
    g = tf.gfile
    root = str(tmp_path / "a" / "b")
    g.MakeDirs(root)
    g.MakeDirs(root)
    assert g.Exists(root) and g.IsDirectory(root)
    path = f"{root}/x.txt"
    with g.GFile(path, "w") as file:
        file.write("é\n2\n")
    with g.FastGFile(path, "rb") as file:
        assert file.read() == "é\n2\n".encode()
    with g.Open(path) as file:
        assert [line.rstrip() for line in file] == ["é", "2"]
    g.Copy(path, f"{root}/y.txt")
    with pytest.raises(tf.errors.AlreadyExistsError, match="overwrite=True"):
        g.Copy(path, f"{root}/y.txt")
    with pytest.raises(FileExistsError):
        g.MkDir(root)
    g.Rename(path, f"{root}/y.txt", overwrite=True)
    assert g.ListDirectory(root) == ["y.txt"] and not g.Exists(path)
    assert g.Glob([f"{root}/*.txt", f"{root}/*.none"]) == [f"{root}/y.txt"]
    assert g.Stat(f"{root}/y.txt").st_size == 5
    assert list(g.Walk(str(tmp_path))) == [
        (str(tmp_path), ["a"], []),
        (str(tmp_path / "a"), ["b"], []),
        (root, [], ["y.txt"]),
    ]
    g.Remove(f"{root}/y.txt")
    for kind in (tf.errors.NotFoundError, FileNotFoundError):
        with pytest.raises(kind, match=r"y.txt; No such file"):
            g.GFile(f"{root}/y.txt")
    g.DeleteRecursively(str(tmp_path / "a"))
    assert not g.Exists(root)


# --- tf.test --------------------------------------------------------------------------


class TestATestCase(tf.test.TestCase):
    def test_sessions_and_comparisons(self) -> None:
        x = tf.constant([1.0, 2.0])
        with self.test_session():
            self.assertAllClose(x, [1.0, 2.0 + 1e-7])
            self.assertAllEqual((x * 2).eval(), [2, 4])
            v = tf.Variable(1.0)
            v.initializer.run()
        with self.cached_session() as session:
            self.assertAllEqual(session.run(v), 1.0)
            assert self.evaluate([v, x])[0] == 1.0
        with self.session() as other:
            other.run(x)
        self.assertShapeEqual(np.ones(2), x)
        self.assertAllClose({"a": [1.0, [2.0]]}, {"a": (1.0, [2.0])})
        self.assertNear(1.0, 1.05, 0.1)
        self.assertArrayNear([1.0], [1.05], 0.1)

    def test_what_differs_fails(self) -> None:
        differ = (
            lambda: self.assertAllClose([1.0, 2.0], [1.0, 2.1]),
            lambda: self.assertAllClose([1.0], [[1.0]]),
            lambda: self.assertAllClose({"a": 1.0}, {"b": 1.0}),
            lambda: self.assertAllEqual([1], [2]),
            lambda: self.assertNear(1.0, 2.0, 0.5),
            lambda: self.assertShapeEqual(np.ones(2), tf.ones([3])),
            lambda: self.assertNotAllClose([1.0], [1.0]),
            lambda: self.assertAllGreater([1, 2], 1),
            lambda: self.assertAllLess([1, 2], 2),
            lambda: self.assertDTypeEqual(np.float32(1), np.float64),
            lambda: self.assertStartsWith("abc", "b"),
        )
        for call in differ:
            with pytest.raises(AssertionError):
                call()
        self.assertAllCloseAccordingToType(np.float16(1.0), np.float16(1.0005))

    def test_errors_while_a_graph_runs(self) -> None:
        x = tf.placeholder(tf.float32, [], name="p")
        with self.session() as session:
            with self.assertRaisesOpError("'p'"):
                session.run(x)
            with pytest.raises(AssertionError, match="does not match"):
                with self.assertRaisesOpError("nothing like it"):
                    session.run(x)
        with pytest.raises(AssertionError, match="was not raised"):
            with self.assertRaisesWithPredicateMatch(ValueError, "x"):
                pass

    def test_each_test_has_an_empty_graph_and_a_folder(self) -> None:
        assert tf.get_default_graph().get_operations() == []
        assert Path(self.get_temp_dir()).is_dir()


def test_test_main(tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
        import gpugrad.compat.v1 as tf

        class SquareTest(tf.test.TestCase):
            def testSquare(self):
                with self.test_session():
                    self.assertAllEqual(tf.square([2, 3]).eval(), [4, 9])

        if __name__ == "__main__":
            tf.test.main()
        """,
    )
    assert done.returncode == 0 and "Ran 1 test" in done.stderr, done.stderr


# --- templates, old names, switches ---------------------------------------------------


def test_make_template() -> None:
    with tf.Graph().as_default():

        def scaled(x, name):
            w = tf.get_variable(name, [], initializer=tf.ones_initializer())
            return x * w

        first = tf.make_template("scale", scaled, name="w")
        second = tf.make_template("scale", scaled, name="w")
        a, b, c = first(2.0), first(3.0), second(4.0)
        names = [v.name for v in tf.global_variables()]
        assert names == ["scale/w:0", "scale_1/w:0"]
        assert [v.name for v in first.trainable_variables] == ["scale/w:0"]
        assert second.variable_scope.name == "scale_1"
        with pytest.raises(ValueError, match="does not exist"):
            first(1.0, name="other")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            assert session.run([a, b, c]) == [2.0, 3.0, 4.0]
        tf.make_template("early", scaled, create_scope_now_=True, unique_name_="u")(
            1.0, name="v"
        )
        assert tf.global_variables()[-1].name == "u/v:0"


def test_old_names() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 4))
    with tf.Graph().as_default(), tf.Session() as session:
        found = session.run(
            [
                tf.batch_matmul(x, y, adj_y=True),
                tf.pack([1, 2]),
                tf.unpack(tf.constant([3, 4])),
                tf.select([True, False], [1, 2], [3, 4]),
                tf.mul(2, 3) + tf.sub(5, 1) + tf.neg(1),
            ]
        )
    np.testing.assert_allclose(found[0], x @ y.swapaxes(1, 2))
    assert [np.asarray(v).tolist() for v in found[1:]] == [[1, 2], [3, 4], [1, 4], 9]


def test_switches_change_nothing() -> None:
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.disable_resource_variables()
    assert not tf.executing_eagerly()


def test_init_scope_leaves_functions() -> None:
    with tf.Graph().as_default() as graph:

        def body(i):
            with tf.init_scope():
                assert tf.get_default_graph() is graph
                tf.constant(1, name="outside")
            return i + 1

        with tf.name_scope("s"):
            tf.while_loop(lambda i: i < 3, body, [0])
        assert graph.get_operation_by_name("outside")


def test_a_partitioner_is_accepted_and_splits_nothing() -> None:
    with tf.Graph().as_default():
        with tf.variable_scope("a", partitioner=lambda **_: [2]):
            v = tf.get_variable("v", [4])
        w = tf.get_variable("w", [4], partitioner=lambda **_: [2])
        assert [x.name for x in (v, w)] == ["a/v:0", "w:0"]


@pytest.mark.parametrize(
    "call",
    [
        lambda **wrong: tf.flags.DEFINE_integer("count", 1, "", **wrong),
        lambda **wrong: tf.flags.DEFINE_enum("kind", "a", ["a"], "", **wrong),
        lambda **wrong: tf.data.Dataset.range(4).batch(2, **wrong),
        lambda **wrong: tf.train.export_meta_graph(**wrong),
        lambda **wrong: tf.train.import_meta_graph("a.meta", **wrong),
        lambda **wrong: tf.test.is_gpu_available(**wrong),
    ],
)
def test_an_argument_that_nobody_knows_is_refused(call: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'drop_remaindr'"):
        call(drop_remaindr=True)


def test_sessions_take_what_scripts_give() -> None:
    config = tf.ConfigProto(
        log_device_placement=True,
        gpu_options=tf.GPUOptions(per_process_gpu_memory_fraction=0.5),
    )
    config.gpu_options.allow_growth = True
    config.inter_op_parallelism_threads = 1
    with tf.Graph().as_default():
        x = tf.constant(2.0)
        with tf.Session("", config=config) as session:
            assert session.run(x) == 2.0
        interactive = tf.InteractiveSession(target="", config=config)
        try:
            assert x.eval() == 2.0
        finally:
            interactive.close()


def test_errors_have_tensorflows_codes() -> None:
    codes = {name: getattr(tf.errors, name) for name in dir(tf.errors)}
    numbers = {
        kind.error_code
        for name, kind in codes.items()
        if name.endswith("Error") and name not in ("OpError", "UnknownError")
        and hasattr(kind, "error_code")
    }  # fmt: skip
    assert numbers == set(range(1, 17)) - {2}
