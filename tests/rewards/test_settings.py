r"""Mark, separator and signs: given, told by the checkpoint, or asked for.

`trl.bin` is the training_args.bin of TRL 1.13's PRMTrainer, run for two steps on a tiny model with
`step_separator="\n\n"`; nothing in it is changed.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from rsdecode.cli.trials import try_reward
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.rewards import load_reward_model
from rsdecode.rewards.detect import RewardKind
from rsdecode.rewards.settings import SETTINGS, USED, RewardSettings
from tests.rewards import tiny

TRL = Path(__file__).parent / "data" / "trl.bin"
SEPARATORS = ["\n\n", "\n\n\n", "<|im_end|>", ";"]


def described(path: Path, kind: str | None = None, **settings: str) -> dict[str, str]:
    reward = load_reward_model(str(path), tiny.OPTIONS, kind, RewardSettings(**settings))
    reward.close()
    return reward.describe()


def encode(text: str) -> list[int]:
    return tiny.tokenizer().encode(text, add_special_tokens=False)


async def scored(path: Path, kind: str | None = None, **settings: str) -> list[float]:
    reward = load_reward_model(str(path), tiny.OPTIONS, kind, RewardSettings(**settings))
    [[first]] = tiny.rewards(await reward.score([tiny.request("2 + 2?", [], ["It is 4.\n\n"])]))
    [[again]] = tiny.rewards(await reward.score([tiny.request("2 + 2?", [], ["It is 4."])]))
    reward.close()
    assert first == pytest.approx(again, abs=1e-5)
    return [first]


def read(model: Any, *pieces: str) -> torch.Tensor:
    ids = [token for piece in pieces for token in encode(piece)]
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("separator", SEPARATORS)
async def test_a_token_classifier_is_read_at_the_separator_that_is_given(tmp_path, separator):
    path, model = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    logits = read(model, "<bos>", "2 + 2?", "It is 4.", separator)
    for good, column in (("LABEL_0", 0), ("LABEL_1", 1)):
        [reward] = await scored(path, separator=separator, good=good)
        assert reward == pytest.approx(logits.softmax(-1)[column].item(), abs=1e-4)


async def test_the_training_arguments_that_trl_leaves_tell_separator_and_label(tmp_path):
    path, model = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    shutil.copy(TRL, path / "training_args.bin")
    [reward] = await scored(path)
    logits = read(model, "<bos>", "2 + 2?", "It is 4.", "\n\n")
    assert reward == pytest.approx(logits.softmax(-1)[1].item(), abs=1e-4)
    [token] = encode("\n\n")
    assert described(path)["step mark"] == rf"'\n\n' (id {token})"
    assert described(path, separator="\n")["step mark"].startswith(r"'\n' ")


def test_a_classifier_that_does_not_tell_its_separator_is_refused(tmp_path):
    path, _ = tiny.save_classifier(tmp_path, "token", rsd_reward={"good": "LABEL_1"})
    with pytest.raises(ModelLoadError, match=r"--reward-separator \(reward.separator"):
        described(path)


def test_a_classifier_that_does_not_tell_its_labels_is_refused(tmp_path):
    path, _ = tiny.save_classifier(tmp_path / "a", "token", rsd_reward={"separator": "\n"})
    with pytest.raises(ModelLoadError, match="--reward-good LABEL_1"):
        described(path)
    path, _ = tiny.save_classifier(tmp_path / "b", "sequence", rsd_reward=None)
    with pytest.raises(ModelLoadError, match="--reward-good LABEL_1"):
        described(path)
    assert "LABEL_0 (id 0" in described(path, good="LABEL_0")["label of right steps"]


class Trap:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_in_the_training_arguments_is_run(tmp_path, capsys):
    path, _ = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    with zipfile.ZipFile(path / "training_args.bin", "w") as archive:
        archive.writestr("training_args/data.pkl", pickle.dumps({"PRMConfig": Trap()}))
    with pytest.raises(ModelLoadError, match="--reward-separator"):
        described(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_training_arguments_that_cannot_be_read_tell_nothing(tmp_path, content):
    path, _ = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    (path / "training_args.bin").write_bytes(content)
    with pytest.raises(ModelLoadError, match="--reward-separator"):
        described(path)


@pytest.mark.parametrize(
    "keys", [{"step_separator": "\n\n"}, {"rsd_reward": {"separator": "\n\n"}}]
)
def test_config_json_may_tell(tmp_path, keys):
    path, _ = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    config = json.loads((path / "config.json").read_text())
    config |= {"id2label": {"0": "good", "1": "bad"}, "label2id": {"good": 0, "bad": 1}} | keys
    (path / "config.json").write_text(json.dumps(config))
    told = described(path)
    assert told["step mark"].startswith(r"'\n\n' (id ")
    assert told["label of right steps"] == "good (id 0 of 2 labels)"
    assert described(path, separator="\n")["step mark"].startswith(r"'\n' ")


@pytest.mark.parametrize(("good", "bad"), [("+", "-"), (" +", " -"), ("-", "+"), ("y", "n")])
async def test_plus_minus_pairs_signs_that_are_each_tokenised_alone(tmp_path, good, bad):
    path, model = tiny.save_causal(tmp_path)
    pair = encode(good) + encode(bad)
    assert len(pair) == 2
    [reward] = await scored(path, "plus-minus", good=good, bad=bad)
    logits = read(model, "<bos>2 + 2?", " Step 1: It is 4.", "ки")
    assert reward == pytest.approx(logits[pair].softmax(-1)[0].item(), abs=1e-4)
    told = described(path, "plus-minus", good=good, bad=bad)
    assert told["good sign"] == f"{good!r} (id {pair[0]})"
    assert told["bad sign"] == f"{bad!r} (id {pair[1]})"


@pytest.mark.parametrize("mark", ["\n\n\n\n\n", "<extra_0>", "."])
async def test_plus_minus_is_read_at_the_mark_that_is_given(tmp_path, mark):
    path, model = tiny.save_causal(tmp_path, tiny.tokenizer(shepherd=False))
    with pytest.raises(ModelLoadError, match="--reward-mark"):
        described(path, "plus-minus")
    [reward] = await scored(path, "plus-minus", mark=mark)
    logits = read(model, "<bos>2 + 2?", " Step 1: It is 4.", mark)
    pair = encode("+") + encode("-")
    assert reward == pytest.approx(logits[pair].softmax(-1)[0].item(), abs=1e-4)


async def test_plus_minus_chat_replies_with_the_good_sign(tmp_path):
    path, model = tiny.save_causal(tmp_path)
    reward = load_reward_model(
        str(path), tiny.OPTIONS, "plus-minus-chat", RewardSettings(good="y", bad="n")
    )
    [[_, second]] = tiny.rewards(await reward.score([tiny.request("2 + 2?", [], ["4.", "So."])]))
    reward.close()
    text = (
        "<|im_start|>user\n2 + 2? 4.<|im_end|>\n<|im_start|>assistant\ny<|im_end|>\n"
        "<|im_start|>user\nSo.<|im_end|>\n<|im_start|>assistant\n"
    )
    pair = encode("y") + encode("n")
    assert second == pytest.approx(read(model, text)[pair].softmax(-1)[0].item(), abs=1e-4)


def test_signs_that_are_no_single_token_or_the_same_are_errors(tmp_path):
    path, _ = tiny.save_causal(tmp_path)
    with pytest.raises(ModelLoadError, match=r"'good' is not a single token.*--reward-good"):
        described(path, "plus-minus", good="good")
    with pytest.raises(ConfigError, match="the same token"):
        described(path, "plus-minus", good="-")


@pytest.mark.parametrize("mark", ["\n\n", "\n\n\n", "<extra_0>"])
async def test_a_value_head_is_read_at_the_mark_that_is_given(tmp_path, mark):
    path, model, head = tiny.save_value_head(tmp_path)
    [reward] = await scored(path, mark=mark)
    ids = [*encode("<bos>2 + 2?\n"), *encode("It is 4."), *encode(mark)]
    with torch.no_grad():
        value = head(model(torch.tensor([ids])).last_hidden_state[0, -1]).sigmoid().item()
    assert reward == pytest.approx(value, abs=1e-4)


def test_a_value_head_of_a_language_model_must_name_its_mark(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"architectures": ["Qwen2ForCausalLM"]}))
    with pytest.raises(ModelLoadError, match=r"--reward-mark \(reward.mark"):
        described(path)
    assert described(path, mark="\n")["step mark"].startswith(r"'\n' ")


async def test_qwens_mark_and_label_may_be_others(tmp_path):
    path, model, head = tiny.save_qwen_prm(tmp_path)
    [usual] = await scored(path)
    [inverted] = await scored(path, good="LABEL_0")
    assert usual + inverted == pytest.approx(1.0, abs=1e-5)
    [reward] = await scored(path, mark="<|im_start|>")
    reading = load_reward_model(str(path), tiny.OPTIONS, None, RewardSettings("<|im_start|>"))
    form = reading.format
    reading.close()
    ids = (*form.prompt_ids(tiny.request("2 + 2?", [], []).context.messages),)
    ids += form.step_ids("It is 4.", 0)
    assert ids[-1] == encode("<|im_start|>")[0]
    with torch.no_grad():
        logits = head(model(torch.tensor([ids])).last_hidden_state[0, -1])
    assert reward == pytest.approx(logits.softmax(-1)[1].item(), abs=1e-4)


KINDS: dict[RewardKind, Any] = {
    RewardKind.VALUE_HEAD: tiny.save_value_head,
    RewardKind.QWEN_PRM: tiny.save_qwen_prm,
    RewardKind.TOKEN_CLASSIFIER: lambda folder: tiny.save_classifier(folder, "token"),
    RewardKind.PURE: lambda folder: tiny.save_classifier(folder, "token", rsd_reward=None),
    RewardKind.OUTCOME: lambda folder: tiny.save_classifier(folder, "sequence"),
    RewardKind.PLUS_MINUS: tiny.save_causal,
    RewardKind.PLUS_MINUS_CHAT: tiny.save_causal,
    RewardKind.PLUS_MINUS_RAW: tiny.save_causal,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_setting_that_the_kind_does_not_read_is_an_error_that_names_the_kind(kind, tmp_path):
    path = KINDS[kind](tmp_path)[0]
    for setting in sorted(set(SETTINGS) - set(USED[kind])):
        with pytest.raises(ConfigError, match=rf"--reward-{setting}\) has no effect on a {kind} "):
            described(path, kind, **{setting: "x"})


async def test_a_setting_against_what_the_checkpoint_tells_is_used_and_doctor_warns(tmp_path):
    path, _ = tiny.save_classifier(tmp_path, "token", rsd_reward=None)
    shutil.copy(TRL, path / "training_args.bin")
    fine = load_reward_model(str(path), tiny.OPTIONS, None, RewardSettings(separator="\n\n"))
    other = load_reward_model(str(path), tiny.OPTIONS, None, RewardSettings(separator="\n"))
    assert fine.warnings == ()
    for reward, warned in ((fine, False), (other, True)):
        told = (await try_reward(reward)).warnings
        against = " ".join(line for line in told if "the checkpoint tells" in line)
        assert (r"'\n' is set, but the checkpoint tells '\n\n'" in against) == warned
        reward.close()
