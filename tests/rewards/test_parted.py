from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.cost import ModelShape
from rsdecode.core.requests import Score, Scored
from rsdecode.core.types import Context, Message, Segment
from rsdecode.rewards.parted import PartedReward

CONTEXT = Context((Message("user", "1 + 2?"),))


class Judge:
    def __init__(self, value: float, shape: ModelShape | None = None) -> None:
        self.value, self.shape = value, shape
        self.asked: list[list[str]] = []
        self.told: list[str] = []

    async def score(self, requests: Sequence[Score]) -> list[Scored]:
        self.asked.append([request.steps[0].text for request in requests])
        return [Scored((self.value,)) for _ in requests]

    def end(self, session: str) -> None:
        self.told.append(f"end {session}")

    def clear(self) -> None:
        self.told.append("clear")

    def close(self) -> None:
        self.told.append("close")

    def describe(self) -> dict[str, str]:
        return {"kind": str(self.value)}


async def test_each_judge_is_asked_about_its_own_in_one_batch() -> None:
    answers, thoughts = Judge(0.9), Judge(0.4)
    reward = PartedReward(answers, thoughts)
    asked = [
        Score(CONTEXT, (Segment(text),), thoughts=text.startswith("hm"))
        for text in ("hm 1", "so 1", "hm 2", "so 2")
    ]
    replies = await reward.score(asked)
    assert [reply.rewards[0] for reply in replies if isinstance(reply, Scored)] == [
        0.4, 0.9, 0.4, 0.9
    ]  # fmt: skip
    assert answers.asked == [["so 1", "so 2"]]
    assert thoughts.asked == [["hm 1", "hm 2"]]
    await reward.score(asked[1:2])
    assert len(thoughts.asked) == 1, "nobody is asked about nothing"


def test_both_are_told_what_concerns_their_caches() -> None:
    answers, thoughts = Judge(0.9), Judge(0.4)
    reward = PartedReward(answers, thoughts)
    reward.end("s")
    reward.clear()
    reward.close()
    assert answers.told == thoughts.told == ["end s", "clear", "close"]
    assert reward.describe() == {"kind": "0.9", "thoughts kind": "0.4"}
    assert not reward.reads_draft
    assert reward.notes == (
        "the reward's two models are of different or unknown size: FLOPs are not told",
    )


def test_flops_are_told_of_one_size_alone() -> None:
    alike = PartedReward(Judge(1.0, ModelShape(5)), Judge(1.0, ModelShape(5)))
    assert alike.shape == ModelShape(5)
    assert alike.notes == ()
    assert PartedReward(Judge(1.0, ModelShape(5)), Judge(1.0, ModelShape(9))).shape is None
