"""Where TensorFlow is wrong, or has no answer, and gpugrad differs on purpose.

Matched with a program shrunk to its core, so that a row excuses nothing else. Rows:
the order of what differs ("value", "first", "second"), a pattern of the core's lines,
a pattern of how it differs, and the reason.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.oracle.compare import Difference
from tests.oracle.program import Program


class Known(NamedTuple):
    order: str
    lines: str
    what: str
    reason: str


KNOWN: tuple[Known, ...] = (
    *(
        Known(
            order,
            r"leaky_relu\(\w+\)",
            "off by",
            "attributes are float32 there, so leaky_relu's 0.2 is 0.20000000298",
        )
        for order in ("value", "first", "second")
    ),
    Known(
        "second",
        "cross_entropy_with_logits",
        "off by",
        "the rule drops the derivative of softmax - labels with respect to labels",
    ),
    Known(
        "second",
        "recompute_grad",
        "refused NotImplementedError",
        "recompute_grad has no second order there",
    ),
    Known(
        "first",
        "cumprod",
        "off by",
        "cumprod's rule divides by x, and takes 0 where x is 0",
    ),
    Known(
        "second",
        "cumprod|reduce_prod",
        "off by",
        "cumprod's rule divides by x, and takes 0 where x is 0",
    ),
    Known(
        "second",
        "reduce_prod|cumprod",
        "off by .*j\\)",
        "the rule of cumprod, which reduce_prod's is made of, conjugates nothing",
    ),
    Known(
        "second",
        "svd|qr|eigh",
        "'NoneType' object is not subscriptable|unknown inner matrix shape",
        "rules of factorizations want static shapes there",
    ),
    Known(
        "second",
        "fused_batch_norm.*is_training=False",
        r"off by|none  ?expected, tensor \w+ found",
        "its second order leaves mean and variance out, except as the scale's tensor",
    ),
    Known(
        "second",
        "unsorted_segment_prod",
        "off by inf",
        "unsorted_segment_prod divides by zeros of rows that it drops",
    ),
    Known(
        "second",
        "max_pool",
        "off by",
        "the kernel of MaxPoolGradGrad gives zeros where the first cell is not chosen",
    ),
    Known(
        "first",
        "dilations",
        "refused Exception",
        "gradients of dilated convolutions are not written for the CPU there",
    ),
    Known(
        "second",
        "while_loop|map_fn|scan|foldl|foldr",
        "tensor \\w+ expected, none found",
        "the gradient of a loop reads there what it does not need: zeros, not None",
    ),
    Known(
        "second",
        "bessel_[ij]1e?",
        "off by inf",
        "the slopes of these at 0 have none there: 0 / 0",
    ),
    Known(
        "value",
        "softmax_cross_entropy",
        "off by inf",
        "a label of 0 times the logarithm of 0 is NaN there",
    ),
    Known(
        "first",
        "split|unstack",
        "None values not supported",
        "slopes of booleans: both refuse, with another class",
    ),
    Known(
        "value",
        "reduce_mean",
        r"0j expected, \(nan\+nanj\) found",
        "the mean of no complex numbers is 0 there; that of no real ones is NaN",
    ),
    *(
        Known(
            order,
            "max_pool3d",
            "off by",
            "the kernel of MaxPool3DGrad gives each of several maxima all of the slope",
        )
        for order in ("first", "second")
    ),
    Known(
        "second",
        "max_pool_with_argmax|dilation2d|lrn|softsign",
        "refused LookupError",
        "these gradients have no rule of their own there",
    ),
    *(
        Known(
            "first",
            "gather_nd",
            what,
            "the gradient of gather_nd with one vector as index fails there",
        )
        for what in ("refused Exception", "rank 1 but is rank 0 for .*ScatterNd")
    ),
    Known(
        "value",
        "linalg.diag",
        r"static shape \(.*(\d), \1\)",
        "the static shape of linalg.diag with k is made of unknown sizes there",
    ),
    Known(
        "value",
        "cumulative_logsumexp",
        "off by inf",
        "cumulative_logsumexp loses NaN there",
    ),
    Known(
        "value",
        "igammac?",
        "off by inf",
        "igamma and igammac of (inf, inf) are both 0 there",
    ),
    Known(
        "first",
        "pad",
        "refused Exception",
        "the gradient of MirrorPad fails on empty tensors there",
    ),
)


def reason(program: Program, differences: list[Difference]) -> str:
    """Why these differences of a shrunk program are as they should be, or nothing."""
    text = " ".join(line.text for line in program.lines)
    orders = {d.key.split()[0] for d in differences} - {"first", "second"}
    order = "value" if orders else "first"
    if all(d.key.startswith("second") for d in differences):
        order = "second"
    what = " ".join(d.what for d in differences)
    for row in KNOWN:
        found = re.search(row.lines, text) and re.search(row.what, what)
        if found and row.order == order:
            return row.reason
    return ""
