"""tf.app: a script's main function, with the flags taken off its arguments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from gpugrad.compat import flags


def run(
    main: Callable[[list[str]], Any] | None = None, argv: Sequence[str] | None = None
) -> NoReturn:
    """Parse the flags, call ``main`` with what is left of ``argv``, and exit.

    ``main`` is by default that of the script, ``argv`` sys.argv. Unknown flags stay in
    the arguments. A wrong value is said on stderr, with exit status 2.
    """
    try:
        rest = flags.FLAGS(sys.argv if argv is None else argv, known_only=True)
    except flags.Error as error:
        sys.stderr.write(f"{error}\nTry --help to see the flags.\n")
        sys.exit(2)
    function = main if main is not None else sys.modules["__main__"].main
    sys.exit(function(rest))
