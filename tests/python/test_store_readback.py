"""What the store writes, read by h5py and h5dump: every dataset of the parts and of run.h5, with the filters they know."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

DRIVER = os.environ["STORE_DRIVER"]
SHARDS, SEQUENCES = 3, 5
OFFSETS = {
    "/text/bytes": "/text/offset",
    "/text/pair_bytes": "/text/pair_offset",
    "/vectors/hidden_state": "/seq/hidden_offset",
    "/maps": "/seq/map_offset",
    "/maps_head": "/seq/map_head_offset",
    "/vectors": "/seq/vector_offset",
    "/tok": "/seq/tok_offset",
    "/tokstat/mixing_ratio": "/seq/tok_offset",
    "/tokstat/bias_norm": "/seq/tok_offset",
}
MODES = {"float32": [], "bits13": ["--bits", "13"], "half": ["--half"], "uncompressed": ["--level", "0"]}


def call(*arguments: str | Path) -> None:
    subprocess.run([DRIVER, *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[dict[str, np.ndarray]]:
    """What the store was given, by dataset name, for every sequence."""
    path = tmp_path_factory.mktemp("samples") / "samples.bin"
    call("samples", path, "--shards", str(SHARDS), "--sequences", str(SEQUENCES))
    sequences: list[dict[str, np.ndarray]] = []
    with path.open("rb") as file:
        while line := file.readline():
            name, dtype, count = line.decode().split()
            values = np.frombuffer(file.read(int(count) * np.dtype(dtype).itemsize), dtype)
            assert file.read(1) == b"\n"
            if name == "sequence":
                sequences.append({})
            sequences[-1][name] = values
    assert len(sequences) == SHARDS * SEQUENCES
    return sequences


@pytest.fixture(scope="module", params=MODES)
def written(request, tmp_path_factory):
    """A run in one precision, and the function that turns a map into what is stored of it."""
    folder = tmp_path_factory.mktemp(request.param) / "out"
    call("write", folder, "--shards", str(SHARDS), "--sequences", str(SEQUENCES), *MODES[request.param])
    stored = {"bits13": round_to_13_bits, "half": lambda values: values.astype(np.float16)}
    return folder, stored.get(request.param, lambda values: values)


def round_to_13_bits(values: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(mantissa * 2.0**14), exponent - 14).astype(np.float32)


def expected_blocks(samples, name: str, stored) -> list[np.ndarray]:
    is_map = name.startswith(("/maps/", "/maps_head/"))
    return [stored(sample[name]) if is_map else sample[name] for sample in samples]


def compare_file(file: h5py.File, samples, stored) -> None:
    numbers = np.stack([sample["sequence"] for sample in samples])
    for column, name in enumerate(["document", "source", "line", "window", "flags", "n_tokens"]):
        np.testing.assert_array_equal(file[f"/seq/{name}"][:], numbers[:, column])
    assert [name.decode() for name in file["/seq/id"][:]] == [sample["/seq/id"].tobytes().decode() for sample in samples]
    assert [name.decode() for name in file["/sources"][:]] == ["corpus/a.txt", "corpus/größer.jsonl"]
    np.testing.assert_array_equal(file["/seq/completeness_error"][:], np.stack([sample["/seq/completeness_error"] for sample in samples]))
    for name in samples[0]:
        if name.startswith("/seq/") or name == "sequence":
            continue
        offsets = file[OFFSETS.get(name) or OFFSETS[name.rsplit("/", 1)[0]]][:]
        assert offsets.shape == (len(samples) + 1,)
        assert offsets[0] == 0
        dataset = file[name]
        whole = dataset[:]
        for number, block in enumerate(expected_blocks(samples, name, stored)):
            found = whole[offsets[number] : offsets[number + 1]]
            assert found.dtype == block.dtype, name
            np.testing.assert_array_equal(found.reshape(-1), block, err_msg=f"{name} of sequence {number}")
        assert offsets[-1] == len(whole), name


def test_parts(written, samples):
    folder, stored = written
    for shard in range(SHARDS):
        with h5py.File(folder / f"parts/shard-{shard:06d}.h5") as file:
            compare_file(file, samples[shard * SEQUENCES : (shard + 1) * SEQUENCES], stored)


def test_joined(written, samples):
    folder, stored = written
    with h5py.File(folder / "run.h5") as file:
        compare_file(file, samples, stored)
        assert file["/maps/attn"].is_virtual
        np.testing.assert_array_equal(file["/parts/sequence_offset"][:], [0, 5, 10, 15])


def test_the_schema_is_the_same(written):
    """run.h5 has the datasets of a part, of the same types, and /parts besides; everything explains itself."""
    folder, _ = written
    compressed = "uncompressed" not in str(folder)
    kinds: list[dict[str, np.dtype]] = []
    for name in ["parts/shard-000001.h5", "run.h5"]:
        kinds.append({})
        with h5py.File(folder / name) as file:

            def look(path, thing, file=file, kind=kinds[-1]):
                if isinstance(thing, h5py.Dataset):
                    kind[path] = thing.dtype if thing.dtype.kind != "S" else "text"
                    assert thing.attrs["meaning"], path
                    assert thing.attrs["layout"], path
                    if not thing.is_virtual:
                        assert thing.fletcher32, path
                        assert thing.compression == ("gzip" if compressed or name == "run.h5" else None), path
                        assert thing.shuffle == (thing.dtype.itemsize > 1), path

            file.visititems(look)
            assert file.attrs["format_version"] == 1
            assert list(file.attrs["stored_layers"]) == [0, 2]
            assert list(file.attrs["vector_stages"]) == [b"attn", b"ff_res_ln"]
            assert file.attrs["model_fingerprint"] == b"0123456789abcdef0123456789abcdef"
            assert "stages" in file.attrs
            assert "maps" in file.attrs
    for name in ["parts/shard", "parts/file_crc32", "parts/sequence_offset"]:
        del kinds[1][name]
    assert kinds[0] == kinds[1]


def test_a_missing_part_reads_as_nothing(written, samples, tmp_path):
    folder, stored = written
    copy = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, copy)
    (copy / "parts/shard-000001.h5").unlink()
    with h5py.File(copy / "run.h5") as file:
        offsets = file["/seq/map_offset"][:]
        values = file["/maps/ff"][:]
        missing = slice(offsets[SEQUENCES], offsets[2 * SEQUENCES])
        assert np.isnan(values[missing]).all()
        assert not np.isnan(values[: missing.start]).any()
        assert not np.isnan(values[missing.stop :]).any()
        np.testing.assert_array_equal(values[: offsets[1]], stored(samples[0]["/maps/ff"]))
        assert (file["/seq/document"][SEQUENCES : 2 * SEQUENCES] == -1).all()
        tokens = file["/seq/tok_offset"][:]
        assert (file["/tok/special"][tokens[SEQUENCES] : tokens[2 * SEQUENCES]] == 255).all()
        assert (file["/seq/id"][SEQUENCES : 2 * SEQUENCES] == b"").all()


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed (Debian package hdf5-tools)")
def test_h5dump(written, samples):
    folder, stored = written
    for name, which in [("parts/shard-000000.h5", samples[:SEQUENCES]), ("run.h5", samples)]:
        result = subprocess.run(["h5dump", "-d", "/maps/ff", "-m", "%.9g", "-y", "-A", "0", str(folder / name)], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        body = result.stdout.split("DATA {")[1].split("}")[0]
        found = np.array(body.replace("\n", " ").replace(",", " ").split(), dtype=np.float64)
        expected = np.concatenate(expected_blocks(which, "/maps/ff", stored)).astype(np.float64)
        np.testing.assert_allclose(found, expected, rtol=1e-8)
        whole = subprocess.run(["h5dump", str(folder / name)], capture_output=True, text=True, check=False)
        assert whole.returncode == 0
        assert "error" not in whole.stderr
