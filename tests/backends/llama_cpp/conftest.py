"""A tiny random model in a GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.llama_cpp import tiny_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf")
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
