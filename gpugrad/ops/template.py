"""make_template: a function that makes its variables once and then shares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.ops.variable_scope import VariableScope, variable_scope


class Template:
    """A function in a variable scope of its own; see make_template."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        create_scope_now: bool,
        unique_name: str | None,
        custom_getter: Callable[..., Any] | None,
        arguments: dict[str, Any],
    ) -> None:
        self._name, self._unique_name = name, unique_name
        self._function, self._arguments = function, arguments
        self._getter = custom_getter
        self._scope: VariableScope | None = None
        self._called = False
        if create_scope_now:
            with self._first() as self._scope:
                pass

    def _first(self) -> variable_scope:
        return variable_scope(self._unique_name, self._name, custom_getter=self._getter)

    @property
    def variable_scope(self) -> VariableScope | None:
        """The scope of the variables; None before it is opened."""
        return self._scope

    @property
    def variables(self) -> list[Any]:
        """The global variables of the scope."""
        return [] if self._scope is None else self._scope.global_variables()

    @property
    def trainable_variables(self) -> list[Any]:
        """The trainable variables of the scope."""
        return [] if self._scope is None else self._scope.trainable_variables()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        scope = (
            self._first()
            if self._scope is None
            else variable_scope(self._scope, reuse=self._called)
        )
        with scope as opened:
            if self._scope is None:
                self._scope = opened
            result = self._function(*args, **{**self._arguments, **kwargs})
        self._called = True
        return result


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Callable[..., Any] | None = None,
    **kwargs: Any,
) -> Template:
    """``func_`` with ``kwargs``, as a function whose calls share their variables.

    The first call makes the variables, in the scope ``name_`` made unique, or
    ``unique_name_`` as it stands; later calls find them, and making a new one is then
    a ValueError. ``create_scope_now_`` opens the scope here, not at the first call.
    """
    return Template(
        name_, func_, create_scope_now_, unique_name_, custom_getter_, kwargs
    )
