"""GGUF files on llama.cpp's own engine, in a process of its own (`gguf:FILE`).

`gguf_file.py` reads a file's head and `settings.py` decides how it is served; `server.py` starts
the process, whose program is `serve.py`, and watches it as vLLM's are. `model.py` is the
`LanguageModel`: it renders contexts (`words.py`), picks a slot (`places.py`), asks, and puts the
step together (`assembly.py`) from what the tokens stand for (`pieces.py`).
"""

from __future__ import annotations

from rsdecode.backends.llama_cpp.model import LlamaCppModel, load_llama_cpp
from rsdecode.backends.llama_cpp.settings import LlamaCppOptions, usable_cores

__all__ = ["LlamaCppModel", "LlamaCppOptions", "load_llama_cpp", "usable_cores"]
