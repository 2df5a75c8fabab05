"""Single tensors of a checkpoint: heads that no Hugging Face class loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsdecode.core.errors import ModelLoadError

if TYPE_CHECKING:
    from torch import Tensor

_FILES = ("model.safetensors", "pytorch_model.bin")


class Checkpoint:
    """The weights in a folder or on the Hugging Face hub.

    Raises:
        ModelLoadError: there are none, or they cannot be read.
    """

    def __init__(self, path_or_id: str, revision: str | None = None) -> None:
        self._path_or_id = path_or_id
        self._revision = revision
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

    def read(self, suffix: str) -> Tensor:
        """The tensor that `find` names."""
        name = self.find(suffix)
        path = self._files[name]
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            opened: Any = safe_open(path, framework="pt")
            with opened as tensors:
                return tensors.get_tensor(name)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)[name]

    def _find(self) -> dict[str, Path]:
        """Each tensor's name, and the file that holds it."""
        for name in _FILES:
            if index := self._file(f"{name}.index.json"):
                weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
                shards = {shard: self._shard(shard) for shard in set(weight_map.values())}
                return {tensor: shards[shard] for tensor, shard in weight_map.items()}
            if path := self._file(name):
                return dict.fromkeys(self._names(path), path)
        raise ModelLoadError(
            f"{self._path_or_id!r} has no weights ({' or '.join(_FILES)}): download the whole model"
        )

    def _names(self, path: Path) -> list[str]:
        try:
            if path.suffix == ".safetensors":
                from safetensors import safe_open

                opened: Any = safe_open(path, framework="pt")
                with opened as tensors:
                    return list(tensors.keys())
            import torch

            return list(torch.load(path, map_location="meta", weights_only=True))
        except Exception as error:  # safetensors and torch raise types of their own
            raise ModelLoadError(
                f"{str(path)!r} is not a readable weights file ({error}): download it again"
            ) from error

    def _shard(self, name: str) -> Path:
        if path := self._file(name):
            return path
        raise ModelLoadError(f"{self._path_or_id!r} lacks {name!r}: download the whole model")

    def _file(self, name: str) -> Path | None:
        """A file of the model, downloaded where it is on the hub; None if it has none."""
        folder = Path(self._path_or_id)
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        from transformers.utils import hub

        files = cast(Any, hub)
        try:
            found: str | None = files.cached_file(
                self._path_or_id,
                name,
                revision=self._revision,
                _raise_exceptions_for_missing_entries=False,
            )
        except OSError as error:
            raise ModelLoadError(
                f"cannot get {name} of {self._path_or_id!r}: {error}; give a folder, or the id of "
                "a model on the hub that can be reached"
            ) from error
        return None if found is None else Path(found)
