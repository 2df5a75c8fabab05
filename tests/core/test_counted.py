from rsdecode.core.counted import counted


def test_one_thing_and_several() -> None:
    assert [counted(n, "answer") for n in (0, 1, 2, 1200)] == [
        "0 answers",
        "1 answer",
        "2 answers",
        "1,200 answers",
    ]
