"""manifest.json: which parts of a run are whole. One JSON object a line, each ending in the CRC-32 of what is before it.

Line 1 is the header; a line with "shard" is a finished part, and replaces an earlier one of that shard; a line with "complete"
ends the run. Bytes behind the last line feed are a line that was being written when the program was stopped, and count for nothing.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from contexture.errors import RunError

FORMAT_VERSION = 1
_TAIL = re.compile(rb',"crc32":"([0-9a-f]{8})"\}$')


@dataclass(frozen=True)
class Part:
    """A finished part, and the documents of its range."""

    shard: int
    path: str
    first_document: int
    documents: int
    skipped: int
    sequences: int
    tokens: int
    pairs: int
    bytes: int
    file_crc32: int
    completeness_error: float
    left_out: tuple[dict[str, Any], ...]
    stripped: tuple[dict[str, Any], ...] = ()


@dataclass
class Manifest:
    """What the whole lines of a manifest say."""

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    complete: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values: configuration and fingerprints of model and corpus."""
        return self.header.get("identity", {})

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Documents that could not be used: document, line, source, reason."""
        return [document for part in self.parts for document in part.left_out]

    @property
    def stripped(self) -> list[dict[str, Any]]:
        """Documents that were kept without their annotations, which could not be used: document, line, source, reason."""
        return [document for part in self.parts for document in part.stripped]

    def check_parts(self, folder: Path, contents: bool) -> None:
        """Every part is there and has its size; with `contents`, also its checksum."""
        for part in self.parts:
            path = folder / part.path
            if not path.is_file():
                raise RunError(f"{path} is missing, though {self.path} names it; run contexture again on the folder, which computes what is missing")
            size = path.stat().st_size
            if size != part.bytes:
                raise RunError(f"{path} has {size} bytes, the manifest says {part.bytes}; run contexture again on the folder, which computes the part anew")
            if contents and (found := file_crc32(path)) != part.file_crc32:
                raise RunError(
                    f"{path} is damaged: its CRC-32 is {found:08x}, the manifest says {part.file_crc32:08x}; delete the file and run contexture again"
                )


def file_crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def read_manifest(path: Path) -> Manifest:
    """Reads and checks every line; RunError names the first that is damaged."""
    manifest = Manifest(path)
    parts: dict[int, Part] = {}
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if not lines:
        raise RunError(f"{path} has no header line; the run was stopped before it began, start it again")
    for number, line in enumerate(lines, 1):
        content = _checked(line, f"{path}, line {number}")
        try:
            if number == 1:
                manifest.header = _header(content, path)
            elif "shard" in content:
                part = _part(content)
                parts[part.shard] = part
                manifest.complete = False
            elif content.get("complete") is True:
                manifest.complete = True
            else:
                raise RunError(f"{path}, line {number} tells of something that this reader does not know; install the reader that came with the program")
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}, line {number} lacks a value or has a wrong one: {error}") from error
    manifest.parts = [parts[shard] for shard in sorted(parts)]
    return manifest


def _checked(line: bytes, where: str) -> dict[str, Any]:
    tail = _TAIL.search(line)
    if not tail or int(tail[1], 16) != zlib.crc32(line[: tail.start()]):
        raise RunError(f"{where} is damaged: its CRC-32 does not fit; `contexture verify` checks the whole run")
    try:
        content = json.loads(line)
    except ValueError as error:
        raise RunError(f"{where} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{where} is no JSON object")
    return content


def _header(content: dict[str, Any], path: Path) -> dict[str, Any]:
    if content.get("format") != "contexture run":
        raise RunError(f"{path} is no manifest of contexture: its format is {content.get('format')!r}")
    if content["format_version"] != FORMAT_VERSION:
        raise RunError(
            f"{path} has format version {content['format_version']}, and this reader knows {FORMAT_VERSION}; install the reader that came with the program"
        )
    return content


def _part(content: dict[str, Any]) -> Part:
    name = PurePosixPath(content["file"])
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the part {content['file']!r} is outside the folder")
    counts = {key: int(content[key]) for key in ("shard", "first_document", "documents", "skipped", "sequences", "tokens", "pairs", "bytes")}
    return Part(
        **counts,
        path=content["file"],
        file_crc32=int(content["file_crc32"], 16),
        completeness_error=float(content["completeness_error"]),
        left_out=tuple(content["left_out"]),
        stripped=tuple(content.get("stripped_documents", ())),
    )
