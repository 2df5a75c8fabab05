"""What cannot be done with a server, in words for its user, and what to do instead."""

from __future__ import annotations


def cannot_continue(address: str) -> str:
    """Why a server cannot serve a method that writes step by step, and what to do."""
    return (
        f"{address} has a chat route alone, and no server of an unknown kind can be trusted to "
        "continue an answer there: use a method that writes whole answers (draft, target, "
        "majority@N, best-of-N), or serve the model with vLLM, SGLang or llama.cpp"
    )


def no_salts(url: str, kind: str) -> str:
    """What is not as the documents promise where a server's cache knows no salts."""
    return (
        f"{url} ({kind}) cannot be told to forget: methods that ran earlier on it leave prompts in "
        "its prefix cache, so later ones may read fewer tokens and be faster than alone"
    )


def separates_thoughts(address: str) -> str:
    """Why a server with a reasoning parser cannot serve steps, and what to do."""
    return (
        f"{address} separates thoughts from the text, so that a step cannot be continued: give the "
        "model's tokenizer (--draft-tokenizer, --target-tokenizer), serve it without its reasoning "
        "parser, or set the template's arguments so that it does not think"
    )


def keeps_tokens(count: int) -> str:
    """Why a server that is paid for tokens and sends no text is not asked again."""
    return (
        f"the server wrote {count} tokens, but no text came back: it keeps them to itself, as a "
        "reasoning parser does with thoughts; give the model's tokenizer (--draft-tokenizer, "
        "--target-tokenizer), or serve it without the parser"
    )


def keeps_no_budget(url: str, kind: str) -> str:
    """Why a server that only writes whole answers cannot keep to a budget, and what to do."""
    return (
        f"{url} ({kind}) has a chat route alone, which knows no budget of thoughts: leave "
        "thinking.budget (--thinking-budget) out, or serve the model with vLLM, SGLang or llama.cpp"
    )


def letter_by_letter(mark: str, count: int) -> str:
    """Why llama.cpp's own ChatML is not used."""
    return (
        f"llama.cpp would render conversations as ChatML, but {mark} is {count} tokens of this "
        "model: the plain prompt is used (prompt.plain changes it)"
    )


def too_long(address: str, why: str) -> str:
    """What to do about a question that does not fit."""
    return f"{address}: {why}: shorten the question, or serve the model with a longer context"


def cannot_assess(address: str, kind: str) -> str:
    """Why a server cannot tell how likely a text is, and what to do."""
    return (
        f"{address} ({kind}) does not tell how likely it finds a given text: that takes vLLM and "
        "the model's tokenizer (--target-tokenizer; of a reward --reward-tokenizer); or load the "
        "model in this process (hf:, gguf:), or take another reward or method"
    )


def does_not_tokenize(address: str, kind: str) -> str:
    """Why a server tells no token ids, and what to do."""
    return (
        f"{address} ({kind}) has no route that tells token ids: name the model's tokenizer "
        "(--target-tokenizer)"
    )


def tells_no_logprobs(address: str, kind: str) -> str:
    """Why a server cannot say how sure it was, and what to do."""
    return (
        f"{address} ({kind}) does not tell the log-probabilities of what it writes: that takes "
        "vLLM or llama.cpp; or load the model in this process (hf:, gguf:), or take another reward "
        "or method"
    )


def shapes_no_logprobs(address: str) -> str:
    """Why sampling must be plain where probabilities must be exact."""
    return (
        f"{address} tells probabilities at temperature 1 without top_p and top_k alone: set "
        "temperature 1 and leave top_p and top_k out, or load the model in this process (hf:, "
        "gguf:)"
    )
