"""``python -m gpugrad`` is the command ``gpugrad``."""

import sys

from gpugrad.cli import main

sys.exit(main())
