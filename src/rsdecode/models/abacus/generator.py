"""Draws abacus problems: pure functions of (split, level, index)."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import Literal, NamedTuple

from rsdecode.models.abacus.operations import OPERATIONS, Scene
from rsdecode.models.abacus.problem import AbacusProblem
from rsdecode.models.abacus.wording import DISTRACTORS, INTRODUCTIONS, NAMES, OBJECTS, QUESTIONS

Split = Literal["train", "validation", "test"]


class Level(NamedTuple):
    """How hard a level is; ranges include both ends."""

    operations: tuple[int, int]
    distractors: tuple[int, int]
    start: tuple[int, int]
    largest_value: int
    largest_operand: int
    long_products: bool


LEVELS: dict[int, Level] = {
    1: Level((1, 2), (0, 1), (10, 60), 200, 40, False),
    2: Level((2, 3), (0, 1), (20, 150), 500, 99, False),
    3: Level((3, 4), (0, 2), (30, 400), 1000, 200, True),
    4: Level((4, 6), (1, 2), (40, 600), 2000, 300, True),
    5: Level((6, 9), (1, 3), (50, 900), 3000, 500, True),
}


def split_of(skeleton: str) -> Split:
    """The split that a problem structure belongs to: 80 % train, 10 % validation, 10 % test.

    A structure belongs to exactly one split, so no test problem has the sequence of wordings of
    any training problem, whatever its names and numbers.
    """
    bucket = int.from_bytes(blake2b(skeleton.encode(), digest_size=8).digest()) % 10
    return "test" if bucket == 9 else "validation" if bucket == 8 else "train"


def generate(split: Split, level: int, index: int, *, seed: int = 0) -> AbacusProblem:
    """Draws problem number ``index`` of one level of a split.

    Args:
        split: Which structures are allowed.
        level: 1 to 5.
        index: Any integer from 0 on; the same index always gives the same problem.
        seed: Another endless series of problems of the same split.

    Returns:
        The problem, with its reference solution.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {list(LEVELS)}, got {level!r}")
    rng = Random(f"abacus/{split}/{level}/{seed}/{index}")
    while True:
        problem = _draw(f"{split}-{level}-{index:04d}", level, rng)
        if split_of(problem.skeleton) == split:
            return problem


def _draw(identifier: str, level: int, rng: Random) -> AbacusProblem:
    limits = LEVELS[level]
    name = rng.choice(NAMES)
    unit = rng.choice(OBJECTS)
    value = rng.randint(*limits.start)
    introduction = rng.randrange(len(INTRODUCTIONS))
    sentences = [INTRODUCTIONS[introduction].format(n=name, v=value, u=unit)]
    structure, steps, values = [f"i{introduction}"], list[str](), list[int]()
    for _ in range(rng.randint(*limits.operations)):
        mark, sentence, step, value, unit = _move(_scene(limits, name, unit, value, rng), rng)
        structure.append(mark)
        sentences.append(sentence)
        steps.append(step)
        values.append(value)
    ending = rng.randrange(len(QUESTIONS))
    structure.append(f"q{ending}")
    _distract(sentences, structure, limits, name, rng)
    sentences.append(QUESTIONS[ending].format(n=name, u=unit))
    return AbacusProblem(
        id=identifier,
        question=" ".join(sentences),
        answer=str(value),
        level=level,
        steps=(*steps, f"The answer is \\boxed{{{value}}}."),
        values=tuple(values),
        skeleton=" ".join(structure),
    )


def _scene(limits: Level, name: str, unit: str, value: int, rng: Random) -> Scene:
    return Scene(
        value=value,
        unit=unit,
        name=name,
        friend=_another(NAMES, name, rng),
        other_unit=_another(OBJECTS, unit, rng),
        largest_value=limits.largest_value,
        largest_operand=limits.largest_operand,
        long_products=limits.long_products,
    )


def _move(scene: Scene, rng: Random) -> tuple[str, str, str, int, str]:
    weights = [operation.weight for operation in OPERATIONS]
    while True:
        operation = rng.choices(OPERATIONS, weights)[0]
        move = operation.play(scene, rng)
        if move is None:
            continue
        wording = rng.randrange(len(operation.wordings))
        sentence = operation.wordings[wording].format(
            n=scene.name, f=scene.friend, u=scene.unit, w=scene.other_unit, **move.words
        )
        return f"{operation.name}{wording}", sentence, move.step, move.value, move.unit


def _distract(
    sentences: list[str], structure: list[str], limits: Level, name: str, rng: Random
) -> None:
    kinds = rng.sample(range(len(DISTRACTORS)), rng.randint(*limits.distractors))
    for kind in kinds:
        place = rng.randint(1, len(sentences))
        sentence = DISTRACTORS[kind].format(
            f=_another(NAMES, name, rng), d=rng.randint(2, 60), w=rng.choice(OBJECTS)
        )
        sentences.insert(place, sentence)
        structure.insert(place, f"d{kind}")


def _another(choices: tuple[str, ...], taken: str, rng: Random) -> str:
    while True:
        choice = rng.choice(choices)
        if choice != taken:
            return choice
