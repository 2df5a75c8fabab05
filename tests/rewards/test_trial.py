"""Right against wrong steps: inverted labels, another separator, a context that is too small.

The reward models have the embedded one's backbone, so that they really know right from wrong.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.core.errors import RewardError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Failed, Scored
from rsdecode.core.types import Message, Usage
from rsdecode.models.abacus import model_path
from rsdecode.rewards import ArithmeticReward, load_reward_model
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.settings import RewardSettings
from rsdecode.rewards.token_classifier import SeparatorFormat
from rsdecode.rewards.trial import PAIRS, RewardTrial, context_warning, try_steps
from rsdecode.text.pretrained import load_tokenizer
from rsdecode.text.vocabulary import Vocabulary

OPTIONS = LoadOptions(device="cpu", slots=4)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""A token classifier over the embedded reward model's backbone.

    Its head is fitted so that label 1 is the right step after the separator "\n\n", and that it
    says nothing after "\n", as a head may that was never trained there.
    """
    folder = tmp_path_factory.mktemp("classifier")
    prm = model_path("prm")
    for file in prm.iterdir():
        if file.is_file() and file.suffix in (".json", ".jinja"):
            shutil.copy(file, folder / file.name)
    tensors = load_file(prm / "model.safetensors")
    del tensors["v_head.summary.weight"], tensors["v_head.summary.bias"]
    weight = _fitted(prm)
    tensors |= {"score.weight": torch.stack([-weight, weight]), "score.bias": torch.zeros(2)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["Qwen2ForTokenClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _fitted(prm: Path) -> torch.Tensor:
    """The weights [H] of label 1: 3 for right and -3 for wrong steps, both -3 where not trained."""
    backbone = AutoModel.from_pretrained(prm, dtype=torch.float32).eval()
    vocabulary = Vocabulary(load_tokenizer(str(prm)))
    hidden: list[torch.Tensor] = []
    wanted: list[float] = []
    for separator, good in (("\n\n", 3.0), ("\n", -3.0)):
        form = SeparatorFormat(vocabulary, separator)
        for pair in PAIRS:
            for step, value in ((pair.right, good), (pair.wrong, -3.0)):
                prompt = form.prompt_ids((Message("user", pair.question),))
                ids = torch.tensor([[*prompt, *form.step_ids(step, 0)]])
                with torch.no_grad():
                    hidden.append(backbone(ids).last_hidden_state[0, -1])
                wanted.append(value)
    return torch.linalg.lstsq(torch.stack(hidden), torch.tensor(wanted)[:, None]).solution[:, 0]


async def tried(path: Path, **settings: str) -> RewardTrial:
    reward = load_reward_model(str(path), OPTIONS, None, RewardSettings(**settings))
    trial = await try_steps(reward)
    reward.close()
    return trial


async def test_a_good_reward_model_gives_no_warning(classifier: Path) -> None:
    trial = await tried(classifier, separator="\n\n", good="LABEL_1")
    assert trial.warnings == ()
    assert trial.summary == "reward 0.998 for right steps, 0.002 for wrong ones"
    assert (await tried(model_path("prm"))).warnings == ()


async def test_inverted_labels_are_found(classifier: Path) -> None:
    trial = await tried(classifier, separator="\n\n", good="LABEL_0")
    [warning] = trial.warnings
    assert "wrong way round" in warning
    assert "--reward-good" in warning
    assert "20 - 8 = 13" in warning


async def test_a_wrong_separator_is_found(classifier: Path) -> None:
    trial = await tried(classifier, separator="\n", good="LABEL_1")
    [warning] = trial.warnings
    assert "hardly tells them apart" in warning
    assert "reward.separator" in warning


async def test_a_setting_against_what_the_checkpoint_tells_is_found(
    classifier: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(classifier, tmp_path / "told"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"step_separator": "\n\n"}))
    told = await tried(folder, good="LABEL_1")
    assert told.warnings == ()
    first, second = (await tried(folder, separator="\n", good="LABEL_1")).warnings
    assert "reward.separator" in first
    assert "checkpoint tells" in first
    assert "hardly tells" in second


async def test_a_reward_that_is_always_the_same_is_found() -> None:
    class Indifferent:
        async def score(self, requests):
            return [Scored((0.5,), Usage())] * len(requests)

    [warning] = (await try_steps(Indifferent())).warnings
    assert "wrong way round" in warning


async def test_rewards_without_a_network_are_tried_too() -> None:
    assert await try_steps(ArithmeticReward()) == RewardTrial(1.0, 0.0, ())


async def test_a_failure_is_raised() -> None:
    class Failing:
        async def score(self, requests):
            return [Failed(RewardError("no"))] * len(requests)

    with pytest.raises(RsdError, match="no"):
        await try_steps(Failing())


def scorer(context: int) -> PrefixScorer:
    options = LoadOptions(device="cpu", slots=1, max_context=context)
    reward = load_reward_model(str(model_path("prm")), options)
    reward.close()
    return reward


def test_a_context_that_cannot_hold_the_answers_is_found_with_what_to_set() -> None:
    warning = context_warning(scorer(400), Limits(max_steps=20, max_tokens=512))
    assert warning is not None
    assert "400 tokens" in warning
    assert "--max-tokens 124" in warning
    assert context_warning(scorer(400), Limits(max_steps=20, max_tokens=124)) is None


def test_a_reward_without_a_context_is_never_too_small() -> None:
    assert context_warning(ArithmeticReward(), Limits()) is None
