"""The head of a file, against the package `gguf`; pieces of vocabularies, texts of tokens."""

from __future__ import annotations

import pytest

from rsdecode.backends.llama_cpp.gguf_file import GgufFile, other_parts
from rsdecode.backends.llama_cpp.pieces import PieceDetokenizer, Pieces
from rsdecode.core.errors import ModelLoadError
from tests.backends.llama_cpp import tiny_gguf

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_metadata_and_tensors_are_those_that_the_package_reads(file):
    ours, theirs = GgufFile(file), gguf.GGUFReader(str(file))
    named = {k: f for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert ours.metadata.keys() == named.keys()
    for key, field in named.items():
        value = ours.metadata[key]
        if isinstance(value, tuple):
            read = ours.texts(value) if value.kind == 8 else ours.numbers(value)
            value = [v.decode() if isinstance(v, bytes) else v for v in read]
        assert value == field.contents(), key
    assert [t.name for t in ours.tensors] == [t.name for t in theirs.tensors]
    assert ours.shape.parameters == sum(int(t.n_elements) for t in theirs.tensors)


def test_shape_and_cache(file):
    read = GgufFile(file)
    assert read.context == tiny_gguf.CONTEXT
    assert (read.shape.layers, read.shape.hidden, read.shape.tied) == (2, 64, False)
    assert read.shape.vocabulary == len(tiny_gguf.vocabulary()[0])
    assert read.cache_bytes == 2 * 2 * (16 + 16) * 2, "layers, heads, keys and values, float16"


def test_the_fingerprint_is_the_vocabularys(file, tmp_path):
    other = tiny_gguf.write(tmp_path / "other.gguf", seed=1, template=None)
    assert GgufFile(other).vocabulary == GgufFile(file).vocabulary


@pytest.mark.parametrize("kept", [3, 20, 100, 2000])
def test_a_file_that_is_cut_off_is_named(file, tmp_path, kept):
    path = tmp_path / "cut.gguf"
    path.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelLoadError, match=r"cut\.gguf"):
        GgufFile(path)


def test_parts_of_a_split_model(tmp_path):
    first = tmp_path / "m-00001-of-00003.gguf"
    assert [p.name for p in other_parts(first)] == [
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf",
    ]
    assert other_parts(tmp_path / "m.gguf") == []


def test_pieces_give_the_bytes_of_tokens(file):
    pieces = Pieces(GgufFile(file))
    tokens, _ = tiny_gguf.vocabulary()
    assert b"".join(pieces.of(i) for i in range(256)) == bytes(range(256))
    assert pieces.of(tokens.index("the")) == b"the"
    assert pieces.of(tokens.index("<|im_end|>")) == b""
    assert pieces.of(tokens.index("<think>")) == b"<think>"
    assert pieces.of(10**6) == b""


def test_characters_come_with_their_last_token(file):
    pieces = Pieces(GgufFile(file))
    smile = "\U0001f642".encode()
    words = PieceDetokenizer(pieces, [65, *smile[:2]])
    assert [words.add(byte) for byte in (*smile[2:], 66)] == ["", "\U0001f642", "B"]


def test_tokens_that_a_stream_leaves_out_are_found_again(file):
    pieces = Pieces(GgufFile(file))
    smile = "\U0001f642".encode()
    assert pieces.completed("\U0001f642", smile[-1], 3) == tuple(smile)
    assert pieces.completed("\U0001f642", smile[-1], 2) is None
    assert pieces.completed("a", 98, 0) is None
