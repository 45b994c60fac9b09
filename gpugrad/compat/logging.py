"""tf.logging: the logger "gpugrad" under TensorFlow's names.

Messages go where the program's logging sends them. If it says nothing, they go to
stderr, from WARN on unless set_verbosity says otherwise.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

DEBUG, INFO, WARN, ERROR, FATAL = (
    logging.DEBUG,
    logging.INFO,
    logging.WARNING,
    logging.ERROR,
    logging.CRITICAL,
)

_logger = logging.getLogger("gpugrad")
_lock = threading.Lock()
_counts: dict[str, int] = {}


class _Stderr(logging.Handler):
    """Writes to what is sys.stderr now, where nobody has set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            sys.stderr.write(self.format(record) + "\n")


def _prepared() -> logging.Logger:
    """The logger, with somewhere to write to."""
    with _lock:
        if not _logger.handlers:
            handler = _Stderr()
            handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
            _logger.addHandler(handler)
    return _logger


def get_logger() -> logging.Logger:
    """The logger itself."""
    return _prepared()


def set_verbosity(v: int | str) -> None:
    """Log messages of level ``v`` and above."""
    _prepared().setLevel(v)


def get_verbosity() -> int:
    """The level from which messages are logged."""
    return _logger.getEffectiveLevel()


def log(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log ``msg % args``."""
    _prepared().log(level, msg, *args, **kwargs)


def debug(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at DEBUG."""
    log(DEBUG, msg, *args, **kwargs)


def info(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at INFO."""
    log(INFO, msg, *args, **kwargs)


def warning(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at WARN."""
    log(WARN, msg, *args, **kwargs)


warn = warning


def error(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at ERROR."""
    log(ERROR, msg, *args, **kwargs)


def fatal(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Log at FATAL; the program goes on."""
    log(FATAL, msg, *args, **kwargs)


def flush() -> None:
    """Write out what handlers hold back."""
    for handler in _logger.handlers:
        handler.flush()


def _count(msg: str) -> int:
    with _lock:
        _counts[msg] = _counts.get(msg, 0) + 1
        return _counts[msg]


def log_first_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Log the first ``n`` times that this message comes here."""
    if _count(msg) <= n:
        log(level, msg, *args)


def log_every_n(level: int, msg: str, n: int, *args: Any) -> None:
    """Log the first, and then every n-th time that this message comes here."""
    if (_count(msg) - 1) % n == 0:
        log(level, msg, *args)


def log_if(level: int, msg: str, condition: Any, *args: Any) -> None:
    """Log if ``condition``."""
    if condition:
        log(level, msg, *args)
