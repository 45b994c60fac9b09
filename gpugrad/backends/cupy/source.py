"""Where the CUDA sources of kernels/ lie, and what they say."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[2]
_INSTALLED: Final = _PACKAGE / "kernels"  # a wheel carries kernels/ in the package
_CHECKOUT: Final = _PACKAGE.parent / "kernels"  # a checkout, installed or not
KERNELS_DIR: Final = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT


@cache
def headers() -> dict[str, str]:
    """The text of every header, by file name."""
    found = {p.name: p.read_text("utf-8") for p in sorted(KERNELS_DIR.glob("*.cuh"))}
    if not found:
        raise FileNotFoundError(
            f"No CUDA headers in {KERNELS_DIR}: gpugrad's installation is incomplete. "
            "Install it again with pip, or run it from a whole checkout."
        )
    return found


@cache
def headers_digest() -> str:
    """A digest of all headers: compiled kernels of other headers are not reused."""
    digest = sha256()
    for name, text in headers().items():
        digest.update(f"{name}\n{len(text)}\n{text}".encode())
    return digest.hexdigest()
