"""What must not show in the statistics of a run: threads, interruptions, shards, whether maps are stored; and what must: damage."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import support


def stored(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in [*sorted((folder / "parts").iterdir()), folder / "run.h5"]}


def small_run(checkpoint: Path, corpus: Path, out: Path, *options: str | int) -> Path:
    analyses = ("--stages", "none", "--analyses", "all", "--min-count", 3, "--mask-dims", "activation:2")
    support.contexture("run", "--model", checkpoint, "--corpus", corpus, "--out", out, *analyses, *options)
    return out


@pytest.fixture(scope="module")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["the cat sat on the river bank", "they were all many words, some long: aeiourst!", "a", "the dog ran to the old house by the river"]
    annotated = {"text": texts[0], "words": [{"start": 4, "end": 7, "pos": "NOUN", "ner": "B-X"}, {"start": 15, "end": 20, "pos": "ÄDJ", "ner": "I-X"}]}
    documents = [{"text": text} for text in texts * 3] + [annotated, {"input_ids": [7]}, {"input_ids": [9, 9, 9, 9]}] + [{"text": texts[3]}] * 6
    return support.write_jsonl(tmp_path_factory.mktemp("small") / "corpus.jsonl", documents)


def test_threads_and_interruptions_do_not_show(random_checkpoints: dict[str, Path], small_corpus: Path, tmp_path: Path) -> None:
    checkpoint = random_checkpoints["gelu"]
    one = small_run(checkpoint, small_corpus, tmp_path / "one", "--shard-size", 5, "--threads", 1)
    three = small_run(checkpoint, small_corpus, tmp_path / "three", "--shard-size", 5, "--threads", 3)
    assert stored(one) == stored(three)
    # Shards 1 and 3 are computed again by another process, which meets the labels in another order; then folded by hand.
    before = stored(one)
    for name in ("shard-000001.h5", "shard-000003.h5"):
        (one / "parts" / name).unlink()
    small_run(checkpoint, small_corpus, one, "--shard-size", 5)
    assert stored(one) == before
    (one / "run.h5").unlink()
    assert support.contexture("merge", one).stdout.endswith("run.h5: 5 shards\n")
    assert stored(one) == before
    support.contexture("verify", one)


def test_shards_do_not_show(random_checkpoints: dict[str, Path], small_corpus: Path, tmp_path: Path) -> None:
    folders = [small_run(random_checkpoints["gelu"], small_corpus, tmp_path / str(size), "--shard-size", size) for size in (100, 3)]
    assert [len(list((folder / "parts").iterdir())) for folder in folders] == [1, 7]
    with h5py.File(folders[0] / "run.h5") as one, h5py.File(folders[1] / "run.h5") as seven:
        names: list[str] = []
        one["stats"].visit(lambda name: names.append(name) if isinstance(one["stats"][name], h5py.Dataset) else None)
        assert len(names) > 100
        for name in names:
            first, second = one["stats"][name][:], seven["stats"][name][:]
            # Another shard is another batch: the maps themselves differ by rounding of float32, below 1e-6 of a map's maximum.
            if name.startswith("pair_amplification/top/") and first.dtype.kind == "f":
                np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-7, err_msg=name)
            elif first.dtype.kind == "f":
                scale = np.nanmax(np.abs(first), initial=0)
                np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6 * scale, err_msg=name)
            elif not name.startswith("pair_amplification/top/"):  # equal means may change places by rounding
                np.testing.assert_array_equal(first, second, err_msg=name)


def test_maps_are_not_needed(random_checkpoints: dict[str, Path], small_corpus: Path, tmp_path: Path) -> None:
    """Statistics are the same whether maps are stored or not, and stages that are not asked for leave nothing behind."""
    without = small_run(random_checkpoints["gelu"], small_corpus, tmp_path / "without")
    support.contexture(
        *("run", "--model", random_checkpoints["gelu"], "--corpus", small_corpus, "--out", tmp_path / "with", "--analyses", "all", "--min-count", 3),
        *("--mask-dims", "activation:2"),
    )
    with h5py.File(without / "run.h5") as few, h5py.File(tmp_path / "with" / "run.h5") as many:
        assert "maps" not in few and np.isnan(few["tokstat/mixing_ratio/ff"][:]).all() and np.isfinite(many["tokstat/mixing_ratio/ff"][:]).all()

        def compare(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset):
                np.testing.assert_array_equal(item[:], few["stats"][name][:], err_msg=name)

        many["stats"].visititems(compare)


def test_damage_is_found(random_checkpoints: dict[str, Path], small_corpus: Path, tmp_path: Path) -> None:
    out = small_run(random_checkpoints["gelu"], small_corpus, tmp_path / "out")
    part = out / "parts" / "shard-000000.h5"
    with h5py.File(part) as file:
        place = file["stats/categories/category/sum"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(part.read_bytes())
    damaged[place + 3] ^= 1
    part.write_bytes(damaged)
    assert "CRC-32" in support.contexture("verify", out, expect=1).stdout
    assert "categories/category/sum" in support.contexture("merge", out, expect=1).stderr


def test_standard_input_is_read_once(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    arguments = ("run", "--model", random_checkpoints["gelu"], "--corpus", "-", "--out", tmp_path / "out", "--analyses", "pair_amplification")
    assert "reads the corpus twice" in support.contexture(*arguments, expect=2).stderr
