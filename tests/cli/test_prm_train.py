from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from rsdecode.models.abacus import model_path
from rsdecode.rewards.checkpoint import Checkpoint
from rsdecode.training.train_plan import read_training
from tests.training.labels import rows, write_folder

from .conftest import Rsd, run, spawn, write_lines

KILLS = int(os.environ.get("RSD_TEST_KILLS", "2"))
"""Of a training; each takes as long as the libraries take to start."""
FAST = ["--backbone", "abacus:draft", "--max-length", "128", "--device", "cpu"]


@pytest.mark.parametrize(
    ("layout", "part", "rate", "roc"),
    [
        ("value-head", "head", None, 0.85),
        ("value-head", "full", "2e-3", 0.95),
        ("token-classifier", "lora", "1e-2", 0.95),
    ],
)
def test_a_reward_model_is_trained_saved_and_read_as_trained(
    rsd: Rsd, tmp_path: Path, *, layout: str, part: str, rate: str | None, roc: float
) -> None:
    labels = write_folder(tmp_path / "labels")
    options = ["--layout", layout, "--part", part, "--mark", "\\n\\n"]
    if rate is not None:
        options += ["--rate", rate, "--epochs", "8"]
    if part == "full":
        options += ["--new-layers", "1"]
    result = rsd("prm", "train", "--labels", labels, "--out", "prm", *FAST, *options)
    assert result.code == 0, result.err
    about = read_training(tmp_path / "prm")
    assert about["measures"]["area_under_roc"]["estimate"] > roc
    assert about["difference_to_transformers"] < 1e-4
    settings = json.loads((tmp_path / "prm/config.json").read_text())
    name = "mark" if layout == "value-head" else "separator"
    assert settings["rsd_reward"] == {name: "\n\n"}
    assert settings["num_hidden_layers"] == 3 + (part == "full")
    card = (tmp_path / "prm/README.md").read_text()
    assert "area under ROC" in card
    assert "Trained by rsdecode" in card
    assert "<svg" in (tmp_path / "prm/loss.svg").read_text()
    doctor = rsd("doctor", "--reward", f"hf:{tmp_path}/prm")
    assert doctor.code == 0, doctor.err
    assert layout in doctor.out
    assert "'\\n\\n'" in doctor.out
    again = rsd("prm", "train", "--labels", labels, "--out", "prm", *FAST, *options)
    assert "prm is trained already" in again.err
    other = rsd("prm", "train", "--labels", labels, "--out", "prm", *FAST, *options, "--seed", 9)
    assert other.code == 2
    assert "holds a training with other labels, settings or backbone" in other.err


@pytest.mark.skipif("RSD_SLOW" not in os.environ, reason="compiles for a minute: set RSD_SLOW")
def test_a_compiled_backbone_learns_the_same(rsd: Rsd, tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "labels", train=40, held_out=10)
    options = ["--labels", labels, *FAST, "--mark", "\\n\\n", "--rate", "2e-3", "--token-weight", 1]
    for out, more in (("plain", []), ("compiled", ["--compile"])):
        result = rsd("prm", "train", *options, "--epochs", 2, "--out", out, *more)
        assert result.code == 0, result.err
    one, other = (load_file(tmp_path / out / "model.safetensors") for out in ("plain", "compiled"))
    assert one.keys() == other.keys()
    for name, weights in one.items():
        assert torch.allclose(weights, other[name], atol=2e-3), name


def test_the_head_alone_leaves_the_backbone_as_it_was(rsd: Rsd, tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "labels", train=40, held_out=10)
    result = rsd("prm", "train", "--labels", labels, "--out", "prm", *FAST, "--part", "head")
    assert result.code == 0, result.err
    trained, before = Checkpoint(str(tmp_path / "prm")), Checkpoint(str(model_path("draft")))
    for name in ("model.embed_tokens.weight", "model.layers.2.mlp.up_proj.weight"):
        assert torch.equal(trained.read(name).float(), before.read(name).float())
    kept = sorted(path.name for path in (tmp_path / "prm/features").iterdir())
    assert kept == ["held-out-00000.safetensors", "train-00000.safetensors"]
    assert AutoConfig.from_pretrained(tmp_path / "prm").architectures == ["Qwen2ForPrmModel"]


def test_new_layers_alone_leave_the_backbone_as_it_was_and_learn(rsd: Rsd, tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "labels")
    result = rsd(
        "prm", "train", "--labels", labels, "--out", "prm", *FAST, "--part", "layers",
        "--new-layers", "1", "--mark", "\\n\\n", "--rate", "1e-2", "--epochs", 8,
    )  # fmt: skip
    assert result.code == 0, result.err
    trained, before = Checkpoint(str(tmp_path / "prm")), Checkpoint(str(model_path("draft")))
    for name in ("embed_tokens", "layers.2.mlp.up_proj", "norm"):
        weights = trained.read(f"model.{name}.weight").float()
        assert torch.equal(weights, before.read(f"model.{name}.weight").float())
    assert trained.read("model.layers.3.self_attn.o_proj.weight").abs().max() > 0
    measures = read_training(tmp_path / "prm")["measures"]
    assert measures["area_under_roc"]["estimate"] > 0.95


def test_a_widened_backbone_learns_and_is_read_as_any_checkpoint(rsd: Rsd, tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "labels")
    result = rsd(
        "prm", "train", "--labels", labels, "--out", "prm", *FAST, "--backbone", "abacus:target",
        "--part", "layers", "--new-layers", "2", "--widen", "--mark", "\\n\\n", "--rate", "1e-2",
        "--batch", 4, "--epochs", 2, "--evaluations", 2,
    )  # fmt: skip
    assert result.code == 0, result.err
    about = read_training(tmp_path / "prm")
    assert about["measures"]["area_under_roc"]["estimate"] > 0.9
    assert about["difference_to_transformers"] < 1e-4
    config = AutoConfig.from_pretrained(tmp_path / "prm")
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (256, 4, 8)
    assert rsd("doctor", "--reward", f"hf:{tmp_path}/prm").code == 0
    further = ["prm", "train", "--labels", labels, "--device", "cpu"]
    backbone = ["--backbone", f"hf:{tmp_path}/prm", "--mark", "\\n\\n"]
    for number, (options, message) in enumerate(
        (
            (["--part", "full"], "was made with --widen, and would lose which token was read"),
            (
                ["--part", "layers", "--new-layers", 2, "--widen"],
                "is widened already: leave it out",
            ),
        )
    ):
        refused = rsd(*further, *backbone, "--out", f"further-{number}", *options)
        assert refused.code == 2, refused.err
        assert message in refused.err


def test_a_reward_model_is_trained_further_from_its_own_head(rsd: Rsd, tmp_path: Path) -> None:
    """Under a strong penalty the head stays as it was: it knows what the first labels told."""
    many = write_folder(tmp_path / "many")
    few = write_folder(tmp_path / "few", train=20, held_out=5)

    def train(backbone: str, labels: Path, out: str) -> str:
        result = rsd(
            "prm", "train", "--labels", labels, "--out", out, *FAST, "--backbone", backbone,
            "--part", "head", "--mark", "\\n\\n", "--no-calibrate",
        )  # fmt: skip
        assert result.code == 0, result.err
        return result.err

    train("abacus:draft", many, "first")
    told = train(f"hf:{tmp_path}/first", few, "further")
    assert "first is a reward model: its head is trained further" in told
    train("abacus:draft", few, "anew")
    further, anew = (read_training(tmp_path / out)["log"][0] for out in ("further", "anew"))
    assert further["penalty"] == anew["penalty"] == 10
    assert further["eval_loss"] < 0.8 * anew["eval_loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layout", "pair"], "--layout pair: use value-head or token-classifier"),
        (["--part", "tail"], "--part tail: use one of full, lora, layers, head"),
        (["--backbone", "http://localhost:1/v1#m"], "only weights in this process can be trained"),
        (["--optimiser", "sgd"], "--optimiser sgd: use adamw or muon"),
        (["--optimiser", "muon", "--part", "head"], "--optimiser muon is for --part full or"),
        (["--new-layers", "-1"], "--new-layers -1 must be at least 0"),
        (["--new-layers", "1", "--part", "head"], "--new-layers is for --part full or layers"),
        (["--part", "layers"], "--part layers trains new layers: give --new-layers"),
        (["--widen", "--new-layers", "2"], "--widen is for --part layers, not full"),
        (["--widen", "--new-layers", "2", "--part", "layers"], "is not of the form of Qwen 2"),
        (
            ["--widen", "--new-layers", "2", "--part", "layers", "--backbone", "abacus:prm"],
            "is a reward model, not a language model",
        ),
        (
            ["--widen", "--new-layers", "2", "--part", "layers", "--language-weight", "1"],
            "--widen is for --layout value-head without --language-weight",
        ),
        (["--compile", "--part", "head"], "--compile has no effect on --part head"),
        (["--corrupted", "-1"], "--corrupted -1 must be at least 0"),
        (["--epochs", "0"], "--epochs 0 must be above 0"),
        (["--part", "head", "--language-weight", "1"], "no effect on the head alone"),
        (["--part", "head", "--rate", "0.1"], "--rate has no effect on the head alone"),
        (["--boundary", "newline"], "cut at 'separator'; label again"),
        (["--max-length", "4"], "no labelled solution fits into 4 tokens"),
        (["--labels", "missing.jsonl"], "there is no such file"),
        (["--backbone", "hf:nowhere/at/all"], "does not exist"),
    ],
)
def test_bad_options_are_told_with_the_remedy(
    rsd: Rsd, tmp_path: Path, options: list[str], message: str
) -> None:
    labels = write_folder(tmp_path / "labels", train=6, held_out=2)
    result = rsd("prm", "train", "--labels", labels, "--out", "prm", *FAST, *options)
    assert result.code == 2, result.err
    assert message in result.err
    assert "Traceback" not in result.err


def test_options_may_be_in_a_file_and_those_of_the_command_line_win(
    rsd: Rsd, tmp_path: Path
) -> None:
    labels = write_folder(tmp_path / "labels", train=6, held_out=2)
    file = tmp_path / "train.yaml"
    file.write_text(f"labels: [{labels}]\nmax-length: 4\nbackbone: abacus:draft\nsoft: false\n")
    result = rsd("prm", "train", "--config", file, "--out", "prm")
    assert (result.code, "fits into 4 tokens" in result.err) == (2, True), result.err
    result = rsd("prm", "train", "--config", file, "--out", "other", "--max-length", "5")
    assert "fits into 5 tokens" in result.err
    for text, message in (
        ("epochz: 2", "rsd prm train has no 'epochz': did you mean 'epochs'?"),
        ("config: other.yaml", "has no 'config': "),
        ("labels: [x]\nepochs: two", "Missing option '--backbone'"),
        ("{labels: [x], backbone: b, out: o, epochs: two}", "Invalid value for '--epochs'"),
        ("- epochs", "expected keys and values"),
    ):
        file.write_text(text)
        result = rsd("prm", "train", "--config", file)
        assert (result.code, message in result.err) == (2, True), result.err


def test_labels_that_teach_nothing_are_refused(rsd: Rsd, tmp_path: Path) -> None:
    alike = [row | {"labels": [True] * len(row["labels"])} for row in rows(5)]
    write_lines(tmp_path / "right.jsonl", *alike)
    write_lines(tmp_path / "empty.jsonl", {"text": "no labels"})
    result = rsd("prm", "train", "--labels", "right.jsonl", "--out", "prm", *FAST)
    assert (result.code, "every step is right" in result.err) == (2, True)
    result = rsd("prm", "train", "--labels", "empty.jsonl", "--out", "prm", *FAST)
    assert (result.code, "there is no labelled solution in it" in result.err) == (2, True)
    lines = write_folder(tmp_path / "lines", train=4, held_out=1, boundary="newline")
    paragraphs = write_folder(tmp_path / "paragraphs", train=4, held_out=1)
    both = ["--labels", lines, "--labels", paragraphs]
    result = rsd("prm", "train", *both, "--out", "prm", *FAST)
    assert result.code == 2
    assert "cut at 'newline' and those of" in result.err


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    labels = write_folder(tmp_path / "labels")
    options = ["prm", "train", "--labels", labels, *FAST, "--epochs", "3", "--evaluations", "6",
               "--patience", "0", "--rate", "2e-3", "--batch", "4", "--optimiser", "muon",
               "--token-weight", "0.5"]  # fmt: skip
    whole = run(*options, "--out", "whole", cwd=tmp_path, timeout_s=300)
    assert whole.code == 0, whole.err
    draw, checkpoints = random.Random(5), tmp_path / "prm/checkpoints"
    for kill in range(KILLS):
        process = spawn(*options, "--out", "prm", cwd=tmp_path)
        _wait_for(checkpoints, f"checkpoint-{15 * (1 + kill * 4 // KILLS)}", process)
        time.sleep(draw.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = run(*options, "--out", "prm", cwd=tmp_path, timeout_s=300)
    assert last.code == 0, last.err
    assert "goes on from checkpoint-" in last.err
    ours, theirs = (load_file(tmp_path / f"{n}/model.safetensors") for n in ("prm", "whole"))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-5), name
    logs = [read_training(tmp_path / name)["log"] for name in ("prm", "whole")]
    losses = [[row["eval_loss"] for row in log if "eval_loss" in row] for log in logs]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # Killed between its last update and the end: no update is added.
    about = read_training(tmp_path / "prm") | {"done": False}
    (tmp_path / "prm/training.json").write_text(json.dumps(about))
    (tmp_path / "prm/model.safetensors").unlink()
    ended = run(*options, "--out", "prm", cwd=tmp_path, timeout_s=300)
    assert ended.code == 0, ended.err
    again = load_file(tmp_path / "prm/model.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in ours.items())


def _wait_for(folder: Path, name: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not (folder / name).exists() and process.poll() is None:
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def test_a_gguf_file_is_a_backbone_whose_weights_are_dequantised_once(
    rsd: Rsd, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    from tests.backends.llama_cpp import tiny_gguf

    file = tiny_gguf.write(tmp_path / "tiny.gguf")
    labels = write_folder(tmp_path / "labels", train=30, held_out=10)
    command = ["prm", "train", "--labels", labels, "--out", "prm", *FAST, "--max-length", "400",
               "--part", "head", "--backbone", f"gguf:{file}"]  # fmt: skip
    result = rsd(*command)
    assert result.code == 0, result.err
    assert "its weights are dequantised once" in result.err
    settings = json.loads((tmp_path / "prm/config.json").read_text())
    assert settings["architectures"] == ["LlamaForPrmModel"]
    assert read_training(tmp_path / "prm")["difference_to_transformers"] < 1e-4
    (tmp_path / "prm/training.json").write_text(
        json.dumps(read_training(tmp_path / "prm") | {"done": False})
    )
    again = rsd(*command)
    assert again.code == 0, again.err
    assert "dequantised once" not in again.err
    missing = rsd(*command[:-1], "gguf:none.gguf")
    assert (missing.code, "there is no such file" in missing.err) == (2, True)
