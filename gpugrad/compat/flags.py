"""tf.flags: command-line flags, defined one by one and read from FLAGS."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from gpugrad.nearest import nearest


class Error(Exception):
    """Something is wrong with a flag."""


class DuplicateFlagError(Error, ValueError):
    """A flag is defined twice, in two ways."""


class IllegalFlagValueError(Error, ValueError):
    """A value on the command line, or one given, is not what the flag takes."""


class Flag(NamedTuple):
    """A definition. ``convert`` makes a value of a word; ``many``: words add up."""

    name: str
    default: Any
    help: str | None
    convert: Callable[[str], Any]
    kind: str
    many: bool = False
    required: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise IllegalFlagValueError(message)


class FlagValues:
    """The flags and their values. ``FLAGS.name`` is the value of the flag ``name``.

    The first reading parses sys.argv, where nothing has parsed before; what is no flag
    is left alone then. Safe to be read from several threads.
    """

    def __init__(self) -> None:
        self.__dict__["_flags"] = {}
        self.__dict__["_parsed"] = {}
        self.__dict__["_given"] = {}
        self.__dict__["_argv"] = None
        self.__dict__["_lock"] = threading.RLock()

    def define(self, flag: Flag) -> None:
        """Add a flag. DuplicateFlagError if another has its name."""
        with self._lock:
            known = self._flags.get(flag.name)
            if known is not None and _shown(known) != _shown(flag):
                raise DuplicateFlagError(
                    f"The flag {flag.name!r} is defined twice: first with the default "
                    f"{known.default!r}, now with {flag.default!r}. Rename one."
                )
            self._flags[flag.name] = flag
            if self._argv is not None:
                self(self._argv, known_only=True)

    # --- parsing ----------------------------------------------------------------------

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Parse ``argv``, whose first word is the program; the words that are no flags.

        ``known_only`` leaves unknown flags among these. Raises IllegalFlagValueError.
        """
        with self._lock:
            parser = self._parser(argv[0] if argv else "")
            words = self._plain(list(argv[1:]))
            found, rest = parser.parse_known_args(words)
            unknown = [word for word in rest if word.startswith("-") and word != "--"]
            if unknown and not known_only:
                raise IllegalFlagValueError(
                    f"Unknown command line flag {unknown[0]!r}."
                    + nearest(unknown[0].lstrip("-").partition("=")[0], self._flags)
                )
            self.__dict__["_argv"] = list(argv)
            self.__dict__["_parsed"] = vars(found)
            self._check_required()
            return [*argv[:1], *(word for word in rest if word != "--")]

    def _parser(self, program: str) -> _Parser:
        described = getattr(sys.modules.get("__main__"), "__doc__", None)
        parser = _Parser(
            prog=program or None,
            description=described,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        for flag in self._flags.values():
            parser.add_argument(
                f"--{flag.name}",
                f"-{flag.name}",
                dest=flag.name,
                type=flag.convert,
                action="append" if flag.many else "store",
                metavar=flag.kind,
                help=f"{flag.help or ''} (default: {flag.default!r})".replace(
                    "%", "%%"
                ),
            )
        return parser

    def _plain(self, words: list[str]) -> list[str]:
        """``--flag`` and ``--noflag`` of booleans as ``--flag=true`` and ``false``."""
        plain: list[str] = []
        for position, word in enumerate(words):
            if word == "--":
                return [*plain, *words[position:]]
            name = word.lstrip("-")
            for prefix, value in (("", "true"), ("no", "false")):
                flag = self._flags.get(name.removeprefix(prefix))
                whole = word.startswith("-") and name.startswith(prefix)
                if whole and flag is not None and flag.kind == "boolean":
                    word = f"--{flag.name}={value}"
                    break
            plain.append(word)
        return plain

    def _check_required(self) -> None:
        for flag in self._flags.values():
            if flag.required and self._value(flag) is None:
                raise IllegalFlagValueError(f"The flag --{flag.name} needs a value.")

    def _value(self, flag: Flag) -> Any:
        for values in (self._given, self._parsed):
            if flag.name in values:
                return values[flag.name]
        return flag.default

    def _parse_flags(self) -> None:
        """Parse sys.argv now, as scripts of 2016 ask for."""
        if self._argv is None:
            self(sys.argv, known_only=True)

    # --- reading and setting ----------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name == "__flags":  # scripts of 2016 list FLAGS.__flags.items()
            return self.flag_values_dict()
        with self._lock:
            flag = self._flags.get(name)
            if flag is None:
                raise AttributeError(
                    f"There is no flag {name!r}." + nearest(name, self._flags)
                )
            self._parse_flags()
            return self._value(flag)

    def __setattr__(self, name: str, value: Any) -> None:
        with self._lock:
            if name not in self._flags:
                raise AttributeError(
                    f"There is no flag {name!r} to set." + nearest(name, self._flags)
                )
            self._given[name] = value

    def __delattr__(self, name: str) -> None:
        with self._lock:
            if self._flags.pop(name, None) is None:
                raise AttributeError(f"There is no flag {name!r} to delete.")
            self._given.pop(name, None)

    def __getitem__(self, name: str) -> Any:
        return self.__getattr__(name)

    def __contains__(self, name: str) -> bool:
        return name in self._flags

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._flags))

    def __len__(self) -> int:
        return len(self._flags)

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *self._flags])

    def is_parsed(self) -> bool:
        """True after the first parsing or reading."""
        return self._argv is not None

    def flag_values_dict(self) -> dict[str, Any]:
        """All names and values."""
        return {name: getattr(self, name) for name in self}


def _shown(flag: Flag) -> tuple[Any, ...]:
    return flag.name, flag.default, flag.help, flag.kind, flag.many


FLAGS = FlagValues()


# --- definitions ----------------------------------------------------------------------


def _boolean(word: str) -> bool:
    known = {"true": True, "t": True, "1": True, "yes": True, "y": True}
    known |= {"false": False, "f": False, "0": False, "no": False, "n": False}
    if word.lower() not in known:
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    return known[word.lower()]


def _integer(word: str) -> int:
    try:
        return int(word, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is no integer") from None


def _words(word: str) -> list[str]:
    return [part.strip() for part in word.split(",")] if word else []


def _define(
    kind: str, convert: Callable[[str], Any], many: bool = False
) -> Callable[..., None]:
    def define(
        name: Any = None,
        default: Any = None,
        help: str | None = None,
        flag_values: FlagValues = FLAGS,
        required: bool = False,
        *,
        flag_name: Any = None,
        default_value: Any = None,
        docstring: str | None = None,
    ) -> None:
        default = default if default is not None else default_value
        if isinstance(default, str) and kind != "string":
            default = _converted(convert, default, name)
        elif many and default is not None and not isinstance(default, list):
            default = [default]
        flag_values.define(
            Flag(
                name or flag_name, default, help or docstring, convert, kind, many,
                required,
            )
        )  # fmt: skip

    many_words = "; given several times, a list" if many else ""
    define.__doc__ = f"Define a flag: {kind}{many_words}."
    return define


def _converted(convert: Callable[[str], Any], word: str, name: str) -> Any:
    try:
        return convert(word)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise IllegalFlagValueError(
            f"The default {word!r} of the flag {name!r} is not what it takes: {error}"
        ) from None


DEFINE_string = _define("string", str)
DEFINE_integer = _define("integer", _integer)
DEFINE_float = _define("float", float)
DEFINE_boolean = DEFINE_bool = _define("boolean", _boolean)
DEFINE_list = _define("list", _words)
DEFINE_multi_string = _define("string", str, many=True)
DEFINE_multi_integer = _define("integer", _integer, many=True)
DEFINE_multi_float = _define("float", float, many=True)


def DEFINE_enum(
    name: str,
    default: Any,
    enum_values: Sequence[str],
    help: str | None = None,
    flag_values: FlagValues = FLAGS,
    required: bool = False,
) -> None:
    """Define a flag: one of ``enum_values``."""

    def chosen(word: str) -> str:
        if word not in enum_values:
            raise argparse.ArgumentTypeError(
                f"{word!r} is not one of {', '.join(enum_values)}"
            )
        return word

    if default is not None:
        _converted(chosen, default, name)
    kind = "|".join(enum_values)
    flag_values.define(Flag(name, default, help, chosen, kind, required=required))


def mark_flag_as_required(flag_name: str, flag_values: FlagValues = FLAGS) -> None:
    """Refuse a command line that leaves the flag without a value."""
    flag = flag_values._flags[flag_name]
    flag_values._flags[flag_name] = flag._replace(required=True)


def mark_flags_as_required(
    flag_names: Sequence[str], flag_values: FlagValues = FLAGS
) -> None:
    """mark_flag_as_required, for several."""
    for name in flag_names:
        mark_flag_as_required(name, flag_values)
