"""Models behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp and the like.

`model.py` is the `LanguageModel`. It renders contexts (`rendering.py`), asks in the server's
dialect (`dialects.py`; which one it speaks and what it can do is found out by `probe.py`) and puts
the step together (`writing.py`). `transport.py` carries every request: it picks the replica
(`replicas.py`), keeps to what the server can take (`limiter.py`) and tries again (`faults.py`).
"""

from __future__ import annotations

from rsdecode.backends.openai_http.address import Address, parse_address
from rsdecode.backends.openai_http.keys import api_key
from rsdecode.backends.openai_http.model import ServedModel
from rsdecode.backends.openai_http.settings import HttpSettings
from rsdecode.backends.openai_http.transport import Transport

__all__ = ["Address", "HttpSettings", "ServedModel", "Transport", "api_key", "parse_address"]
