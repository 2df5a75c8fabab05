"""LangChain's ChatOpenAI, unchanged: whole, streamed and in a batch. Prints JSON."""

from __future__ import annotations

import json
import sys

from langchain_openai import ChatOpenAI

base_url, question = sys.argv[1:]
model = ChatOpenAI(model="rsd", base_url=base_url, api_key="none", seed=0, temperature=0)
whole = model.invoke(question)
chunks = list(model.stream(question))
usage = next((c.usage_metadata for c in chunks if getattr(c, "usage_metadata", None)), None)
batch = model.batch([question, question])
print(
    json.dumps(
        {
            "whole": whole.content,
            "finish_reason": whole.response_metadata["finish_reason"],
            "output_tokens": whole.usage_metadata["output_tokens"],
            "streamed": "".join(chunk.content for chunk in chunks),
            "chunks": len(chunks),
            "streamed_usage": usage,
            "batch": [message.content for message in batch],
        }
    )
)
