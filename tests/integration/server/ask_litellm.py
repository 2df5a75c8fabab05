"""LiteLLM, unchanged: whole and streamed. Prints JSON."""

from __future__ import annotations

import json
import sys

import litellm

base_url, question = sys.argv[1:]
asked = {
    "model": "openai/rsd",
    "api_base": base_url,
    "api_key": "none",
    "messages": [{"role": "user", "content": question}],
    "seed": 0,
    "temperature": 0,
}
whole = litellm.completion(**asked)
streamed = "".join(
    chunk.choices[0].delta.content or ""
    for chunk in litellm.completion(**asked, stream=True)
    if chunk.choices
)
print(
    json.dumps(
        {
            "whole": whole.choices[0].message.content,
            "finish_reason": whole.choices[0].finish_reason,
            "output_tokens": whole.usage.completion_tokens,
            "streamed": streamed,
        }
    )
)
