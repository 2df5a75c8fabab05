"""Labelled solutions that a small model can learn in seconds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

NAMES = ["Ben", "Mia", "Noah", "Grace", "Ella", "Liam"]
THINGS = ["apples", "cookies", "coins", "birds", "shells", "stamps"]


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Solutions whose right steps add and whose wrong step takes away; the last may be wrong."""
    draw, found = random.Random(seed), list[dict[str, Any]]()
    for number in range(count):
        name, thing = draw.choice(NAMES), draw.choice(THINGS)
        other = draw.choice(NAMES)
        asked = f"{name} counts 55 {thing}. Then {other} gets {draw.choice(THINGS)} {number % 7}."
        steps, labels = list[str](), list[bool]()
        for _ in range(draw.randint(1, 4)):
            right = draw.random() < 0.7
            a, b = draw.randint(2, 9), draw.randint(2, 9)
            steps.append(f"Adding {a} gives {a} {thing}." if right else f"So {b} are left.")
            labels.append(right and (not labels or labels[-1]))
        found.append({"prompt": asked, "completions": steps, "labels": labels, "id": str(number)})
    return found


def write_folder(folder: Path, *, train: int = 120, held_out: int = 40, **about: Any) -> Path:
    """A folder as rsd prm label leaves it."""
    folder.mkdir(parents=True)
    for name, own in (("train", rows(train, 1)), ("validation", rows(held_out, 2))):
        for row in own:
            row["prompt"] = f"{'Each' if name == 'train' else 'The'} {row['prompt']}"
        lines = "".join(f"{json.dumps(row)}\n" for row in own)
        (folder / f"{name}.jsonl").write_text(lines)
    (folder / "labels.json").write_text(json.dumps({"boundary": "separator"} | about))
    return folder
