"""A real server whose checkpoint does not list the token that ends its turns.

The checkpoint is the embedded target with another end of sequence, in each of the files that vLLM
reads it from.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.transformers.model import load_model
from rsdecode.config import load_config
from rsdecode.config.build import build_models
from rsdecode.core.protocols import LanguageModel
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import Context, FinishReason, Message, Role
from rsdecode.methods import Single
from rsdecode.models.abacus import model_path, problems
from rsdecode.text.pretrained import load_tokenizer

pytestmark = pytest.mark.integration
END, ANOTHER = "<|eos|>", "<|pad|>"


def unlisted(folder: Path) -> Path:
    """The embedded target; its template still ends turns with what its files no longer list."""
    copied = folder / "model"
    shutil.copytree(model_path("target"), copied)
    other = load_tokenizer(str(copied)).convert_tokens_to_ids(ANOTHER)
    for name, key, value in (
        ("config.json", "eos_token_id", other),
        ("generation_config.json", "eos_token_id", other),
        ("tokenizer_config.json", "eos_token", ANOTHER),
    ):
        place = copied / name
        place.write_text(json.dumps(json.loads(place.read_text()) | {key: value}))
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ eos_token }}", END))
    return copied


async def answers(model: LanguageModel) -> list[Generated]:
    asked = [
        Generate(Role.TARGET, Context((Message("user", p.question),)), 200, WHOLE_ANSWER)
        for p in problems("test", limit=8)
    ]
    replies = await model.generate(asked)
    assert all(isinstance(reply, Generated) for reply in replies), replies
    return [reply for reply in replies if isinstance(reply, Generated)]


def told(reply: Generated) -> tuple[str, FinishReason]:
    return reply.segment.text, reply.finish_reason


def test_answers_end_where_the_turn_ends(tmp_path: Path) -> None:
    """With the tokenizer known; without it the same server writes to the limit."""
    folder = unlisted(tmp_path)
    overrides: dict[str, Any] = {
        "method": "target",
        "target": f"vllm:{folder}",
        "engine.dtype": "float32",
        "prompt.system": None,
    }
    original = load_model(str(model_path("target")))
    models = build_models(load_config(overrides=overrides), [Single(Role.TARGET)])
    target: Any = models.target
    [url] = re.findall(r"http://\S+/v1", target.describe()["servers"])
    unaware = ServedModel(Transport(Address((url,), "target"), HttpSettings()))
    try:
        expected = asyncio.run(answers(original))
        found = asyncio.run(answers(target))
        without = asyncio.run(answers(unaware))
    finally:
        unaware.close()
        models.close()
        original.close()
    assert [told(reply) for reply in found] == [told(reply) for reply in expected]
    assert FinishReason.EOS in {reply.finish_reason for reply in found}
    assert {reply.finish_reason for reply in without} == {FinishReason.STEP_LIMIT}
