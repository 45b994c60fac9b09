"""Saver: the variables of a session to a checkpoint, and back."""

from __future__ import annotations

import difflib
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from gpugrad import messages
from gpugrad.checkpoint import archive, state
from gpugrad.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from gpugrad.files import write_whole
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.graph import Graph
from gpugrad.graph.graphdef import meta
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.shapes import TensorShape, compatible
from gpugrad.train.global_step import global_step as step_of

_log = logging.getLogger("gpugrad")


class Saver:
    """Saves variables to checkpoints, and restores them.

    ``var_list``: a list of variables, saved by their names, or a dict from names in
    the checkpoint to variables; by default all global variables of the graph as it
    is now. ``reshape``: restore into variables of another shape with as many elements.
    ``max_to_keep`` checkpoints are kept, the newest (None or 0: all); one more is kept
    for every ``keep_checkpoint_every_n_hours``. ``pad_step_number`` writes the step
    with eight digits. ``save_relative_paths`` makes the file ``checkpoint`` speak of
    places relative to itself, so that the folder can be moved.

    A checkpoint is one file, written whole or not at all. save() and restore() add
    nothing to the graph. Safe to use from several threads; each save or restore is
    one step of the session. The other arguments are TensorFlow's, and change nothing.

    Raises ValueError for no variables (but for ``allow_empty``) or a name that comes
    twice, TypeError for what is no variable.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: Any = None,
        builder: Any = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: Any = None,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
    ) -> None:
        self._given = var_list
        self._reshape = reshape
        self.max_to_keep = max_to_keep or 0
        self.every_n_hours = keep_checkpoint_every_n_hours
        self._allow_empty = allow_empty
        self._step_format = "{}-{:08d}" if pad_step_number else "{}-{}"
        self._relative = save_relative_paths
        # Prefixes and times of the checkpoints that are kept, the oldest first.
        self._last: list[tuple[str, float]] = []
        self._next_to_preserve = time.time() + self.every_n_hours * 3600
        self._preserved: float | None = None
        self._variables: dict[str, Variable] | None = None
        self._told = False
        self._lock = threading.Lock()
        if not defer_build:
            self.build()

    def build(self) -> None:
        """Fix the list of variables, if ``defer_build`` put that off."""
        if self._variables is not None:
            return
        given = self._given
        if given is None:
            graph = outermost(build.get_default_graph())
            given = graph.get_collection(GraphKeys.GLOBAL_VARIABLES)
        if not given and not self._allow_empty:
            raise ValueError("No variables to save")
        self._variables = _by_name(given)

    @property
    def variables(self) -> dict[str, Variable]:
        """What is saved: names in the checkpoint, sorted, to variables."""
        if self._variables is None:
            raise RuntimeError("This Saver is not built yet: call build() first.")
        return self._variables

    # --- saving -----------------------------------------------------------------------

    def save(
        self,
        sess: Any,
        save_path: Any,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = "meta",
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str:
        """Write a checkpoint; gives its path prefix, which restore() takes.

        ``global_step`` (a number, a variable or a tensor) is put behind ``save_path``.
        The folder's ``checkpoint`` file then names this checkpoint as the latest, and
        checkpoints beyond ``max_to_keep`` are deleted. The graph goes into a .meta
        file beside the checkpoint where that can be done: with the extra `tensorboard`
        and a graph that a MetaGraphDef can hold; else that is logged, once a Saver.

        Raises ValueError if the folder does not exist, FailedPreconditionError if a
        variable has no value; the files are then as they were.
        """
        variables = self.variables
        latest_filename = latest_filename or state.DEFAULT_NAME
        if os.path.basename(latest_filename) != latest_filename:
            raise ValueError("'latest_filename' must not contain path components")
        prefix = os.fspath(save_path)
        if global_step is not None:
            if not isinstance(global_step, Integral):
                global_step = step_of(sess, global_step)
            prefix = self._step_format.format(prefix, global_step)
        elif os.path.basename(prefix) == latest_filename:
            raise ValueError(
                f"'latest_filename' collides with 'save_path': {latest_filename!r} and "
                f"{prefix!r}"
            )
        folder = Path(prefix).parent
        if not os.path.basename(prefix) or not folder.is_dir():
            raise ValueError(f"Parent directory of {prefix} doesn't exist, can't save.")
        names = list(variables)
        values = sess.run([variables[name] for name in names]) if names else []
        tensors = {n: (variables[n].dtype, v) for n, v in zip(names, values)}
        with self._lock:
            archive.write(prefix, tensors)
            if write_meta_graph:
                self._write_meta_graph(f"{prefix}.{meta_graph_suffix}", sess.graph)
            if write_state:
                self._record(prefix, folder, latest_filename, meta_graph_suffix)
        return prefix

    def _record(self, prefix: str, folder: Path, latest: str, meta_suffix: str) -> None:
        """Make ``prefix`` the latest checkpoint, then delete what is too old.

        In this order: whatever the file names is there at every moment.
        """
        kept, dropped = [entry for entry in self._last if entry[0] != prefix], []
        next_to_preserve, preserved = self._next_to_preserve, self._preserved
        if self.max_to_keep:
            kept.append((prefix, time.time()))
            while len(kept) > self.max_to_keep:
                oldest, written = kept.pop(0)
                if written > next_to_preserve:
                    next_to_preserve += self.every_n_hours * 3600
                    preserved = written
                else:
                    dropped.append(oldest)
        state.update_checkpoint_state(
            folder,
            prefix,
            [path for path, _ in kept],
            latest,
            [written for _, written in kept],
            preserved,
            self._relative,
        )
        self._last = kept
        self._next_to_preserve, self._preserved = next_to_preserve, preserved
        for path in dropped:
            state.remove_checkpoint(path, meta_suffix)

    def _write_meta_graph(self, path: str, graph: Any) -> None:
        try:
            proto = meta.meta_graph_def(graph, self)
        except (ImportError, UnimplementedError) as error:
            if not self._told:
                _log.warning("%s is not written: %s", path, error)
                self._told = True
            return
        write_whole(path, proto.SerializeToString())

    def export_meta_graph(
        self,
        filename: str | None = None,
        collection_list: Sequence[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> Any:
        """The graph of the variables as a MetaGraphDef with this Saver in it.

        See export_meta_graph() of the module.
        """
        _refuse(export_scope=export_scope)
        graph = next((v.graph for v in self.variables.values()), None)
        proto = meta.meta_graph_def(
            graph or outermost(build.get_default_graph()),
            self,
            collection_list,
            clear_devices,
        )
        return _written(proto, filename, as_text)

    # --- restoring --------------------------------------------------------------------

    def restore(self, sess: Any, save_path: Any) -> None:
        """Set the variables to what the checkpoint holds; they need no initializer.

        All are set, or none: NotFoundError names what the checkpoint lacks,
        InvalidArgumentError the shapes and dtypes that differ, DataLossError a damaged
        file, ValueError a path that is no checkpoint's.
        """
        if save_path is None:
            raise ValueError("Can't load save_path when it is None.")
        if not archive.checkpoint_exists(save_path):
            raise ValueError(
                f"The passed save_path is not a valid checkpoint: {save_path}"
            )
        reader = archive.CheckpointReader(save_path)
        variables = self.variables
        self._check_names(reader, save_path)
        self._check_values(reader, save_path)
        values = {}
        for name, variable in variables.items():
            value = reader.get_tensor(name)
            if self._reshape and variable.shape.is_fully_defined():
                value = value.reshape(variable.shape.as_list())
            values[variable] = value
        sess.assign_values(values)

    def _check_names(self, reader: Any, path: Any) -> None:
        shapes = reader.get_variable_to_shape_map()
        missing = {n: v for n, v in self.variables.items() if n not in shapes}
        if not missing:
            return
        lines = []
        for name, variable in missing.items():
            near = difflib.get_close_matches(name, shapes, n=1)
            hint = f"; the nearest is {near[0]!r} {shapes[near[0]]}" if near else ""
            lines.append(f"Key {name} {variable.shape} not found{hint}")
        raise NotFoundError(
            None,
            None,
            f"{len(missing)} of {len(self.variables)} variables are not in the "
            f"checkpoint {path}:\n  " + "\n  ".join(lines) + "\nNothing was restored. "
            "Give Saver a var_list of what to restore, or a dict from names in the "
            "checkpoint to variables.",
        )

    def _check_values(self, reader: Any, path: Any) -> None:
        shapes = reader.get_variable_to_shape_map()
        kinds = reader.get_variable_to_dtype_map()
        lines = []
        for name, variable in self.variables.items():
            shape, wanted = tuple(shapes[name]), variable.shape
            if kinds[name] is not variable.dtype:
                found = kinds[name].name
                lines.append(f"{name} is {found}, the variable {variable.dtype.name}")
            elif self._reshape and wanted.is_fully_defined():
                if TensorShape(shape).num_elements() != wanted.num_elements():
                    lines.append(f"{name} has shape {shape}, the variable {wanted}")
            elif not compatible(shape, variable._shape):
                lines.append(f"{name} has shape {shape}, the variable {wanted}")
        if lines:
            raise InvalidArgumentError(
                None,
                None,
                f"The checkpoint {path} does not fit the variables:\n  "
                + "\n  ".join(lines)
                + "\nNothing was restored.",
            )

    # --- which checkpoints there are --------------------------------------------------

    @property
    def last_checkpoints(self) -> list[str]:
        """The prefixes of the checkpoints that are kept, the oldest first."""
        with self._lock:
            return [path for path, _ in self._last]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Say which checkpoints there are, as if all had been written just now."""
        now = time.time()
        self.set_last_checkpoints_with_time([(path, now) for path in last_checkpoints])

    def set_last_checkpoints_with_time(
        self, last_checkpoints_with_time: Sequence[tuple[str, float]]
    ) -> None:
        """Say which checkpoints there are, with their times in seconds since 1970."""
        with self._lock:
            self._last = list(last_checkpoints_with_time)

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Take over checkpoints that an earlier process wrote, where they exist."""
        found = [path for path in checkpoint_paths if archive.checkpoint_exists(path)]
        times = state.get_checkpoint_mtimes(found)
        self.set_last_checkpoints_with_time(list(zip(found, times)))


def _by_name(given: Any) -> dict[str, Variable]:
    """Names in the checkpoint, in order, to variables."""
    if isinstance(given, Mapping):
        pairs = [(name, variable) for name, variable in given.items()]
    else:
        pairs = [(getattr(v, "op", v).name, v) for v in given if _is_variable(v)]
    found: dict[str, Variable] = {}
    for name, variable in pairs:
        _is_variable(variable)
        if found.setdefault(name, variable) is not variable:
            raise ValueError(f"At least two variables have the same name: {name}")
    return dict(sorted(found.items()))


def _is_variable(value: Any) -> bool:
    if not isinstance(value, Variable):
        raise TypeError(f"Variable to save is not a Variable: {value!r}")
    return True


# --- the graph ------------------------------------------------------------------------


def _written(proto: Any, filename: str | None, as_text: bool) -> Any:
    if filename:
        text = messages.to_text(proto).encode() if as_text else None
        write_whole(filename, text or proto.SerializeToString())
    return proto


def _refuse(**given: Any) -> None:
    """UnimplementedError for an argument that means something and would be ignored."""
    for name, value in given.items():
        if value:
            raise UnimplementedError(
                None,
                None,
                f"export_meta_graph takes no {name}. Export the whole graph, or give "
                "`graph` another one.",
            )


def export_meta_graph(
    filename: str | None = None,
    meta_info_def: Any = None,
    graph_def: Any = None,
    saver_def: Any = None,
    collection_list: Sequence[str] | None = None,
    as_text: bool = False,
    graph: Graph | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    save_debug_info: bool = False,
) -> Any:
    """A graph, by default the default one, with its collections as a MetaGraphDef.

    Also written to ``filename``, if given, whole or not at all; ``as_text`` in text
    form. Needs the extra `tensorboard`. Raises UnimplementedError for what a message
    cannot hold: sub-graphs, Python functions; and for ``graph_def``, ``saver_def`` and
    ``export_scope``, which would export something else than the graph.
    """
    _refuse(graph_def=graph_def, saver_def=saver_def, export_scope=export_scope)
    graph = graph or outermost(build.get_default_graph())
    proto = meta.meta_graph_def(graph, None, collection_list, clear_devices)
    return _written(proto, filename, as_text)


def import_meta_graph(
    meta_graph_or_file: Any,
    clear_devices: bool = False,
    import_scope: str | None = None,
) -> Saver | None:
    """Add the graph of a .meta file (or of a MetaGraphDef) to the default graph.

    Gives a Saver that restores its variables, None if it has none. Needs the extra
    `tensorboard`; see import_graph_def() for what can be imported.
    """
    proto = meta.read_meta_graph(meta_graph_or_file)
    variables = meta.import_meta_graph_def(proto, clear_devices, import_scope)
    if not variables:
        return None
    if not proto.HasField("saver_def"):
        return Saver(variables)
    hours = proto.saver_def.keep_checkpoint_every_n_hours or 10000.0
    return Saver(
        variables,
        max_to_keep=proto.saver_def.max_to_keep,
        keep_checkpoint_every_n_hours=hours,
    )


# --- reading without a graph ----------------------------------------------------------


def load_checkpoint(ckpt_dir_or_file: Any) -> archive.CheckpointReader:
    """A reader of a checkpoint, or of a folder's latest one.

    Raises ValueError if there is none.
    """
    path = ckpt_dir_or_file
    if os.path.isdir(path):
        found = state.latest_checkpoint(path)
        if found is None:
            raise ValueError(
                "Couldn't find 'checkpoint' file or checkpoints in given directory "
                f"{path}"
            )
        path = found
    return archive.CheckpointReader(path)


def load_variable(ckpt_dir_or_file: Any, name: str) -> Any:
    """The value of one tensor of a checkpoint; ``name`` may end in ":0"."""
    return load_checkpoint(ckpt_dir_or_file).get_tensor(name.removesuffix(":0"))


def list_variables(ckpt_dir_or_file: Any) -> list[tuple[str, list[int]]]:
    """(name, shape) of every tensor of a checkpoint, by name."""
    shapes = load_checkpoint(ckpt_dir_or_file).get_variable_to_shape_map()
    return sorted(shapes.items())
