"""One HDF5 file of a run, a part or run.h5: opened when first read, its blocks cut out of the flat datasets."""

from __future__ import annotations

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from contexture.errors import RunError

FORMAT_VERSION = 1
OPEN_FILES = 32

Index = tuple[Any, ...]


class HDF5File:
    """Reads of one file, with the errors of HDF5 turned into sentences."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise RunError(f"{path} cannot be opened as HDF5 ({error}); `contexture verify` checks a whole run") from error
        version = self._file.attrs.get("format_version")
        if version != FORMAT_VERSION:
            self._file.close()
            raise RunError(f"{path} has format version {version}, and this reader knows {FORMAT_VERSION}; install the reader that came with the program")

    def close(self) -> None:
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Root attributes; texts as str."""
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in self._file.attrs.items()}

    def names(self, group: str) -> list[str]:
        """Names of the datasets in a group; none if there is no such group."""
        return list(self._file[group]) if group in self._file else []

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def dataset_attributes(self, name: str) -> dict[str, Any]:
        """Attributes of a dataset or a group; none if it is not there."""
        return dict(self._file[name].attrs) if name in self._file else {}

    def length(self, name: str) -> int:
        """Rows of a dataset."""
        return len(self._file[name])

    def rows(self, name: str, selection: Any = ()) -> np.ndarray:
        """dataset[selection]."""
        try:
            return self._file[name][selection]
        except KeyError as error:
            raise RunError(f"{self.path} has no dataset {name}; was the file written by contexture?") from error
        except OSError as error:
            raise RunError(f"{self.path}: {name} cannot be read ({error}); the file is damaged, `contexture verify` says where") from error

    def block(self, name: str, start: int, shape: tuple[int, ...], index: Index = ()) -> np.ndarray:
        """block[index] of the block of that shape that begins at element `start` of a flat dataset. Leading whole numbers, and
        the slice after them, are read alone."""
        index = tuple(index)
        if len(index) > len(shape):
            raise IndexError(f"{len(index)} indices for a block of {len(shape)} dimensions")
        while index and isinstance(index[0], (int, np.integer)):
            position = int(index[0]) + (shape[0] if index[0] < 0 else 0)
            if not 0 <= position < shape[0]:
                raise IndexError(f"index {index[0]} is out of range for {shape[0]} entries")
            shape, index = shape[1:], index[1:]
            start += position * math.prod(shape)
        if index and isinstance(index[0], slice) and index[0].step in (None, 1):
            begin, end, _ = index[0].indices(shape[0])
            start += begin * math.prod(shape[1:])
            shape, index = (max(end - begin, 0), *shape[1:]), (slice(None), *index[1:])
        values = self.rows(name, slice(start, start + math.prod(shape))).reshape(shape)
        return values[index] if index else values

    def missing_sources(self) -> list[str]:
        """Files that this file's virtual datasets are made of and that are not there: HDF5 would silently give fill values."""
        dataset = self._file.get("/seq/n_tokens")
        if dataset is None or not dataset.is_virtual:
            return []
        return sorted({source.file_name for source in dataset.virtual_sources() if not (self.path.parent / source.file_name).exists()})


class FileCache:
    """The files read last, so that a run of thousands of parts does not hold thousands open."""

    def __init__(self, limit: int = OPEN_FILES) -> None:
        self._limit = limit
        self._files: OrderedDict[Path, HDF5File] = OrderedDict()

    def get(self, path: Path) -> HDF5File:
        file = self._files.pop(path, None) or HDF5File(path)
        self._files[path] = file
        if len(self._files) > self._limit:
            self._files.popitem(last=False)[1].close()
        return file

    def close(self) -> None:
        while self._files:
            self._files.popitem()[1].close()
