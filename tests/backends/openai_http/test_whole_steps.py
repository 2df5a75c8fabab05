"""A server stops at every empty line; a step with code in it takes several requests."""

from __future__ import annotations

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.segment import PARAGRAPH, parse_boundary
from rsdecode.core.types import Context, FinishReason, Message, Role
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.scripted_server import NAME, vllm

CODE = "## Step 1\n\nWe run:\n```python\na = 1\n\nb = 2\n\n\nprint(a + b)\n```\n\n"
ANSWER = f"{CODE}It prints \\boxed{{3}}."


def rest(question: str, role: str, written: int) -> str:
    """What follows the first `written` empty lines, as the scripted server counts them."""
    return "\n\n".join(ANSWER.split("\n\n")[written:])


def asked(boundary: str, limit: int = 512) -> Generate:
    context = Context((Message("user", "q"),))
    return Generate(Role.DRAFT, context, limit, parse_boundary(boundary))


async def written(request: Generate) -> tuple[Generated, int]:
    async with LocalServer(vllm("draft", rest)) as server:
        model = ServedModel(Transport(Address((server.url,), NAME), HttpSettings()))
        [reply] = await model.generate([request])
        model.close()
        asks = [body for path, body in server.requests if body.get("stop")]
    assert isinstance(reply, Generated)
    return reply, len(asks)


async def test_a_step_goes_on_where_the_server_stops_inside_code() -> None:
    reply, requests = await written(asked("separator"))
    assert (reply.segment.text, reply.finish_reason) == (CODE, FinishReason.STOP)
    assert reply.segment.text == PARAGRAPH.split(ANSWER)[0]
    assert reply.usage.calls == requests == CODE.count("\n\n")
    assert reply.usage.decoded_tokens == len(CODE.split())


async def test_a_separator_of_ones_own_ends_it_at_once() -> None:
    reply, requests = await written(asked("separator:\\n\\n"))
    assert (reply.segment.text, requests) == ("## Step 1\n\n", 1)


async def test_the_limit_of_a_step_holds_over_its_requests() -> None:
    reply, _ = await written(asked("separator", 7))
    assert reply.finish_reason is FinishReason.STEP_LIMIT
    assert CODE.startswith(reply.segment.text)
