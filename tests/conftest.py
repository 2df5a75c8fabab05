"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing in the suite needs the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share the cores

settings.register_profile("untimed", deadline=None)  # a busy machine is not a bug
settings.load_profile("untimed")
