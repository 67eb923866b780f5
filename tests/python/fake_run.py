"""A small run folder as the program would write it, made with h5py: for tests of the reader that need no program.

Every number says where it stands (see `value`), so that a wrong offset or a swapped axis shows.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

STAGES = ("attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln")
MAPS = (*STAGES, "attn_weight")
HEADS, WIDTH = 2, 3
MODEL_LAYERS, LAYERS, VECTOR_LAYERS = 4, (1, 3), (3,)
VECTOR_STAGES = ("ff",)
TOKENS = ["[PAD]", "[CLS]", "[SEP]", "the", "cat", "##s", "on", "bank", "$", "naïve"]


@dataclass
class Document:
    """A sequence to store: its tokens as (id, begin, end, text index), -1 for special ones."""

    id: str
    text: str
    tokens: list[tuple[int, int, int, int]]
    pair: str = ""
    flags: int = 0


def words(name: str, text: str, ids: list[int], pair: str = "") -> Document:
    """[CLS] text [SEP], one token a blank-separated word; a second text follows with its own [SEP]."""
    tokens = [(1, 0, 0, -1)]
    rest = iter(ids)
    for which, piece in enumerate([text, pair] if pair else [text]):
        position = 0
        for word in piece.split(" "):
            begin = piece.index(word, position)
            position = begin + len(word)
            tokens.append((next(rest), begin, position, which))
        tokens.append((2, 0, 0, -1))
    return Document(name, text, tokens, pair, 8 if pair else 0)


DOCUMENTS = [
    words("0", "the cat", [3, 4]),
    words("doc-17", "naïve bank on the $", [9, 7, 6, 3, 8]),
    words("pair", "the cat", [3, 4, 6, 3, 7], pair="on the bank"),
    Document("ids", "", [(5, 0, 0, -1)], flags=16),
    words("Zürich", "cat", [4]),
]


def value(sequence: int, kind: int, *shape: int) -> np.ndarray:
    """A block of that shape, no two entries of a run alike, all below 2^24, so that float32 holds them exactly."""
    return (sequence * 1_000_000 + kind * 20_000 + np.arange(int(np.prod(shape)))).reshape(shape).astype(np.float32)


def kind_of(group: str, name: str = "") -> int:
    """A number for every dataset, for `value`."""
    names = [f"{group}/{name}" for group in ("maps", "maps_head", "mixing_ratio", "bias_norm", "vectors") for name in (*MAPS, "hidden_state")]
    return names.index(f"{group}/{name}")


@dataclass
class Content:
    """Datasets of one part, as lists of pieces to concatenate."""

    pieces: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, name: str, values: np.ndarray) -> None:
        self.pieces.setdefault(name, []).append(np.atleast_1d(values))


def add_sequence(content: Content, number: int, document: Document) -> None:
    n, length = len(document.tokens), len(LAYERS)
    ids, begins, ends, which = (np.array(column) for column in zip(*document.tokens))
    for name, dtype, scalar in (
        ("document", "i8", number),
        ("source", "i4", 0),
        ("line", "i8", number + 1),
        ("window", "i4", 0),
        ("flags", "i4", document.flags),
        ("n_tokens", "i4", n),
    ):
        content.add(f"/seq/{name}", np.array(scalar, dtype))
    content.add("/seq/completeness_error", np.full((1, length), 1e-7 * (number + 1), "f4"))
    for name, dtype, column in (
        ("input_id", "i4", ids),
        ("token_type_id", "i4", np.maximum(which, 0)),
        ("char_start", "i4", begins),
        ("char_end", "i4", ends),
        ("special", "u1", which < 0),
        ("word_id", "i4", np.where(which < 0, -1, np.arange(n))),
        ("text_index", "i1", which),
    ):
        content.add(f"/tok/{name}", column.astype(dtype))
    content.add("/text/bytes", np.frombuffer(document.text.encode(), "u1"))
    content.add("/text/pair_bytes", np.frombuffer(document.pair.encode(), "u1"))
    for name in MAPS:
        content.add(f"/maps/{name}", value(number, kind_of("maps", name), length * n * n))
    for name in ("attn_weight", "attn"):
        content.add(f"/maps_head/{name}", value(number, kind_of("maps_head", name), length * HEADS * n * n))
    for stage in STAGES:
        # A ratio lies between 0 and 1.
        content.add(f"/tokstat/mixing_ratio/{stage}", value(number, kind_of("mixing_ratio", stage), n, length) / 2**24)
        content.add(f"/tokstat/bias_norm/{stage}", value(number, kind_of("bias_norm", stage), n, length))
    content.add("/vectors/hidden_state", value(number, kind_of("vectors", "hidden_state"), (MODEL_LAYERS + 1) * n * WIDTH))
    for stage in VECTOR_STAGES:
        content.add(f"/vectors/{stage}", value(number, kind_of("vectors", stage), len(VECTOR_LAYERS) * n * n * WIDTH))


# Dataset of offsets: a dataset whose pieces it counts.
OFFSETS = {
    "/seq/tok_offset": "/tok/input_id",
    "/seq/map_offset": "/maps/attn",
    "/seq/map_head_offset": "/maps_head/attn",
    "/seq/hidden_offset": "/vectors/hidden_state",
    "/seq/vector_offset": "/vectors/ff",
    "/text/offset": "/text/bytes",
    "/text/pair_offset": "/text/pair_bytes",
}


def write_part(path: Path, numbered: list[tuple[int, Document]], map_dtype: str) -> None:
    content = Content()
    for number, document in numbered:
        add_sequence(content, number, document)
    with h5py.File(path, "w", libver="latest") as file:
        for name, pieces in content.pieces.items():
            values = np.concatenate(pieces)
            if name.startswith("/maps"):
                with np.errstate(over="ignore"):
                    values = values.astype(map_dtype)
            options = {"chunks": True, "compression": 1, "shuffle": True, "fletcher32": True} if values.size else {}
            file.create_dataset(name, data=values, **options)
        for name, counted in OFFSETS.items():
            file.create_dataset(name, data=np.cumsum([0, *(len(piece) for piece in content.pieces[counted])], dtype="i8"))
        for name, texts in (("/seq/id", [document.id for _, document in numbered]), ("/sources", ["corpus.txt"])):
            encoded = [text.encode() for text in texts]
            file.create_dataset(name, data=np.array(encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded)))))
        write_attributes(file)


def write_attributes(file: h5py.File) -> None:
    numbers = {"format_version": 1, "layers": MODEL_LAYERS, "heads": HEADS, "hidden_size": WIDTH, "per_head": 1, "hidden_states": 1}
    file.attrs.update(numbers)
    file.attrs["stored_layers"] = np.array(LAYERS, "i8")
    file.attrs["vector_layers"] = np.array(VECTOR_LAYERS, "i8")
    for name, texts in (("maps", MAPS), ("stages", STAGES), ("vector_stages", VECTOR_STAGES)):
        file.attrs[name] = np.array([text.encode() for text in texts], dtype=h5py.string_dtype("utf-8", 16))
    file.attrs["program_version"] = np.array(b"0.1.0", dtype=h5py.string_dtype("utf-8", 5))


# The folder.


def manifest_line(content: dict) -> bytes:
    """The object with its CRC-32 as the last member."""
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


def part_line(shard: int, path: Path, numbered: list[tuple[int, Document]]) -> bytes:
    content = path.read_bytes()
    counts = [len(document.tokens) for _, document in numbered]
    return manifest_line(
        {
            "shard": shard,
            "file": f"parts/{path.name}",
            "first_document": numbered[0][0],
            "documents": len(numbered),
            "skipped": 0,
            "sequences": len(numbered),
            "tokens": sum(counts),
            "pairs": sum(n * n for n in counts),
            "bytes": len(content),
            "file_crc32": f"{zlib.crc32(content):08x}",
            "content_hash": "0" * 16,
            "completeness_error": 1e-7,
            "seconds": 0.5,
            "left_out": [],
        }
    )


def join(folder: Path, paths: list[Path]) -> None:
    """run.h5: every dataset joined from the parts', offsets rebased."""
    parts = [h5py.File(path) for path in paths]
    names: list[str] = []
    parts[0].visititems(lambda name, item: names.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
    with h5py.File(folder / "run.h5", "w", libver="latest") as file:
        write_attributes(file)
        file["/parts/shard"] = np.arange(len(parts), dtype="i8")
        for name in names:
            if name in OFFSETS:
                steps = np.concatenate([np.diff(part[name][:]) for part in parts])
                file.create_dataset(name, data=np.cumsum([0, *steps], dtype="i8"))
            elif name == "/sources":
                file.create_dataset(name, data=parts[0][name][:])
            else:
                join_dataset(file, name, [part[name] for part in parts])
    for part in parts:
        part.close()


def join_dataset(file: h5py.File, name: str, datasets: list[h5py.Dataset]) -> None:
    width = max((dataset.dtype for dataset in datasets), key=lambda dtype: dtype.itemsize)
    rows = sum(len(dataset) for dataset in datasets)
    layout = h5py.VirtualLayout((rows, *datasets[0].shape[1:]), width)
    first = 0
    for dataset in datasets:
        if len(dataset):
            relative = Path("parts") / Path(dataset.file.filename).name
            layout[first : first + len(dataset)] = h5py.VirtualSource(relative, name, dataset.shape, dtype=dataset.dtype)
        first += len(dataset)
    file.create_virtual_dataset(name, layout)


def write_run(folder: Path, finished_parts: int = 3, map_dtype: str = "f4") -> Path:
    """The documents two a part. With fewer than three finished parts, the run has not ended, and there is no run.h5."""
    (folder / "parts").mkdir(parents=True)
    (folder / "tokens.json").write_text(json.dumps(TOKENS))
    numbered = list(enumerate(DOCUMENTS))
    manifest = manifest_line({"format": "contexture run", "format_version": 1, "program_version": "0.1.0", "identity": {"layers": "1,3"}})
    paths = []
    for shard, first in enumerate(range(0, len(numbered), 2)):
        if shard == finished_parts:
            break
        paths.append(folder / "parts" / f"shard-{shard:06d}.h5")
        write_part(paths[-1], numbered[first : first + 2], map_dtype)
        manifest += part_line(shard, paths[-1], numbered[first : first + 2])
    if finished_parts == 3:
        manifest += manifest_line({"complete": True, "shards": 3})
        join(folder, paths)
    (folder / "manifest.json").write_bytes(manifest)
    return folder
