"""GGUF files on llama.cpp's own engine, in a process of its own (`gguf:FILE`).

`gguf_file.py` reads a file's head and `settings.py` decides how it is served; `server.py` starts
the process, whose program is `serve.py`, and watches it as vLLM's are. `model.py` is the
`LanguageModel`: by way of `connection.py` it renders contexts (`words.py`), picks a slot
(`places.py`) and asks, and it puts the step together (`assembly.py`) from what the reply tells
(`replies.py`) and the tokens stand for (`pieces.py`). Judges ask which token comes next
(`choosing.py`), gates how likely a text is (`walking.py`), reward heads for the hidden states of
tokens (`embedding.py`).
"""

from __future__ import annotations

from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.llama_cpp.model import LlamaCppModel, load_llama_cpp, server_of
from rsdecode.backends.llama_cpp.settings import LlamaCppOptions, usable_cores

__all__ = [
    "Connection",
    "LlamaCppModel",
    "LlamaCppOptions",
    "load_llama_cpp",
    "server_of",
    "usable_cores",
]
