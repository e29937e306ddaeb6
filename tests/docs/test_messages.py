"""What `docs/wrong.md` quotes stands in the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUOTES = re.findall(r"^```text\n(.*?)^```$", (ROOT / "docs/wrong.md").read_text(), re.MULTILINE | re.DOTALL)
# What the code fills in: "…", options, keys, names of variables; and where it may join two sentences.
FILLED_IN = re.compile(
    r"…|--[a-z][\w-]*|\b(?:data|model|train|optimizer)\.[\w.]+|[A-Z_]{9,}|[;:] |,(?: and)? |\n\s*|\(|\)"
)


def texts(source: str) -> list[str]:
    """The string literals of a module; what an f-string fills in is a NUL."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return found


@pytest.fixture(scope="module")
def messages() -> str:
    return "\n".join(text for path in (ROOT / "sar_keras").rglob("*.py") for text in texts(path.read_text()))


def pieces(quote: str) -> list[str]:
    """The parts of a quoted message that the code does not fill in, as far as they say something."""
    return [piece.strip(" ,.:") for piece in FILLED_IN.split(quote) if len(piece.strip(" ,.:")) > 5]


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote.strip()[:60])
def test_a_quoted_message_stands_in_the_code(quote, messages):
    assert pieces(quote)
    assert [piece for piece in pieces(quote) if piece not in messages] == []


def test_one_that_does_not_is_found(messages):
    assert [piece for piece in pieces("…: has no partner at all") if piece not in messages] == ["has no partner at all"]
