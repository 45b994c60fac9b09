"""Device names: "/job:w/task:1/gpu:0", its short spellings, and nesting them."""

from __future__ import annotations

import functools

from gpugrad.errors import GraphError

_KINDS = ("cpu", "gpu", "tpu")
_FIELDS = ("job", "replica", "task", "device")


@functools.cache
def within(inner: str, outer: str) -> str:
    """``inner`` in full, its missing parts from ``outer``, which is in full already.

    "/gpu:1" is "/device:GPU:1", and "/gpu" any GPU. ValueError for what is no device.
    """
    parts = {**_parts(outer), **_parts(inner)}
    return "".join(f"/{field}:{parts[field]}" for field in _FIELDS if field in parts)


def _parts(name: str) -> dict[str, str]:
    found = {}
    for part in filter(None, name.split("/")):
        field, _, value = part.partition(":")
        if field.lower() in _KINDS:
            field, value = "device", f"{field.upper()}:{value or '*'}"
        elif field == "device":
            kind, _, index = value.partition(":")
            value = f"{kind.upper()}:{index or '*'}"
        if field not in _FIELDS:
            raise GraphError(
                f"Unknown attribute {part!r} in the device {name!r}. A device is "
                'spelled like "/cpu:0", "/gpu:1" or "/job:worker/task:0/gpu:0".'
            )
        if field in found:
            raise GraphError(f"The device {name!r} says {field!r} twice.")
        number = value.rpartition(":")[2]
        if field != "job" and not (number == "*" or number.isdecimal()):
            raise GraphError(f"{number!r} in the device {name!r} is not a number.")
        found[field] = value
    return found
