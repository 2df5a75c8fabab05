"""`rsd prm`: reward models of one's own."""

from __future__ import annotations

from rsdecode.cli.commands import CommandEntry

COMMANDS = {
    "label": CommandEntry(
        "prm.label", "Sample solutions and label their steps: data to train a reward model on."
    ),
    "train": CommandEntry("prm.train", "Train a process reward model on labelled steps."),
    "test": CommandEntry("prm.test", "Measure reward models on labelled steps, side by side."),
}
