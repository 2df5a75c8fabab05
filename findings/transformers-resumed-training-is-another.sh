#!/usr/bin/env bash
# transformers 5.24.0 with accelerate 1.15.0, torch 2.13.0, Python 3.11.
#
# A training of 30 updates (two and a half epochs of 12 rows) is resumed by Trainer.train(resume_from_checkpoint=...).
#
# From the checkpoint in the middle of the second epoch, train_sampling_strategy="group_by_length" continues with rows in
# another order than the training that was never stopped: its sampler draws from the global random state, which is not
# what it was when the epoch began. In that epoch some rows are seen twice and others never. With "random" the order
# is kept.
#
# From the checkpoint of the last update, a training that had ended does one update more: max_steps is compared after an
# update, and where it is not the end of an epoch nothing stops it before.
#
# Seen:
#   random: the same rows after it: True; rows of 12 seen in the epoch: 12; updates after resuming from the last of 30: 31
#   group_by_length: the same rows after it: False; rows of 12 seen in the epoch: 11; updates after resuming from the last of 30: 31
#
# Handled in src/rsdecode/training/trainer.py. Exits 1 if that has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 transformers==5.24.0 accelerate==1.15.0

cat > "$work/resume.py" <<'PY'
import json, tempfile
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

seen = []


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, input_ids, row):
        if self.training:
            seen.append(int(row[0]))
        return {"loss": self.layer(input_ids.float().mean(1, keepdim=True)).square().mean()}


def collate(rows):
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in rows]
    return {"input_ids": torch.tensor(ids), "row": torch.tensor([row["row"] for row in rows])}


def run(folder, strategy, resume=None):
    seen.clear()
    arguments = TrainingArguments(
        output_dir=folder, max_steps=30, per_device_train_batch_size=1, save_steps=15, seed=1,
        data_seed=1, use_cpu=True, report_to=[], disable_tqdm=True, remove_unused_columns=False,
        train_sampling_strategy=strategy, logging_strategy="no",
    )
    rows = [{"input_ids": [1] * (1 + n % 5), "row": n} for n in range(12)]
    torch.manual_seed(0)
    trainer = Trainer(model=Linear(), args=arguments, train_dataset=rows, data_collator=collate)
    trainer.train(resume_from_checkpoint=resume)
    return list(seen), trainer.state.global_step


found = {}
for strategy in ("random", "group_by_length"):
    with tempfile.TemporaryDirectory() as folder:
        whole, _ = run(folder, strategy)
        rest, _ = run(folder, strategy, f"{folder}/checkpoint-15")
        _, steps = run(folder, strategy, f"{folder}/checkpoint-30")
        both = whole[12:15] + rest[:9]
        found[strategy] = (rest == whole[15:], len(set(both)), steps)
        print(f"{strategy}: the same rows after it: {rest == whole[15:]}; rows of 12 seen in the epoch: "
              f"{len(set(both))}; updates after resuming from the last of 30: {steps}")
expected = {"random": (True, True, 31), "group_by_length": (False, False, 31)}
assert {name: (same, rows == 12, steps) for name, (same, rows, steps) in found.items()} == expected
PY

"$work/venv/bin/python" "$work/resume.py" 2>/dev/null | grep updates
