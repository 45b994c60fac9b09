"""All tests run with the verifier on: every Program is checked after every pass."""

from __future__ import annotations

import os

# Read once, at the first Session: nothing has imported gpugrad yet.
os.environ.setdefault("GPUGRAD_VERIFY", "1")
