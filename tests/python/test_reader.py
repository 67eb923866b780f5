"""The Python reader on folders made with h5py, where every number is known."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import support

import contexture
import fake_run
from contexture import convert, hdf5_file, plot
from fake_run import DOCUMENTS, HEADS, LAYERS, MAPS, MODEL_LAYERS, STAGES, VECTOR_LAYERS, WIDTH, kind_of, value


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return fake_run.write_run(tmp_path / "out")


@pytest.fixture()
def run(folder: Path) -> contexture.Run:
    return contexture.open_run(folder)


# Sequences.


def test_run_says_what_it_holds(run: contexture.Run) -> None:
    assert len(run) == len(DOCUMENTS) and run.complete
    assert run.layers == list(LAYERS) and run.model_layers == MODEL_LAYERS and run.heads == HEADS and run.hidden_size == WIDTH
    assert run.maps == ["attn_weight", *STAGES] and run.stages == list(STAGES) and run.head_maps == ["attn_weight", "attn"]
    assert run.vector_layers == list(VECTOR_LAYERS) and run.vector_stages == ["ff"] and run.has_hidden_states
    assert run.attributes["program_version"] == "0.1.0"
    assert "5 sequences" in repr(run)


def test_sequences_by_number_id_slice_and_iteration(run: contexture.Run) -> None:
    ids = [document.id for document in DOCUMENTS]
    assert [sequence.id for sequence in run] == ids == run.ids.tolist()
    assert [run[k].id for k in range(len(run))] == ids and run[-1].id == ids[-1]
    assert [run[name].index for name in ids] == list(range(len(ids)))
    assert [sequence.id for sequence in run[1:4]] == ids[1:4]
    assert "Zürich" in run and "Zurich" not in run
    assert run.n_tokens.tolist() == [len(document.tokens) for document in DOCUMENTS]
    assert run[1].document == 1 and run[1].line == 2 and run[1].source == "corpus.txt" and run[1].window == 0


def test_unknown_sequences_are_named(run: contexture.Run) -> None:
    with pytest.raises(contexture.UnknownName, match="no sequence 'doc-71'; the nearest is 'doc-17'"):
        run["doc-71"]
    with pytest.raises(IndexError, match="no sequence 5: .* holds 5"):
        run[5]


def test_text_and_tokens(run: contexture.Run) -> None:
    sequence = run["doc-17"]
    assert sequence.text == "naïve bank on the $" and sequence.pair is None
    assert sequence.tokens == ["[CLS]", "naïve", "bank", "on", "the", "$", "[SEP]"]
    assert sequence.special.tolist() == [True] + [False] * 5 + [True]
    assert sequence.char_spans[1].tolist() == [0, 5] and sequence.input_ids.tolist() == [1, 9, 7, 6, 3, 8, 2]
    pair = run["pair"]
    assert (pair.text, pair.pair) == ("the cat", "on the bank") and contexture.Flags.PAIR in pair.flags
    assert pair.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 0] and pair.text_index.tolist() == [-1, 0, 0, -1, 1, 1, 1, -1]
    assert run["ids"].text == "" and contexture.Flags.IDS in run["ids"].flags


def test_tokens_without_vocabulary_are_pieces_of_the_text(folder: Path) -> None:
    (folder / "tokens.json").unlink()
    run = contexture.open_run(folder)
    assert run["pair"].tokens == ["[1]", "the", "cat", "[2]", "on", "the", "bank", "[2]"]
    assert run["ids"].tokens == ["[5]"]


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.txt", "dictionary"])
def test_vocabulary_can_be_given(form: str, folder: Path, tmp_path: Path) -> None:
    (folder / "tokens.json").unlink()
    tokens = [token.upper() for token in fake_run.TOKENS]
    path = tmp_path / form
    if form == "tokenizer.json":
        path.write_text(json.dumps({"model": {"vocab": {token: number for number, token in enumerate(tokens)}}, "added_tokens": [{"id": 1, "content": "<s>"}]}))
        tokens[1] = "<s>"
    elif form == "vocab.txt":
        path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    run = contexture.open_run(folder, vocabulary=dict(enumerate(tokens)) if form == "dictionary" else path)
    assert run["ids"].tokens == ["##S"] and run[0].tokens == [tokens[1], "THE", "CAT", "[SEP]"]


def test_vocabulary_of_the_model_that_the_summary_names(folder: Path, tmp_path: Path) -> None:
    (folder / "tokens.json").rename(tmp_path / "tokens.json")
    (folder / "summary.json").write_text(json.dumps({"paths": {"model": str(tmp_path)}}))
    assert contexture.open_run(folder)[0].tokens == ["[CLS]", "the", "cat", "[SEP]"]
    (folder / "summary.json").write_text(json.dumps({"paths": {"model": str(tmp_path / "gone")}}))
    assert contexture.open_run(folder)[0].tokens == ["[1]", "the", "cat", "[2]"]


# Results.


def test_blocks_are_those_of_the_sequence(run: contexture.Run) -> None:
    for number, sequence in enumerate(run):
        n, length = sequence.n_tokens, len(LAYERS)
        for name in MAPS:
            np.testing.assert_array_equal(sequence.maps[name], value(number, kind_of("maps", name), length, n, n))
        np.testing.assert_array_equal(sequence.head_maps["attn"], value(number, kind_of("maps_head", "attn"), length, HEADS, n, n))
        for stage in STAGES:
            np.testing.assert_array_equal(sequence.mixing_ratio[stage], value(number, kind_of("mixing_ratio", stage), n, length).T / 2**24)
            np.testing.assert_array_equal(sequence.bias_norm[stage], value(number, kind_of("bias_norm", stage), n, length).T)
        np.testing.assert_array_equal(sequence.hidden_states, value(number, kind_of("vectors", "hidden_state"), MODEL_LAYERS + 1, n, WIDTH))
        np.testing.assert_array_equal(sequence.vectors["ff"], value(number, kind_of("vectors", "ff"), len(VECTOR_LAYERS), n, n, WIDTH))
        np.testing.assert_allclose(sequence.completeness_error, np.full(length, 1e-7 * (number + 1)), rtol=1e-6)


def test_slices_equal_slices_of_the_whole_and_read_no_more(run: contexture.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = run["doc-17"]
    whole, vectors, states = sequence.maps["ff"], sequence.vectors["ff"], sequence.hidden_states
    read = []
    original = hdf5_file.HDF5File.rows

    def rows(self: hdf5_file.HDF5File, name: str, selection: object = ()) -> np.ndarray:
        values = original(self, name, selection)
        if name in ("/maps/ff", "/vectors/ff", "/vectors/hidden_state"):
            read.append(values.size)
        return values

    monkeypatch.setattr(hdf5_file.HDF5File, "rows", rows)
    n = sequence.n_tokens
    np.testing.assert_array_equal(sequence.maps["ff", 1], whole[1])
    np.testing.assert_array_equal(sequence.maps["ff", -1, 2], whole[-1, 2])
    np.testing.assert_array_equal(sequence.maps["ff", 1:, :, 3], whole[1:, :, 3])
    np.testing.assert_array_equal(sequence.maps["ff", 0, 2:5, 1], whole[0, 2:5, 1])
    np.testing.assert_array_equal(sequence.maps["ff", 0, 1, 2], whole[0, 1, 2])
    np.testing.assert_array_equal(sequence.maps["ff", ::2], whole[::2])
    np.testing.assert_array_equal(sequence.vectors["ff", 0, 4], vectors[0, 4])
    np.testing.assert_array_equal(sequence.hidden_state(2), states[2])
    np.testing.assert_array_equal(sequence.hidden_state(slice(1, 3)), states[1:3])
    assert read == [n * n, n, n * n, 3 * n, 1, 2 * n * n, n * WIDTH, n * WIDTH, 2 * n * WIDTH]
    with pytest.raises(IndexError, match="index 2 is out of range for 2"):
        sequence.maps["ff", 2]
    with pytest.raises(IndexError, match="4 indices for a block of 3"):
        sequence.maps["ff", 0, 0, 0, 0]


def test_unknown_names_are_named(run: contexture.Run) -> None:
    with pytest.raises(contexture.UnknownName, match="no map 'ff_ln'; the nearest is 'ff_res_ln'|no map 'ff_ln'; the nearest is 'ff'"):
        run[0].maps["ff_ln"]
    assert "ff" in run[0].maps and "nothing" not in run[0].maps and list(run[0].maps) == run.maps
    with pytest.raises(contexture.UnknownName, match="stage with vectors 'attn'"):
        run[0].vectors["attn"]


def test_float16_maps_are_read_as_float32(tmp_path: Path) -> None:
    folder = fake_run.write_run(tmp_path / "out", map_dtype="f2")
    values = contexture.open_run(folder)[0].maps["attn"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, value(0, kind_of("maps", "attn"), len(LAYERS), 4, 4).astype("f2"))


# Whole folders.


def test_many_parts_need_few_open_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = contexture.open_run(folder)
    run._cache = hdf5_file.FileCache(limit=1)
    for _ in range(2):
        assert [sequence.maps["ff", 0, 0, 0] for sequence in run] == [value(k, kind_of("maps", "ff"), 1)[0] for k in range(len(run))]
    run.close()
    assert run[3].id == "ids"


def test_unfinished_run_gives_its_finished_parts(tmp_path: Path) -> None:
    folder = fake_run.write_run(tmp_path / "out", finished_parts=2)
    run = contexture.open_run(folder)
    assert not run.complete and len(run) == 4 and "not finished" in repr(run)
    with pytest.raises(IndexError, match="holds 4 so far"):
        run[4]


def test_run_of_which_nothing_is_finished_is_empty(tmp_path: Path) -> None:
    run = contexture.open_run(fake_run.write_run(tmp_path / "out", finished_parts=0))
    assert len(run) == 0 and list(run) == [] and run.ids.tolist() == [] and "x" not in run


def test_torn_last_line_is_a_part_that_was_not_finished(folder: Path) -> None:
    manifest = folder / "manifest.json"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-2]) + lines[-2][: len(lines[-2]) // 2])
    run = contexture.open_run(folder)
    assert not run.complete and len(run) == 4


def test_folder_can_be_moved_and_named_by_its_files(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    for path in (moved, moved / "manifest.json", moved / "run.h5", str(moved)):
        assert len(contexture.open_run(path)) == len(DOCUMENTS)


def test_joined_file_and_single_part_open_without_a_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    run = contexture.open_run(folder / "run.h5")
    assert run.ids.tolist() == [document.id for document in DOCUMENTS]
    np.testing.assert_array_equal(run[3].maps["ff"], value(3, kind_of("maps", "ff"), len(LAYERS), 1, 1))
    part = contexture.open_run(folder / "parts" / "shard-000001.h5")
    assert part.ids.tolist() == ["pair", "ids"]
    (folder / "parts" / "shard-000002.h5").unlink()
    with pytest.raises(contexture.RunError, match="joins parts that are not there: .*shard-000002"):
        contexture.open_run(folder / "run.h5")


def test_run_can_be_sent_to_another_process(run: contexture.Run) -> None:
    copy = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(copy[2].maps["attn"], run[2].maps["attn"])


# What is damaged is refused, and the sentence says what.


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x20
    path.write_bytes(content)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(contexture.RunError, match="does not exist"):
        contexture.open_run(tmp_path / "nothing")
    with pytest.raises(contexture.RunError, match="has no manifest.json"):
        contexture.open_run(tmp_path)


@pytest.mark.parametrize("line", [0, 1, 2])
def test_damaged_manifest_line_is_refused(line: int, folder: Path) -> None:
    manifest = folder / "manifest.json"
    start = sum(len(text) for text in manifest.read_bytes().splitlines(keepends=True)[:line])
    damage(manifest, start + 12)
    with pytest.raises(contexture.RunError, match=f"manifest.json, line {line + 1}"):
        contexture.open_run(folder)


def test_missing_part_is_named(folder: Path) -> None:
    (folder / "parts" / "shard-000001.h5").unlink()
    with pytest.raises(contexture.RunError, match="shard-000001.h5 is missing"):
        contexture.open_run(folder)


def test_part_of_another_size_is_named(folder: Path) -> None:
    with (folder / "parts" / "shard-000001.h5").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(contexture.RunError, match="shard-000001.h5 has .* bytes, the manifest says"):
        contexture.open_run(folder)


def test_changed_part_is_found_by_its_checksum_where_asked_for(folder: Path) -> None:
    path = folder / "parts" / "shard-000000.h5"
    damage(path, path.stat().st_size // 2)
    with pytest.raises(contexture.RunError, match="shard-000000.h5 .*CRC-32"):
        contexture.open_run(folder, check_files=True)


def test_damaged_chunk_is_an_error_not_a_number(folder: Path) -> None:
    import h5py

    path = folder / "parts" / "shard-000000.h5"
    with h5py.File(path) as file:
        offset = file["/maps/ff"].id.get_chunk_info(0).byte_offset
    damage(path, offset + 10)
    with pytest.raises(contexture.RunError, match="shard-000000.h5: /maps/ff cannot be read .* damaged"):
        contexture.open_run(folder)[0].maps["ff"]


def test_other_format_version_is_refused(folder: Path) -> None:
    import h5py

    part = folder / "parts" / "shard-000000.h5"
    with h5py.File(part, "r+") as file:
        file.attrs["format_version"] = 7
    with pytest.raises(contexture.RunError, match="format version 7, and this reader knows 1"):
        contexture.open_run(part)


def test_bad_vocabulary_is_named(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(contexture.RunError, match="neither a tokens.json, a tokenizer.json nor a vocab.txt"):
        contexture.open_run(folder, vocabulary=path)[0].tokens
    with pytest.raises(contexture.RunError, match="has none of tokens.json"):
        contexture.open_run(folder, vocabulary=tmp_path / "out" / "parts")[0].tokens


# Other libraries.


def test_xarray_has_named_axes(run: contexture.Run) -> None:
    sequence = run["doc-17"]
    data = sequence.to_xarray()
    n = sequence.n_tokens
    assert data["map"].dims == ("map_name", "layer", "target", "source") and data["map"].shape == (7, 2, n, n)
    np.testing.assert_array_equal(data["map"].sel(map_name="ff_res", layer=3), sequence.maps["ff_res", 1])
    np.testing.assert_array_equal(data["mixing_ratio"].sel(stage="ff", layer=1), sequence.mixing_ratio["ff"][0])
    assert data["source_token"].values.tolist() == sequence.tokens
    assert data.attrs == {"id": "doc-17", "text": "naïve bank on the $"}


def test_pandas_rows_are_the_entries(run: contexture.Run) -> None:
    sequence = run["pair"]
    n = sequence.n_tokens
    maps = sequence.to_pandas("maps")
    assert len(maps) == 7 * 2 * n * n
    row = maps[(maps["map"] == "ff") & (maps["layer"] == 3) & (maps["target"] == 2) & (maps["source"] == 5)].iloc[0]
    assert (row.target_token, row.source_token, row["value"]) == ("cat", "the", sequence.maps["ff", 1, 2, 5])
    tokens = sequence.to_pandas()
    row = tokens[(tokens["stage"] == "attn_res") & (tokens["layer"] == 1) & (tokens["position"] == 6)].iloc[0]
    assert (row.token, row.mixing_ratio, row.bias_norm) == ("bank", sequence.mixing_ratio["attn_res"][0, 6], sequence.bias_norm["attn_res"][0, 6])
    assert len(run.to_pandas()) == 6 * 2 * run.n_tokens.sum() and set(run.to_pandas([0, "ids"])["sequence"]) == {"0", "ids"}
    with pytest.raises(ValueError, match='"tokens" or "maps"'):
        sequence.to_pandas("words")


def test_bertviz_gets_a_list_of_layers_and_tokens(run: contexture.Run) -> None:
    """What bertviz's format_attention asks for: per layer 4 dimensions, the first of them 1."""
    sequence = run["doc-17"]
    n = sequence.n_tokens
    for stages, heads in (("ff", 1), (["attn", "ff_res_ln"], 2), ("heads", HEADS)):
        attention, tokens = sequence.to_bertviz(stages)
        assert tokens == sequence.tokens and len(attention) == len(LAYERS)
        for layer in attention:
            assert tuple(layer.shape) == (1, heads, n, n)
            np.testing.assert_allclose(np.asarray(layer).sum(axis=-1), 1, rtol=1e-5)
    attention, _ = sequence.to_bertviz("attn", normalize=False)
    np.testing.assert_array_equal(np.asarray(attention[1])[0, 0], sequence.maps["attn", 1])


def test_row_shares_of_an_empty_row_are_zero() -> None:
    np.testing.assert_array_equal(convert.row_shares(np.array([[0.0, 0.0], [1.0, 3.0]])), [[0, 0], [0.25, 0.75]])


# Pictures.


def test_map_grid_has_a_row_a_map_and_a_column_a_layer(run: contexture.Run) -> None:
    sequence = run["doc-17"]
    figure = plot.map_grid(sequence, maps=["attn", "ff"], norms=True)
    images = [axis.images[0] for axis in figure.axes if axis.images and axis.get_label() != "<colorbar>"]
    assert len(images) == 4
    np.testing.assert_array_equal(images[3].get_array(), sequence.maps["ff", 1])
    assert len(plot.map_grid(sequence, layers=[3]).axes) == 7 + 1
    with pytest.raises(contexture.UnknownName, match="no layer 2; there are 1, 3"):
        plot.map_grid(sequence, layers=[2])


def test_mixing_ratio_lines_are_the_means(run: contexture.Run) -> None:
    figure = plot.mixing_ratio(run, special=False)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == list(STAGES)
    ratios = np.concatenate([sequence.mixing_ratio["ff"][:, ~sequence.special] for sequence in run], axis=1)
    np.testing.assert_allclose(lines[3].get_ydata(), ratios.mean(axis=1), rtol=1e-6)


def test_plot_command_writes_a_picture(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "contexture.plot", str(folder)]
    environment = {"PYTHONPATH": str(support.ROOT / "python"), "PATH": "", "MPLCONFIGDIR": str(tmp_path)}
    picture = tmp_path / "maps.png"
    result = subprocess.run([*command, "doc-17", "-o", str(picture)], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    result = subprocess.run([*command, "doc-71", "-o", str(picture)], env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr == "contexture.plot: there is no sequence 'doc-71'; the nearest is 'doc-17'\n"


def test_plot_finds_a_sequence_by_id_then_by_number(run: contexture.Run) -> None:
    assert plot.find_sequence(run, "0").index == 0 and plot.find_sequence(run, "3").id == "ids" and plot.find_sequence(run, "ids").index == 3
