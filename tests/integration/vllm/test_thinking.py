"""Thoughts behind a real vLLM with a reasoning parser, with and without a tokenizer on our side.

The checkpoint is a small random Qwen3 over the embedded family's vocabulary, with marks of thoughts
and a template that opens them: it thinks on until somebody ends it.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.scripted import ScriptedReward
from rsdecode.backends.transformers.model import load_model
from rsdecode.config import load_config
from rsdecode.config.build import build_models
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import LanguageModel, Models
from rsdecode.core.requests import Begin, Begun
from rsdecode.core.thought_steps import parse_thought_rule
from rsdecode.core.types import FinishReason, Message, Problem, Role, Trajectory
from rsdecode.methods import RSD, Method, Single
from rsdecode.methods.thinking import Thinking
from rsdecode.models.abacus import model_path, problems
from rsdecode.session.drive import advance
from rsdecode.text.pretrained import load_tokenizer

pytestmark = pytest.mark.integration
ARGUMENTS = ["--reasoning-parser", "qwen3"]
CLOSING = "\n</think>\n\n"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set text = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ text }}{{ eos_token }}{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<think>\n{% endif %}"
)
"""By the rules of Qwen3's thinking models: thoughts are opened here, and cut out of replies."""
LIMITS = Limits(max_steps=12, max_step_tokens=6, max_tokens=40)
THINKING = Thinking(budget=10, judged=False, alone=True, rule=parse_thought_rule("paragraphs:0"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    place = tmp_path_factory.mktemp("thinking") / "model"
    shutil.copytree(model_path("target"), place)
    for weights in place.glob("*.safetensors"):
        weights.unlink()
    tokenizer = json.loads((place / "tokenizer.json").read_text())
    first = max(token["id"] for token in tokenizer["added_tokens"]) + 1
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    for id, mark in enumerate(("<think>", "</think>"), first):
        tokenizer["added_tokens"].append({"id": id, "content": mark, "special": False, **plain})
    (place / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = json.loads((place / "tokenizer_config.json").read_text())
    del settings["auto_map"]  # names no class, which Qwen3's loading does not expect
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    (place / "chat_template.jinja").write_text(TEMPLATE)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=first + 2,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=1024,
        initializer_range=0.3,
        eos_token_id=load_tokenizer(str(place)).eos_token_id,
        bos_token_id=load_tokenizer(str(place)).bos_token_id,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    overrides: dict[str, Any] = {
        "method": "target",
        "target": f"vllm:{folder}",
        "engine.dtype": "float32",
        "prompt.system": None,
        "vllm.target.arguments": ARGUMENTS,
    }
    models = build_models(load_config(overrides=overrides), [Single(Role.TARGET)])
    told: Any = models.target
    [address] = re.findall(r"http://\S+/v1", told.describe()["servers"])
    yield address
    models.close()


@pytest.fixture
def gateway(url: str) -> Iterator[str]:
    """A proxy that lets `/v1/` through without the completions: a chat endpoint alone."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.forward(None)

        def do_POST(self) -> None:
            self.forward(self.rfile.read(int(self.headers["content-length"])))

        def forward(self, body: bytes | None) -> None:
            if not self.path.startswith("/v1/") or self.path == "/v1/completions":
                self.send_error(404)
                return
            place = url.removesuffix("/v1") + self.path
            request = urllib.request.Request(place, body, {"content-type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:
                    status, told = reply.status, reply.read()
            except urllib.error.HTTPError as error:
                status, told = error.code, error.read()
            self.send_response(status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def served(url: str, folder: Path | None = None) -> ServedModel:
    tokenizer = None if folder is None else load_tokenizer(str(folder))
    return ServedModel(Transport(Address((url,), "target"), HttpSettings()), tokenizer=tokenizer)


async def solve(method: Method, model: LanguageModel) -> Trajectory:
    [problem] = problems("test", limit=1)
    reward = ScriptedReward(lambda request: [0.9] * len(request.steps))
    asked = Problem("0", (Message("user", problem.question),))
    return await advance(method(asked), Models(model, model, reward))


METHODS: dict[str, Method] = {
    "rsd": RSD(limits=LIMITS, thinking=THINKING),
    "target": Single(Role.TARGET, limits=LIMITS, thinking=THINKING),
}


async def test_what_is_known_of_a_reply(url: str, folder: Path) -> None:
    """With the tokenizer its closing too; without it, the prompt that the server renders."""
    asked = [Begin(Role.TARGET, (Message("user", "How many?"),))]
    by_ids, by_text = served(url, folder), served(url)
    assert await by_ids.begin(asked) == [Begun("<think>", thinks=True, closing=CLOSING)]
    assert await by_text.begin(asked) == [Begun("<think>")]
    by_ids.close()
    by_text.close()


@pytest.mark.parametrize("name", METHODS)
async def test_thoughts_are_continued_and_closed(name: str, url: str, folder: Path) -> None:
    here = load_model(str(folder))
    by_ids, by_text = served(url, folder), served(url)
    expected = await solve(METHODS[name], here)
    for model in (by_ids, by_text):
        found = await solve(METHODS[name], model)
        assert found.error is None
        closing = [step for step in found.steps if "</think>" in step.text]
        assert len(closing) == 1
        assert found.text.count("</think>") == 1
        thoughts, answer = found.text.split("</think>\n\n")
        assert thoughts.endswith("\n")
        assert answer, "the answer follows the thoughts, whose end the template does not cut off"
        assert found.thoughts.opened
        if model is by_ids:
            assert found.text == expected.text
            assert [s.thought for s in found.steps] == [s.thought for s in expected.steps]
        if name == "rsd":
            assert closing[0].finish_reason is FinishReason.BUDGET
            tokens = sum(step.token_count for step in found.steps if step.thought)
            assert tokens == THINKING.budget
    for model in (here, by_ids, by_text):
        model.close()


async def test_a_chat_endpoint_keeps_to_the_budget_itself(gateway: str, folder: Path) -> None:
    """It cannot continue its thoughts, as a parser takes them out; it is told the budget."""
    model = served(gateway)
    single = replace(METHODS["target"], thinking=replace(THINKING, opened=True))  # type: ignore[type-var]
    found = await solve(single, model)
    model.close()
    assert found.error is None
    thoughts, closed, answer = found.text.partition("</think>")
    assert closed
    assert answer.strip()
    here = load_model(str(folder))
    expected = "".join(s.text for s in (await solve(METHODS["rsd"], here)).steps[:2])
    here.close()
    written = thoughts.removeprefix("<think>").strip()
    assert written
    assert expected.strip().startswith(written), "no more than what ten tokens say"
