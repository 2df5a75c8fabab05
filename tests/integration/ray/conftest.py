from __future__ import annotations

import os

import pytest

WANTED = "RSD_TEST_RAY"


@pytest.fixture(scope="session", autouse=True)
def ray() -> object:
    """Ray itself, where `make test-ray` has installed it."""
    if WANTED not in os.environ:
        pytest.skip("starts real Ray clusters: make test-ray")
    return pytest.importorskip("ray")
