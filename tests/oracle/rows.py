"""Every row, with its weight."""

from __future__ import annotations

from tests.oracle import rows_array, rows_control, rows_math, rows_nn, rows_reduce

ROWS = [
    *rows_math.ROWS,
    *rows_reduce.ROWS,
    *rows_array.ROWS,
    *rows_nn.ROWS,
    *rows_control.ROWS,
]
