"""Token ids to token texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from contexture.errors import RunError

FILES = ("tokens.json", "tokenizer.json", "vocab.txt")


def read_vocabulary(path: Path | str) -> dict[int, str]:
    """Texts by id, from a run's tokens.json (a list), a tokenizer.json, a vocab.txt, or a folder that has one of them."""
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if not found:
            raise RunError(f"{path} has none of {', '.join(FILES)}: name a file, or a folder with one of them, as vocabulary")
        path = found[0]
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".json":
            return dict(enumerate(text.split("\n")[: text.count("\n") or None]))
        return _from_json(json.loads(text))
    except OSError as error:
        raise RunError(f"the vocabulary {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{path} is neither a tokens.json, a tokenizer.json nor a vocab.txt ({type(error).__name__}: {error})") from error


def find_vocabulary(run: Path) -> dict[int, str]:
    """The vocabulary that belongs to a run's folder: its tokens.json, else that of the model which its summary.json names; else none."""
    if (run / FILES[0]).is_file():
        return read_vocabulary(run / FILES[0])
    try:
        model = Path(json.loads((run / "summary.json").read_text(encoding="utf-8"))["paths"]["model"])
        return read_vocabulary(model.parent if model.is_file() else model)
    except (OSError, ValueError, TypeError, KeyError, RunError):
        return {}


def _from_json(content: object) -> dict[int, str]:
    if isinstance(content, list):
        return {number: token for number, token in enumerate(content) if token is not None}
    if not isinstance(content, Mapping):
        raise TypeError("the file holds neither a list nor an object")
    tokens = {number: token for token, number in content["model"]["vocab"].items()}
    tokens.update({token["id"]: token["content"] for token in content.get("added_tokens", [])})
    return tokens
