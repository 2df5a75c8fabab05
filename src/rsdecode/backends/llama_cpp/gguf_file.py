"""The head of a GGUF file: its metadata and the sizes of its tensors; no weight is read.

The package `gguf` reads the same, but makes objects of every token of the vocabulary on the way,
which takes longer than llama.cpp needs for the whole model.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ModelLoadError

MAGIC = b"GGUF"
STRING, ARRAY = 8, 9
_SCALARS = {
    **{0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"},
    **{10: "Q", 11: "q", 12: "d"},
}
"""By the number of a type, its format in `struct`."""
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
F16_BYTES = 2


class Span(NamedTuple):
    """An array of the metadata, where it lies in the file."""

    kind: int
    length: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """The sizes of a tensor."""

    name: str
    sizes: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.sizes)


class GgufFile:
    """The head of a GGUF file, and of its further parts where it is split.

    Raises:
        ModelLoadError: the file is no GGUF, or is cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ModelLoadError(f"{str(path)!r} cannot be read: {error}") from error
        try:
            self.metadata, self.tensors = self._read()
        except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
            raise ModelLoadError(
                f"{str(path)!r} is cut off or damaged in its head: load it down again"
            ) from error
        for part in other_parts(path):
            self.tensors += GgufFile(part).tensors

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the family, such as `qwen2`."""
        return str(self.metadata.get("general.architecture", ""))

    def size(self, name: str, default: int = 0) -> int:
        """A number that the family's metadata give; the largest where each layer has its own."""
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        return max(self.numbers(value), default=default) if isinstance(value, Span) else int(value)

    @property
    def context(self) -> int | None:
        """Tokens that the model was made for; None where the file does not tell."""
        return self.size("context_length") or None

    @property
    def shape(self) -> ModelShape:
        """The sizes that FLOPs depend on."""
        named = {tensor.name: tensor for tensor in self.tensors}
        embedding = named.get("token_embd.weight")
        heads, hidden = self.size("attention.head_count"), self.size("embedding_length")
        head_size = self.size("attention.key_length", hidden // max(heads, 1))
        return ModelShape(
            parameters=sum(t.parameters for t in self.tensors if "rope_freqs" not in t.name),
            layers=self.size("block_count"),
            attention_width=heads * head_size,
            hidden=hidden,
            vocabulary=embedding.sizes[-1] if embedding else 0,
            embedding_parameters=embedding.parameters if embedding else 0,
            tied="output.weight" not in named,
        )

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token, in float16 as llama.cpp keeps them."""
        heads, hidden = self.size("attention.head_count"), self.size("embedding_length")
        size = hidden // max(heads, 1)
        key, value = (
            self.size("attention.key_length", size),
            self.size("attention.value_length", size),
        )
        shared = self.size("attention.head_count_kv", heads)
        return self.size("block_count") * shared * (key + value) * F16_BYTES

    @property
    def file_bytes(self) -> int:
        """Of all its parts."""
        return sum(p.stat().st_size for p in (self.path, *other_parts(self.path)))

    def texts(self, span: Span) -> Iterator[bytes]:
        """The strings of an array."""
        start = span.start
        for _ in range(span.length):
            [length] = struct.unpack_from("<Q", self._bytes, start)
            yield self._bytes[start + 8 : start + 8 + length]
            start += 8 + length

    def numbers(self, span: Span) -> array[Any]:
        """The numbers of an array."""
        found: array[Any] = array(_SCALARS[span.kind])
        found.frombytes(self._bytes[span.start : span.end])
        return found

    def raw(self, name: str) -> bytes:
        """The bytes of an array, or of another value as text; empty where there is none."""
        value = self.metadata.get(name, "")
        if isinstance(value, Span):
            return self._bytes[value.start : value.end]
        return str(value).encode()

    @property
    def vocabulary(self) -> str:
        """A fingerprint that two files share only if they give the same ids to the same text."""
        names = ("model", "pre", "tokens", "token_type", "scores", "merges", "add_space_prefix")
        parts = (self.raw(f"tokenizer.ggml.{name}") for name in names)
        found = hashlib.blake2b(digest_size=8)
        for part in parts:
            found.update(len(part).to_bytes(8, "little") + part)
        return f"gguf-{found.hexdigest()}"

    def _read(self) -> tuple[dict[str, Any], list[Tensor]]:
        if self._bytes[:4] != MAGIC:
            raise ModelLoadError(f"{str(self.path)!r} is no GGUF file")
        version, tensors, entries = struct.unpack_from("<IQQ", self._bytes, 4)
        if version not in (2, 3):
            raise ModelLoadError(
                f"{str(self.path)!r} is GGUF of version {version}: convert the model again with a "
                "newer llama.cpp (versions 2 and 3 are read)"
            )
        place, metadata = 24, dict[str, Any]()
        for _ in range(entries):
            key, place = self._text(place)
            [kind] = struct.unpack_from("<I", self._bytes, place)
            metadata[key], place = self._value(kind, place + 4)
        found: list[Tensor] = []
        for _ in range(tensors):
            name, place = self._text(place)
            [count] = struct.unpack_from("<I", self._bytes, place)
            sizes = struct.unpack_from(f"<{count}Q", self._bytes, place + 4)
            found.append(Tensor(name, sizes))
            place += 4 + 8 * count + 12
        return metadata, found

    def _value(self, kind: int, place: int) -> tuple[Any, int]:
        if kind == STRING:
            return self._text(place)
        if kind == ARRAY:
            return self._array(place)
        form = f"<{_SCALARS[kind]}"
        return struct.unpack_from(form, self._bytes, place)[0], place + struct.calcsize(form)

    def _array(self, place: int) -> tuple[Span, int]:
        kind, count = struct.unpack_from("<IQ", self._bytes, place)
        start = end = place + 12
        if kind == STRING:
            length_at, data = struct.Struct("<Q").unpack_from, self._bytes
            for _ in range(count):
                end += 8 + length_at(data, end)[0]
        else:
            end += count * struct.calcsize(f"<{_SCALARS[kind]}")
        return Span(kind, count, start, end), end

    def _text(self, place: int) -> tuple[str, int]:
        [length] = struct.unpack_from("<Q", self._bytes, place)
        end = place + 8 + length
        if end > len(self._bytes):
            raise IndexError(place)
        return self._bytes[place + 8 : end].decode("utf-8", "replace"), end


def other_parts(path: Path) -> list[Path]:
    """The files that follow the first of a model that is split over several."""
    found = _PART.search(path.name)
    if found is None or int(found[1]) != 1:
        return []
    stem = path.name[: found.start()]
    names = [f"{stem}-{i:05}-of-{found[2]}.gguf" for i in range(2, int(found[2]) + 1)]
    return [path.with_name(name) for name in names]
