"""Philox4x32-10 against the words that its authors publish (Random123, kat_vectors)."""

from __future__ import annotations

import numpy as np
import pytest

from gpugrad.kir import philox as module
from gpugrad.kir.philox import philox

# counter (four words), key (two words), result (four words)
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF,) * 4,
        (0xFFFFFFFF,) * 2,
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_words(counter, key, words):
    block = np.empty((1, 4), np.uint32)
    first = counter[0] | counter[1] << 32
    step = counter[2] | counter[3] << 32
    if first >= 2**63:
        # arange counts in int64; the last block of all stands for itself.
        class Numbers:
            def __getattr__(self, name):
                return getattr(np, name)

            @staticmethod
            def arange(start, stop, dtype):
                return np.array([start], dtype)

        module._fill(Numbers(), block, first, step, *key)
    else:
        module._fill(np, block, first, step, *key)
    assert tuple(int(w) for w in block[0]) == words


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 100_003])
def test_words_depend_on_their_place_and_not_on_how_many_there_are(size):
    all_words = np.empty(100_004, np.uint32)
    philox(np, (all_words,), np.int64(5), key0=1, key1=2)
    some = np.empty(size, np.uint32)
    philox(np, (some,), np.int64(5), key0=1, key1=2)
    np.testing.assert_array_equal(some, all_words[:size])
