"""Copies of a GGUF file without its chat template, with and without ChatML's tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATE, TOKENS = "tokenizer.chat_template", "tokenizer.ggml.tokens"
MARK, OTHER = "<|im_start|>", "<|turn|>"


def write(source: Path, target: Path, *, rename: bool) -> Path:
    """Write `source` to `target` without its template; `rename` takes ChatML's token away."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader: Any = GGUFReader(str(source))
    architecture = reader.fields["general.architecture"].contents()
    writer: Any = GGUFWriter(str(target), architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", TEMPLATE):
            continue
        value, kind = field.contents(), field.types[0]
        if rename and name == TOKENS:
            value = [OTHER if token == MARK else token for token in value]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
