"""Links and paths in the documents lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "*/README.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w/.-])((?:[\w.-]+/)*[\w-]+\.(?:py|sh|toml|yml))(?![\w/])")
IN_CODE = re.compile(r"`([^`\n]+)`")
TOP_FOLDERS = ("src", "tests", "docs", "examples", "recipes", "benchmarks", "findings")
INVENTED = {"my_reward.py"}
"""Files that a reader of the guides is told to write."""


def prose(text: str) -> str:
    """A document without its blocks of code, which may hold other people's paths."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The ids of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.*)$", prose(text), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links(document: Path, text: str) -> Iterator[str]:
    for link in LINK.findall(prose(text)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = document.parent / target if target else document
        if not path.exists():
            yield link
        elif anchor and anchor not in anchors(path.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


def missing_files(text: str) -> Iterator[str]:
    """Files in `...` that are neither in the repository nor, by their ending, in the package."""
    for code in IN_CODE.findall(prose(text)):
        for name in PATH.findall(code):
            if name not in INVENTED and not _known(name):
                yield name


FILES = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in TOP_FOLDERS
    for path in (ROOT / folder).rglob("*.*")
]


def _known(name: str) -> bool:
    return (ROOT / name).exists() or any(file.endswith(f"/{name}") for file in FILES)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    assert not list(broken_links(document, text))
    assert not list(missing_files(text))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_commands_of_make_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    rules = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    used = re.findall(r"(?:^ {4}|`)make ([a-z][a-z -]*[a-z])", text, flags=re.MULTILINE)
    assert {target for targets in used for target in targets.split()} <= set(rules)


def test_the_checks_find_what_is_wrong(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    text = (
        "# A page\n\n[a](gone.md) [b](#a-page) [c](#nothing) [d](https://host/x)\n"
        "`core/nothing.py` and `methods/rsd.py`\n\n```\n[e](gone-too.md)\n```\n"
    )
    document.write_text(text)
    assert list(broken_links(document, text)) == ["gone.md", "#nothing: no such heading"]
    assert list(missing_files(text)) == ["core/nothing.py"]
