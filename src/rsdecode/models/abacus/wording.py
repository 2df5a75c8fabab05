"""The words of the abacus task: names, objects and sentences that carry no arithmetic."""

from __future__ import annotations

NAMES = (
    "Ada", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Iris", "Jonas",
    "Kira", "Leo", "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Victor",
)  # fmt: skip

OBJECTS = (
    "apples", "beads", "books", "buttons", "cards", "cookies", "eggs", "flowers", "lemons",
    "marbles", "nails", "pencils", "pens", "plums", "seeds", "shells", "stamps", "stickers",
    "stones", "tickets",
)  # fmt: skip

MONEY = "coins"

#: (words of the part, words of one part, numerator, denominator)
FRACTIONS = (
    ("two thirds", "third", 2, 3),
    ("three quarters", "quarter", 3, 4),
    ("two fifths", "fifth", 2, 5),
    ("three fifths", "fifth", 3, 5),
)

#: percentage -> what one divides by to take it
PERCENTAGES = {10: 10, 20: 5, 25: 4, 50: 2}

INTRODUCTIONS = (
    "{n} has {v} {u}.",
    "{n} starts with {v} {u}.",
    "There are {v} {u} on the table of {n}.",
    "{n} counts {v} {u} in the morning.",
)

QUESTIONS = (
    "How many {u} does {n} have in the end?",
    "How many {u} are there at the end?",
    "What is the final number of {u}?",
)

#: Sentences with a number that has nothing to do with the answer.
DISTRACTORS = (
    "{f} is {d} years old.",
    "The shop closes in {d} minutes.",
    "{f} also owns {d} {w}.",
    "The trip takes {d} days.",
    "It is {d} degrees outside.",
    "There are {d} trees along the road.",
    "{f} lives {d} miles away.",
    "The day before, {f} saw {d} birds.",
)
