"""A whole run: its manifest, its parts, and the sequences in them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import h5py
import numpy as np

from contexture.errors import RunError, UnknownName
from contexture.hdf5_file import FileCache
from contexture.manifest import Manifest, read_manifest
from contexture.sequence import Sequence
from contexture.vocabulary import find_vocabulary, read_vocabulary

if TYPE_CHECKING:
    import pandas

    from contexture.statistics import Statistics


def open_run(path: Path | str, vocabulary: Path | str | Mapping[int, str] | None = None, check_files: bool = False) -> Run:
    """Opens the output folder of `contexture run`, finished or not.

    path: the folder, or run.h5 or manifest.json in it; or one part alone, which is then read without a manifest.
    vocabulary: where token texts come from: a model's folder, a tokenizer.json, a vocab.txt, or a dictionary. The default is the
        run's own tokens.json, else the folder of the model that the run was made with, if it is still there.
    check_files: compares every part with the checksum in the manifest, which reads all of them.

    Raises RunError if the manifest is damaged, or a part that it names is missing or has another size.
    """
    path = Path(path)
    folder = path.parent if path.name in ("run.h5", "manifest.json") else path
    if not path.exists():
        raise RunError(f"{path} does not exist; give the folder that was --out of `contexture run`")
    if (folder / "manifest.json").is_file():
        manifest = read_manifest(folder / "manifest.json")
        manifest.check_parts(folder, check_files)
        files = [(folder / part.path, part.sequences) for part in manifest.parts]
        return Run(folder, files, manifest, vocabulary)
    if path.is_dir():
        raise RunError(f"{path} has no manifest.json; give the folder that was --out of `contexture run`")
    return Run(path, None, None, vocabulary)


class Run:
    """The sequences of a run, in the order of the corpus: run[3], run["doc-17"], run[2:5], iteration, len(run).

    Attributes
        path            the folder, or the file of a part alone
        layers          [L] numbers of the layers that maps, mixing ratios and bias norms are stored of; their first axis
        model_layers    layers of the model
        heads, hidden_size
        maps            names of the maps there are
        granularity     "token" or "word": what the rows and columns of maps are
        head_maps       names of the maps per head
        stages          names of the stages of mixing_ratio and bias_norm: those that maps are stored of
        vector_layers   [V] numbers of the layers that vectors are stored of
        vector_stages   names of the stages that vectors are stored of
        complete        the run has ended; a run that has not holds the parts finished so far
        attributes      everything the files say of themselves: program version, precision, fingerprints, …
        manifest        what manifest.json says; None for a part alone
    """

    def __init__(
        self,
        path: Path,
        files: list[tuple[Path, int]] | None,
        manifest: Manifest | None,
        vocabulary: Path | str | Mapping[int, str] | None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self._cache = FileCache()
        self._vocabulary = vocabulary
        self._statistics: Statistics | None = None
        if files is None:
            file = self._cache.get(path)
            missing = file.missing_sources()
            if missing:
                raise RunError(f"{path} joins parts that are not there: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}")
            files = [(path, len(file.rows("/seq/n_tokens")))]
        self._paths = [file for file, _ in files]
        self._ends = list(accumulate(sequences for _, sequences in files))
        self.attributes: dict[str, Any] = self._cache.get(self._paths[0]).attributes if files else {}
        self.complete = manifest.complete if manifest else True
        self.layers: list[int] = self._layers("stored_layers")
        self.model_layers = int(self.attributes.get("layers", 0))
        self.heads = int(self.attributes.get("heads", 0))
        self.hidden_size = int(self.attributes.get("hidden_size", 0))
        self.granularity = str(self.attributes.get("granularity", "token"))
        self.vector_layers: list[int] = self._layers("vector_layers")
        first = self._cache.get(self._paths[0]) if files else None
        order = ("attn_weight", "attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln")

        def names(group: str) -> list[str]:
            return sorted(first.names(group) if first else [], key=lambda name: (order.index(name) if name in order else len(order), name))

        self.maps = names("/maps")
        self.head_maps = names("/maps_head")
        # The datasets of stages that were not asked for are there, and full of NaN.
        self.stages = [name for name in names("/tokstat/mixing_ratio") if name in self.maps]
        self.vector_stages = [name for name in names("/vectors") if name != "hidden_state"]
        self.has_hidden_states = first is not None and "/vectors/hidden_state" in first

    def _layers(self, name: str) -> list[int]:
        # A list without entries is an empty dataspace, which has no length.
        value = self.attributes.get(name, ())
        return [] if isinstance(value, h5py.Empty) else [int(layer) for layer in value]

    # Sequences.

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _sequence(self, index: int) -> Sequence:
        part = bisect_right(self._ends, index)
        first = self._ends[part - 1] if part else 0
        return Sequence(self, index, index - first, partial(self._cache.get, self._paths[part]))

    @overload
    def __getitem__(self, key: int | str) -> Sequence: ...
    @overload
    def __getitem__(self, key: slice) -> list[Sequence]: ...
    def __getitem__(self, key: int | str | slice) -> Sequence | list[Sequence]:
        """The sequence of that number (negative: from the end) or id; the first one where an id occurs twice."""
        if isinstance(key, slice):
            return [self._sequence(index) for index in range(*key.indices(len(self)))]
        if isinstance(key, str):
            index = self._find(key)
            if index is None:
                raise UnknownName("sequence", key, self.ids.tolist() if len(self) <= 100_000 else ())
            return self._sequence(index)
        index = int(key)
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no sequence {index}: {self.path} holds {len(self)}{'' if self.complete else ' so far'}")
        return self._sequence(index % len(self))

    def __iter__(self) -> Iterator[Sequence]:
        return (self._sequence(index) for index in range(len(self)))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    @cached_property
    def ids(self) -> np.ndarray:
        """[N] the id of every sequence, as str; reads all parts' ids."""
        columns = [np.char.decode(self._rows(path, "/seq/id"), "utf-8", "replace") for path in self._paths]
        return np.concatenate(columns) if columns else np.empty(0, dtype="U1")

    @cached_property
    def n_tokens(self) -> np.ndarray:
        """[N] tokens of every sequence."""
        return self._numbers("/seq/n_tokens")

    @cached_property
    def map_sizes(self) -> np.ndarray:
        """[N] rows, and columns, of every sequence's maps: its tokens, or its words."""
        return self._numbers("/seq/n_words") if self.granularity == "word" else self.n_tokens

    def _numbers(self, name: str) -> np.ndarray:
        columns = [self._rows(path, name) for path in self._paths]
        return np.concatenate(columns) if columns else np.empty(0, dtype=np.int32)

    def _rows(self, path: Path, name: str) -> np.ndarray:
        return self._cache.get(path).rows(name)

    @cached_property
    def _sorted_ids(self) -> np.ndarray:
        # A sorted index costs 8 bytes a sequence where a dictionary costs a hundred.
        return np.argsort(self.ids, kind="stable")

    def _find(self, sequence_id: str) -> int | None:
        place = int(np.searchsorted(self.ids, sequence_id, sorter=self._sorted_ids))
        if place == len(self) or self.ids[self._sorted_ids[place]] != sequence_id:
            return None
        return int(self._sorted_ids[place])

    # Everything else.

    @cached_property
    def vocabulary(self) -> Mapping[int, str]:
        """Token texts by id; empty if none was given and neither the run nor the model's folder, as summary.json names it, has them."""
        if isinstance(self._vocabulary, Mapping):
            return self._vocabulary
        if self._vocabulary is not None:
            return read_vocabulary(self._vocabulary)
        return find_vocabulary(self.path)

    def to_pandas(self, sequences: list[int | str] | slice | None = None) -> pandas.DataFrame:
        """One row a sequence, stage, layer and token, with mixing ratio and bias norm; of all sequences unless some are named."""
        from contexture import convert

        chosen = list(self) if sequences is None else self[sequences] if isinstance(sequences, slice) else [self[key] for key in sequences]
        return convert.tokens_table(chosen)

    # Statistics of the whole corpus; more of them, and more about them, in run.statistics.

    @property
    def statistics(self) -> Statistics:
        """The tables that --analyses made; RunError if there are none."""
        if self._statistics is None:
            from contexture.statistics import Statistics

            self._statistics = Statistics(self)
        return self._statistics

    def contextualization_change(self) -> pandas.DataFrame:
        """How much each component of each layer reorders the map: 1 − Spearman's ρ, mean over sequences.

        Columns layer, before, after, variant ("all", "no_special", "no_diagonal"), mean, std, count, low, high (95 % interval over sequences),
        component ("res1", "ln1", "ff", "res2", "ln2", "ff_block", "after_attn").
        """
        return self.statistics.contextualization_change()

    def mixing_ratio(self, by: str | None = None) -> pandas.DataFrame:
        """Mean mixing ratio by layer and stage, over all tokens, or by="class", "pos", "entity" or "frequency" of the token; "correlation" with the frequency.

        Columns layer, stage, (class or label,) mean, std, count; by="frequency": bin, least, most, types, count, mean, type_mean, type_std;
        by="correlation": types, spearman.
        """
        return self.statistics.mixing_ratio(by)

    def top_pairs(self, component: str | None = None, layer: int | None = None, k: int | None = 20, sign: str | None = None) -> pandas.DataFrame:
        """The k pairs of token types that a component amplifies ("positive") and weakens ("negative") most, of each component and layer unless one is named.

        Columns layer, component, sign, rank (from 0), target_token, source_token, count, mean, std (of the change of the source's share of the
        target's row), target, source (token ids). k=None: all that are stored.
        """
        return self.statistics.top_pairs(component, layer, k, sign)

    def categories(self, by: str = "category") -> pandas.DataFrame:
        """Mean change of the map by layer, component and category of the pair: same word, same entity, …; by="pos": by two parts of speech;
        by="distance": by category and distance.

        Columns layer, component, category (target_pos, source_pos; category, distance), count, sequences, mean, std, low, high (95 % interval over
        sequences), and by="category" bootstrap_low, bootstrap_high.
        """
        return self.statistics.categories(by)

    def cancellation(self, by: str = "sequence") -> pandas.DataFrame:
        """How much of an earlier component's change a later one undoes (share −1: all of it); by="category": by category of the pair.

        Columns layer, earlier, later, variant, count, and mean, std, low, high of share, pearson and spearman (share_mean, …); by="category":
        layer, earlier, later, category, count, sequences, share, low, high, pearson.
        """
        return self.statistics.cancellation(by)

    def norm_dimensions(self, by: str = "change") -> pandas.DataFrame:
        """How much each layer norm reorders the map, with and without its masked dimensions; by="share": of the squared norms; by="dimension": which.

        Columns layer, norm ("ln1", "ln2"), dimensions ("all", "kept", "difference"), variant, mean, std, count, low, high; by="share": side ("before",
        "after") in the place of dimensions; by="dimension": layer, norm, dimension.
        """
        return self.statistics.norm_dimensions(by)

    def close(self) -> None:
        """Closes the files. Reading on opens them again."""
        self._statistics = None
        self._cache.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files cannot be sent to worker processes; the way to open them can.
        return open_run, (self.path, self._vocabulary)

    def __repr__(self) -> str:
        state = "" if self.complete else ", not finished"
        return f"<contexture.Run {str(self.path)!r}: {len(self)} sequences, layers {self.layers}, maps {', '.join(self.maps) or 'none'}{state}>"
