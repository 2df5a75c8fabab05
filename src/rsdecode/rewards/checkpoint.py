"""Single tensors of a checkpoint: heads that no Hugging Face class loads."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsdecode.core.errors import ModelLoadError
from rsdecode.text.pretrained import first_line

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("model.safetensors", "pytorch_model.bin")


class Checkpoint:
    """The weights in a folder or on the Hugging Face hub.

    Args:
        path_or_id: the folder, or the id.
        revision: of the model on the hub.
        files: names that they may have, with `.index.json` for those in several parts.

    Raises:
        ModelLoadError: there are none, or they cannot be read.
    """

    def __init__(
        self, path_or_id: str, revision: str | None = None, files: Sequence[str] = FILES
    ) -> None:
        self._path_or_id = path_or_id
        self._revision = revision
        self._names_of_files = files
        self._files = self._find()

    @property
    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(self._files)

    def find(self, suffix: str) -> str:
        """The one name that is `suffix`, with or without a prefix.

        Raises:
            ModelLoadError: there is none.
        """
        named = sorted(n for n in self._files if n == suffix or n.endswith(f".{suffix}"))
        if not named:
            raise ModelLoadError(
                f"{self._path_or_id!r} has no weights {suffix!r}: it is not a reward model of the "
                "kind that its config.json, or your choice of kind, says"
            )
        return named[0]

    def place(self, suffix: str) -> Path:
        """The file of the tensor that `find` names."""
        return self._files[self.find(suffix)]

    def read(self, suffix: str) -> Tensor:
        """The tensor that `find` names."""
        name = self.find(suffix)
        path = self._files[name]
        with _readable(path):
            if path.suffix == ".safetensors":
                from safetensors import safe_open

                opened: Any = safe_open(path, framework="pt")
                with opened as tensors:
                    return tensors.get_tensor(name)
            return _load(path, "cpu")[name]

    def _find(self) -> dict[str, Path]:
        """Each tensor's name, and the file that holds it."""
        for name in self._names_of_files:
            if index := checkpoint_file(self._path_or_id, f"{name}.index.json", self._revision):
                weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
                shards = {shard: self._shard(shard) for shard in set(weight_map.values())}
                return {tensor: shards[shard] for tensor, shard in weight_map.items()}
            if path := checkpoint_file(self._path_or_id, name, self._revision):
                return dict.fromkeys(self._names(path), path)
        raise ModelLoadError(
            f"{self._path_or_id!r} has no weights ({' or '.join(self._names_of_files)}): download "
            "the whole model"
        )

    def _names(self, path: Path) -> list[str]:
        with _readable(path):
            if path.suffix == ".safetensors":
                from safetensors import safe_open

                opened: Any = safe_open(path, framework="pt")
                with opened as tensors:
                    return list(tensors.keys())
            return list(_load(path, "meta"))

    def _shard(self, name: str) -> Path:
        if path := checkpoint_file(self._path_or_id, name, self._revision):
            return path
        raise ModelLoadError(f"{self._path_or_id!r} lacks {name!r}: download the whole model")


def checkpoint_file(path_or_id: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a model, downloaded where it is on the hub; None if it has none.

    Raises:
        ModelLoadError: the hub cannot be reached.
    """
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from transformers.utils import hub

    files = cast(Any, hub)
    try:
        found: str | None = files.cached_file(
            path_or_id, name, revision=revision, _raise_exceptions_for_missing_entries=False
        )
    except OSError as error:
        raise ModelLoadError(
            f"cannot get {name} of {path_or_id!r}: {error}; give a folder, or the id of a model on "
            "the hub that can be reached"
        ) from error
    return None if found is None else Path(found)


@contextmanager
def _readable(path: Path) -> Generator[None]:
    """Say which file cannot be read."""
    try:
        yield
    except Exception as error:  # safetensors and torch raise types of their own
        raise ModelLoadError(
            f"{str(path)!r} is not a readable weights file ({first_line(error)}): download it "
            "again, or save it as model.safetensors"
        ) from error


def _load(path: Path, device: str) -> dict[str, Tensor]:
    """The tensors in a file of torch, of which nothing else is unpickled.

    Files are mapped into memory, but those of torch before 1.6, and those that are still written
    with `_use_new_zipfile_serialization=False`, cannot be: they are read.
    """
    import torch

    mapped = zipfile.is_zipfile(path) and device == "cpu"
    return torch.load(path, map_location=device, weights_only=True, mmap=mapped)
