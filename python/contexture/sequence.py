"""One sequence of a run. Letters of shapes: n tokens, m words, L stored layers, H heads, V vector layers, d hidden size."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as AbstractSequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from contexture.errors import RunError, UnknownName
from contexture.hdf5_file import HDF5File, Index

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas
    import xarray

    from contexture.run import Run


class Flags(enum.IntFlag):
    """What was done to a document to make the sequence."""

    TRUNCATED = 1  # tokens at the end were left out
    WINDOW = 2  # one of several windows over a document
    REPAIRED = 4  # invalid UTF-8 was replaced by U+FFFD
    PAIR = 8  # two texts
    IDS = 16  # ready input_ids, without a text
    ANNOTATED = 32  # words come from the corpus' annotation


class Blocks(Mapping[str, np.ndarray]):
    """Arrays by name, read when asked for: blocks["ff"] whole, blocks["ff", 2] or blocks["ff", 0:3, :, 5] in part.

    Of blocks["ff", 2, …] only what the leading indices ask for is read from the file.
    """

    def __init__(self, kind: str, names: AbstractSequence[str], read: Callable[[str, Index], np.ndarray]) -> None:
        self._kind, self._names, self._read = kind, tuple(names), read

    def __getitem__(self, key: str | tuple[Any, ...]) -> np.ndarray:
        name, index = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if name not in self._names:
            raise UnknownName(self._kind, name, self._names)
        return self._read(name, index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<{self._kind}: {', '.join(self._names) or 'none stored'}>"


class Sequence:
    """One sequence of n tokens; `run[3]` or `run["doc-17"]` makes one. It stays readable as long as the run is open.

    The first axis of maps, mixing ratios and bias norms is the stored layer: entry k belongs to the model's layer run.layers[k].
    """

    def __init__(self, run: Run, index: int, row: int, open_file: Callable[[], HDF5File]) -> None:
        self.run = run
        self.index = index
        """Number in the run, from 0."""
        self._row = row
        self._open = open_file

    # Where it came from.

    def _value(self, name: str) -> int:
        return int(self._open().rows(name, self._row))

    @cached_property
    def id(self) -> str:
        """The document's id; windows after the first of a long document end in #1, #2, …"""
        return bytes(self._open().rows("/seq/id", self._row)).rstrip(b"\0").decode("utf-8", "replace")

    @cached_property
    def document(self) -> int:
        """Number of the document in the corpus, from 0."""
        return self._value("/seq/document")

    @cached_property
    def source(self) -> str:
        """The file of the corpus, as it was given."""
        return bytes(self._open().rows("/sources", self._value("/seq/source"))).rstrip(b"\0").decode("utf-8", "replace")

    @cached_property
    def line(self) -> int:
        """Line of the document in its file, from 1."""
        return self._value("/seq/line")

    @cached_property
    def window(self) -> int:
        """Number of the window over a long document, from 0."""
        return self._value("/seq/window")

    @cached_property
    def flags(self) -> Flags:
        return Flags(self._value("/seq/flags"))

    @cached_property
    def n_tokens(self) -> int:
        """n."""
        return self._value("/seq/n_tokens")

    def __len__(self) -> int:
        return self.n_tokens

    # Text and tokens.

    def _text(self, name: str, offset_name: str) -> str:
        file = self._open()
        begin, end = (int(value) for value in file.rows(offset_name, slice(self._row, self._row + 2)))
        return file.rows(name, slice(begin, end)).tobytes().decode("utf-8", "replace")

    @cached_property
    def text(self) -> str:
        """The (first) text; of a window or a truncated sequence, the stretch that its tokens cover; empty for ready input_ids."""
        return self._text("/text/bytes", "/text/offset")

    @cached_property
    def pair(self) -> str | None:
        """The second text, if there are two."""
        return self._text("/text/pair_bytes", "/text/pair_offset") if self.flags & Flags.PAIR else None

    def _token_rows(self, name: str) -> np.ndarray:
        file = self._open()
        first = int(file.rows("/seq/tok_offset", self._row))
        return file.rows(name, slice(first, first + self.n_tokens))

    @cached_property
    def input_ids(self) -> np.ndarray:
        """[n] ids in the model's vocabulary."""
        return self._token_rows("/tok/input_id")

    @cached_property
    def token_type_ids(self) -> np.ndarray:
        """[n] segment: 0 first, 1 second."""
        return self._token_rows("/tok/token_type_id")

    @cached_property
    def char_spans(self) -> np.ndarray:
        """[n, 2] begin and end of every token in its text, in characters; (0, 0) for tokens of no text."""
        return np.stack([self._token_rows("/tok/char_start"), self._token_rows("/tok/char_end")], axis=1)

    @cached_property
    def special(self) -> np.ndarray:
        """[n] bool: added by the tokenizer ([CLS], [SEP])."""
        return self._token_rows("/tok/special").astype(bool)

    @cached_property
    def word_ids(self) -> np.ndarray:
        """[n] the word of its text that a token is part of; -1: none."""
        return self._token_rows("/tok/word_id")

    @cached_property
    def text_index(self) -> np.ndarray:
        """[n] 0 for tokens of the first text, 1 of the second, -1 of neither."""
        return self._token_rows("/tok/text_index")

    @cached_property
    def word(self) -> np.ndarray:
        """[n] the word of the sequence that a token is part of: 0, 1, … in order of first appearance; -1: none. Words are the corpus' annotated ones, and
        the tokenizer's own in a text without annotation."""
        if "/tok/word" in self._open():
            return self._token_rows("/tok/word")
        seen: dict[tuple[int, int], int] = {}
        words = zip(self.text_index.tolist(), self.word_ids.tolist(), strict=True)
        return np.array([-1 if word < 0 else seen.setdefault((text, word), len(seen)) for text, word in words], dtype=np.int32)

    @cached_property
    def entity(self) -> np.ndarray:
        """[n] the entity mention of the sequence that a token is part of, numbered as words are; -1: none."""
        return self._token_rows("/tok/entity") if "/tok/entity" in self._open() else np.full(self.n_tokens, -1, dtype=np.int32)

    def _labels(self, name: str) -> list[str]:
        if name not in self._open():
            return [""] * self.n_tokens
        return [bytes(label).rstrip(b"\0").decode("utf-8", "replace") for label in self._token_rows(name)]

    @cached_property
    def pos(self) -> list[str]:
        """[n] part of speech of the token's word, as the corpus annotates it; "": none."""
        return self._labels("/tok/pos")

    @cached_property
    def entity_label(self) -> list[str]:
        """[n] label of the token's entity mention; "": none."""
        return self._labels("/tok/entity_label")

    @cached_property
    def label(self) -> list[str]:
        """[n] label of the token's word, as the corpus annotates it; "": none."""
        return self._labels("/tok/label")

    @property
    def annotated(self) -> bool:
        """The corpus annotates words of this sequence."""
        return Flags.ANNOTATED in self.flags

    @cached_property
    def original_ids(self) -> np.ndarray:
        """[n] ids before --mask-rate took the mask token instead."""
        return self._token_rows("/tok/original_id") if "/tok/original_id" in self._open() else self.input_ids

    @cached_property
    def masked(self) -> np.ndarray:
        """[n] bool: --mask-rate replaced the token by the mask token."""
        return self.original_ids != self.input_ids

    @cached_property
    def tokens(self) -> list[str]:
        """[n] the tokens as the vocabulary writes them ("##ing"). Without a vocabulary (see open_run), the pieces of the text they
        stand for, and "[101]", say, for a token that is in no text."""
        vocabulary = self.run.vocabulary
        texts = (self.text, self.pair or "")
        tokens = []
        for token_id, (begin, end), which in zip(self.input_ids.tolist(), self.char_spans.tolist(), self.text_index.tolist(), strict=True):
            token = vocabulary.get(token_id)
            if token is None:
                token = texts[which][begin:end] if which >= 0 and end > begin else f"[{token_id}]"
            tokens.append(token)
        return tokens

    # Words as maps have them with --granularity word: neighbouring tokens of one word; a token that is in none is one by itself.

    @cached_property
    def word_first(self) -> np.ndarray:
        """[m] the first token of every word; its labels are the word's: [sequence.pos[k] for k in sequence.word_first]."""
        file = self._open()
        if "/word/first_token" in file:
            begin, end = (int(value) for value in file.rows("/seq/word_offset", slice(self._row, self._row + 2)))
            return file.rows("/word/first_token", slice(begin, end))
        begins = np.ones(self.n_tokens, dtype=bool)
        begins[1:] = (self.word[1:] < 0) | (self.word[1:] != self.word[:-1])
        return np.flatnonzero(begins).astype(np.int32)

    @cached_property
    def words(self) -> list[str]:
        """[m] the words as the text has them; a token that is in no text, or masked, as in `tokens`."""
        texts = (self.text, self.pair or "")
        words = []
        for first, end in zip(self.word_first.tolist(), [*self.word_first[1:].tolist(), self.n_tokens], strict=True):
            begin, stop = int(self.char_spans[first:end, 0].min()), int(self.char_spans[first:end, 1].max())
            which = int(self.text_index[first])
            in_text = which >= 0 and stop > begin and not self.masked[first:end].any()
            words.append(texts[which][begin:stop] if in_text else " ".join(self.tokens[first:end]))
        return words

    @property
    def map_size(self) -> int:
        """Rows, and columns, of the maps: n, or m in a run with --granularity word."""
        return self._value("/seq/n_words") if self.run.granularity == "word" else self.n_tokens

    @property
    def map_labels(self) -> list[str]:
        """What the rows and columns of the maps are: tokens or words."""
        return self.words if self.run.granularity == "word" else self.tokens

    # Results.

    def _block(self, name: str, offset_name: str, shape: tuple[int, ...], index: Index) -> np.ndarray:
        file = self._open()
        start = int(file.rows(offset_name, self._row))
        return file.block(name, start, shape, index).astype(np.float32, copy=False)

    @property
    def maps(self) -> Blocks:
        """Norm of the part of every target's vector that came from every source: maps["ff_res_ln"] [L, n, n], layer, target,
        source; maps["ff_res_ln", k] [n, n] reads one layer alone. maps["attn_weight"] is α, mean over the heads.

        With --granularity word [L, m, m]: the norm of the sum of a source word's parts (of α the sum), mean over a target word's tokens."""
        shape = (len(self.run.layers), self.map_size, self.map_size)
        return Blocks("map", self.run.maps, lambda name, index: self._block(f"/maps/{name}", "/seq/map_offset", shape, index))

    @property
    def head_maps(self) -> Blocks:
        """Per head: head_maps["attn_weight"] is α, head_maps["attn"] is α‖f(x)‖; [L, H, n, n]. Stored with --per-head."""
        shape = (len(self.run.layers), self.run.heads, self.n_tokens, self.n_tokens)
        return Blocks("map per head", self.run.head_maps, lambda name, index: self._block(f"/maps_head/{name}", "/seq/map_head_offset", shape, index))

    def _token_statistic(self, name: str, index: Index) -> np.ndarray:
        values = np.ascontiguousarray(self._token_rows(name).T)
        return values[index] if index else values

    @property
    def mixing_ratio(self) -> Blocks:
        """‖Σ_{j≠i} part_ij‖ / (‖Σ_{j≠i} part_ij‖ + ‖part_ii‖), 0 to 1: how much of a token's vector came from the other tokens.
        mixing_ratio["ff_res_ln"] [L, n]."""
        return Blocks("stage", self.run.stages, lambda name, index: self._token_statistic(f"/tokstat/mixing_ratio/{name}", index))

    @property
    def bias_norm(self) -> Blocks:
        """Norm of the part that belongs to no source: bias_norm["ff"] [L, n]."""
        return Blocks("stage", self.run.stages, lambda name, index: self._token_statistic(f"/tokstat/bias_norm/{name}", index))

    @property
    def vectors(self) -> Blocks:
        """The parts themselves, for the layers in run.vector_layers: vectors["ff"] [V, n, n, d], layer, target, source, dimension;
        vectors["ff", 0, i] [n, d] reads one target alone. Stored with --vectors."""
        shape = (len(self.run.vector_layers), self.n_tokens, self.n_tokens, self.run.hidden_size)
        return Blocks("stage with vectors", self.run.vector_stages, lambda name, index: self._block(f"/vectors/{name}", "/seq/vector_offset", shape, index))

    def hidden_state(self, layer: int | slice) -> np.ndarray:
        """[n, d] the output of model layer `layer` - 1; 0 is the input of the first layer. A slice gives several. Stored with --hidden-states."""
        if not self.run.has_hidden_states:
            raise RunError(f"{self.run.path} holds no hidden states; run contexture with --hidden-states into another folder")
        shape = (self.run.model_layers + 1, self.n_tokens, self.run.hidden_size)
        return self._block("/vectors/hidden_state", "/seq/hidden_offset", shape, (layer,))

    @property
    def hidden_states(self) -> np.ndarray:
        """[layers + 1, n, d] the input of the first layer and the output of every layer of the model."""
        return self.hidden_state(slice(None))

    @cached_property
    def completeness_error(self) -> np.ndarray:
        """[L] largest relative error, over stages and tokens, of the sum of all parts against the true vector."""
        return self._open().rows("/seq/completeness_error", self._row)

    # Other libraries.

    def to_xarray(self) -> xarray.Dataset:
        """Maps, mixing ratios and bias norms with named axes; see contexture.convert."""
        from contexture import convert

        return convert.to_xarray(self)

    def to_pandas(self, what: str = "tokens") -> pandas.DataFrame:
        """A table: what="tokens" one row a stage, layer and token, what="maps" one row a map, layer, target and source."""
        from contexture import convert

        return convert.to_pandas(self, what)

    def to_bertviz(self, stages: str | AbstractSequence[str] = "ff_res_ln", normalize: bool = True) -> tuple[list[Any], list[str]]:
        """What bertviz's head_view and model_view take: attention, tokens; see contexture.convert."""
        from contexture import convert

        return convert.to_bertviz(self, stages, normalize)

    def plot_maps(self, **options: Any) -> matplotlib.figure.Figure:
        """Heatmaps by stage and layer; options of contexture.plot.map_grid."""
        from contexture import plot

        return plot.map_grid(self, **options)

    def plot_mixing_ratio(self, **options: Any) -> matplotlib.figure.Figure:
        """Mixing ratio by layer and stage; options of contexture.plot.mixing_ratio."""
        from contexture import plot

        return plot.mixing_ratio(self, **options)

    def __repr__(self) -> str:
        return f"<contexture.Sequence {self.id!r}: {self.n_tokens} tokens, {self.text[:40]!r}>"
