from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rsdecode.backends.transformers.load import LoadOptions, load_pretrained


def test_weights_of_a_gguf_file_are_floats_whatever_kernels_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    quantizer: Any = pytest.importorskip("transformers.quantizers.quantizer_gguf").GgufHfQuantizer
    from tests.backends.llama_cpp import tiny_gguf

    asked: list[bool] = []
    begin = quantizer.__init__

    def spy(self: Any, config: Any, **given: Any) -> None:
        asked.append(config.dequantize)
        begin(self, config, **given)

    monkeypatch.setattr(quantizer, "__init__", spy)
    file = tiny_gguf.write(tmp_path / "tiny.gguf")
    options = LoadOptions(device="cpu", dtype="float32")
    model: Any = load_pretrained(AutoModelForCausalLM, str(tmp_path), options, file.name)
    assert asked == [True]
    layer = model.model.layers[0].mlp.up_proj
    assert type(layer) is torch.nn.Linear
    assert layer.weight.dtype == torch.float32
