"""Problems by the name of their data set: from the hub, from a file, or made up (abacus)."""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Container, Iterator
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, cast, get_args

from rsdecode.core.errors import ConfigError, InputError
from rsdecode.core.types import Message, Problem
from rsdecode.evals.datasets.catalogue import DATASETS, own_file
from rsdecode.evals.datasets.choices import lettered
from rsdecode.evals.datasets.entry import Dataset, Item, RawQuestion
from rsdecode.evals.datasets.lines import file_digest, read_lines, read_object
from rsdecode.evals.grading.verdict import AnswerKind
from rsdecode.models.abacus import LEVELS, Split, problems

_SUFFIXES = (".jsonl", ".json")


def is_dataset(name: str) -> bool:
    """Whether a name stands for a known data set rather than for a file."""
    return name.startswith("abacus:") or name.partition("@")[0] in DATASETS


def dataset_named(name: str) -> Dataset:
    """The entry of a data set: `gsm8k`, `gsm8k@PATH.jsonl`, `PATH.jsonl`, `abacus:test`.

    Raises:
        ConfigError: there is no such data set.
    """
    head, at, _ = name.partition("@")
    if name.partition(":")[0] == "abacus":
        return DATASETS["abacus"]
    if head in DATASETS and (at or head == name):
        return DATASETS[head]
    if name.endswith(_SUFFIXES) and not at:
        return own_file(name)
    close = get_close_matches(head, DATASETS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    known = ", ".join(entry for entry in DATASETS if entry != "abacus")
    raise ConfigError(
        f"unknown data set {name!r}{hint}: use {known}, one of them with a file "
        "(gsm8k@PATH.jsonl), a file of your own (PATH.jsonl) or abacus:test"
    )


def load_dataset(
    name: str, limit: int | None = None, *, shuffle_seed: int | None = None
) -> list[Problem]:
    """The problems of a data set, always the same ones in the same order.

    Args:
        name: `gsm8k` (from the Hugging Face hub), `gsm8k@PATH.jsonl`, `PATH.jsonl`, or
            `abacus:SPLIT` with levels of difficulty, such as `abacus:test:2,3`.
        limit: how many at most, from the first one on; None for all.
        shuffle_seed: with the problem's id, what the order of its choices is drawn from.

    Raises:
        ConfigError: there is no such data set, it cannot be had, a line of it is unusable, or it
            holds no problems.
    """
    entry = dataset_named(name)
    if entry.name == "abacus":
        return _abacus(name, limit)
    path = _path(name, entry)
    rows = _rows_of_hub(entry) if path is None else _rows_of_file(path)
    return _some(list(islice(_problems(entry, rows, shuffle_seed or 0), limit)), name, limit)


def load_shuffled(name: str, limit: int | None, seed: int) -> list[Problem]:
    """Problems of a data set in random order; of a file, only the lines that are needed are parsed.

    Args:
        name: as for `load_dataset`.
        limit: how many at most; None for all.
        seed: of their order, and of the order of choices.

    Raises:
        ConfigError: as `load_dataset`.
    """
    entry = dataset_named(name)
    path = _path(name, entry)
    if limit is None or path is None or entry.partial:
        problems = load_dataset(name, shuffle_seed=seed)
        if entry.name == "abacus" and limit is not None and limit > len(problems):
            problems = load_dataset(name, limit, shuffle_seed=seed)
        return random.Random(seed).sample(problems, len(problems))[:limit]
    count = sum(1 for _ in read_lines(path))
    order = random.Random(seed).sample(range(count), count)[:limit]
    places = sorted(order)
    found = _some(list(_problems(entry, _rows_of_file(path, set(places)), seed)), name, limit)
    by_place = dict(zip(places, found, strict=True))
    return [by_place[place] for place in order]


def dataset_digest(name: str, *, shuffle_seed: int | None = None) -> str:
    """Hex digits for all problems of a data set, whatever part of it is loaded.

    Of a file it is the content, read in one pass without parsing it: a million questions take less
    than a second and no memory. The problems of abacus follow from its name.

    Args:
        name: as for `load_dataset`.
        shuffle_seed: counts where the order of choices is drawn from it.

    Raises:
        ConfigError: as `load_dataset`.
    """
    entry = dataset_named(name)
    if entry.name == "abacus":
        return ""
    if path := _path(name, entry):
        content, choices = file_digest(path, b'"choices"')
        choices = choices or entry.answer_type is AnswerKind.CHOICE
        return f"{content}-{shuffle_seed or 0}" if choices else content
    found = hashlib.sha256()
    for problem in load_dataset(name, shuffle_seed=shuffle_seed):
        found.update(json.dumps([problem.id, problem.question, problem.answer]).encode() + b"\n")
    return found.hexdigest()


def _path(name: str, entry: Dataset) -> Path | None:
    """The local file that a name stands for."""
    if "@" in name:
        return Path(name.partition("@")[2])
    return Path(name) if entry.source is None and entry.name != "abacus" else None


def _problems(
    entry: Dataset, rows: Iterator[tuple[str, int, RawQuestion]], seed: int
) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for place, number, row in rows:
        try:
            item = entry.read(row)
            if item is None:
                continue
            id = _id(entry, item, number)
            if id in seen:
                raise InputError(f"the id {id!r} was given before, in {seen[id]}")
        except InputError as error:
            raise ConfigError(f"{place}: {error}") from None
        seen[id] = place
        question, answer = item.question, item.answer
        if item.wrong:
            question, answer = lettered(item, f"{seed} {id}")
        yield Problem(id, (*item.before, Message("user", question)), answer)


def _some(problems: list[Problem], name: str, limit: int | None) -> list[Problem]:
    """Problems, of which there must be some unless none is asked for."""
    if not problems and limit != 0:
        raise ConfigError(
            f'{name} holds no problems: a line is an object such as {{"question": ..., "answer": '
            "...}"
        )
    return problems


def _id(entry: Dataset, item: Item, number: int) -> str:
    """The row's own id or its number, with the data set's name; of one's own file without."""
    if entry.source is None:
        return item.id or str(number + 1)
    return f"{entry.name}-{item.id or number}"


def _rows_of_file(
    path: Path, places: Container[int] | None = None
) -> Iterator[tuple[str, int, RawQuestion]]:
    """Where each row stands, its number from 0, and the row; all of them, or those at `places`."""
    for at, (number, line) in enumerate(read_lines(path)):
        if places is not None and at not in places:
            continue
        place = f"{path}, line {number}"
        try:
            row = read_object(line)
        except InputError as error:
            raise ConfigError(f"{place}: {error}") from None
        yield place, number - 1, row


def _rows_of_hub(entry: Dataset) -> Iterator[tuple[str, int, RawQuestion]]:
    source = entry.source
    assert source is not None
    file = f"or give a local file: {entry.name}@PATH.jsonl"
    try:
        import datasets

        library: Any = datasets
        load, hide_bars = library.load_dataset, library.disable_progress_bars
    except (ImportError, AttributeError):  # or a folder that happens to be called datasets
        raise ConfigError(
            f"{entry.name} comes from the Hugging Face hub, which needs pip install "
            f"'rsdecode[data]'; {file}"
        ) from None
    if not sys.stderr.isatty():
        hide_bars()
    try:
        table = load(source.repo, source.config, split=source.split)
    except Exception as error:  # whatever the hub's client raises: the remedy is the same
        terms = f"accept its terms at https://huggingface.co/datasets/{source.repo} and log in "
        remedy = f"{terms}(hf auth login), " if source.gated else "check the network, "
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"cannot get {entry.name} ({source}) from the Hugging Face hub: {reason[:200]}; "
            f"{remedy}{file}"
        ) from error
    for number, row in enumerate(table):
        yield f"{source.repo}, row {number}", number, cast("RawQuestion", row)


def _abacus(name: str, limit: int | None) -> list[Problem]:
    _, _, rest = name.partition(":")
    split, _, wanted = rest.partition(":")
    levels = wanted.split(",") if wanted else [str(level) for level in LEVELS]
    known = {str(level) for level in LEVELS}
    if split not in get_args(Split) or not known.issuperset(levels):
        raise ConfigError(
            f"unknown data set {name!r}: use abacus:{'|'.join(get_args(Split))}, with levels "
            f"such as abacus:test:2,3 ({min(LEVELS)} to {max(LEVELS)})"
        )
    drawn = problems(cast("Split", split), levels=[int(level) for level in levels], limit=limit)
    return [Problem.ask(p.question, id=p.id, answer=p.answer) for p in drawn]
