"""Philox4x32-10: random words as a function of key and counter.

J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011. kernels/random.cuh gives the same words.
"""

from __future__ import annotations

from typing import Any, Final

_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
_LOW: Final = 0xFFFFFFFF
# Blocks made at once: their eight arrays of 8 bytes stay in a cache of 1 MB.
_TILE: Final = 1 << 14


def philox(xp: Any, outs: Any, step: Any, *, key0: int, key1: int) -> None:
    """Fill a uint32 vector: words 4i .. 4i+3 are the block of counter (i, step)."""
    words = outs[0]
    now = int(step) & (1 << 64) - 1
    whole = words.size // 4
    for first in range(0, whole, _TILE):
        last = min(first + _TILE, whole)
        blocks = words[4 * first : 4 * last].reshape(-1, 4)
        _fill(xp, blocks, first, now, key0, key1)
    if words.size % 4:
        block = xp.empty((1, 4), xp.uint32)
        _fill(xp, block, whole, now, key0, key1)
        words[4 * whole :] = block[0, : words.size % 4]


def _fill(xp: Any, blocks: Any, first: int, step: int, key0: int, key1: int) -> None:
    """Blocks number ``first``, ``first + 1``, ... as the rows of ``blocks``."""
    count = blocks.shape[0]
    number = xp.arange(first, first + count, dtype=xp.uint64)
    a, b = number & _LOW, number >> 32
    c = xp.full(count, step & _LOW, xp.uint64)
    d = xp.full(count, step >> 32, xp.uint64)
    left, right = xp.empty_like(a), xp.empty_like(a)
    for _ in range(_ROUNDS):
        xp.multiply(a, _MULTIPLIERS[0], out=left)
        xp.multiply(c, _MULTIPLIERS[1], out=right)
        # a, b, c, d = high right ^ b ^ key0, low right, high left ^ d ^ key1, low left
        xp.right_shift(right, 32, out=a)
        xp.bitwise_xor(a, b, out=a)
        xp.bitwise_xor(a, key0, out=a)
        xp.right_shift(left, 32, out=c)
        xp.bitwise_xor(c, d, out=c)
        xp.bitwise_xor(c, key1, out=c)
        xp.bitwise_and(right, _LOW, out=b)
        xp.bitwise_and(left, _LOW, out=d)
        key0 = key0 + _KEY_STEPS[0] & _LOW
        key1 = key1 + _KEY_STEPS[1] & _LOW
    for column, part in enumerate((a, b, c, d)):
        blocks[:, column] = part
