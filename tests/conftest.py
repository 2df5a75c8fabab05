"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing in the suite needs the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share the cores

# A shell ignores Ctrl-C for what it runs in the background, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # a busy machine is not a bug
settings.load_profile("untimed")
