"""The program's output, read by the reader, against the float64 oracle and `transformers`: `contexture run` on whole checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import support

import contexture
import oracle

MAPS_BOUND = 5e-5  # relative, entries above 1e-6 of the map's maximum
ATTENTION_BOUND = 1e-5
MIXING_RATIO_BOUND = 1e-5
HIDDEN_STATE_BOUND = 1e-5  # of the largest entry
COMPLETENESS_BOUND = 1e-5

SENTENCES = [
    "The river bank was covered in wild flowers.",
    "The bank raised its interest rates again, to nobody's surprise.",
    "Naïve café owners in Zürich don't serve 東京-style coffee — they really don't!",
    "I",
    "Unquestionably, antidisestablishmentarianism remains the schoolchild's favourite example of an overlong word.",
]
LONG_TEXT = (
    "When the first settlers reached the valley, they found a river that changed its bed nearly every spring. Houses built on the "
    "bank in April stood in the water by June, and the maps that the surveyors drew were out of date before the ink had dried. "
    "It took two generations before somebody thought of asking the people who had lived there all along how they managed: they "
    "moved. Every family kept two houses, one on each terrace, and carried the doors and the windows from one to the other."
)


def reference_states(folder: Path) -> Callable[[contexture.Sequence], np.ndarray]:
    """Hidden states [L + 1, n, d] of a sequence by `transformers`, float64; skips where it is not installed."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = transformers.BertModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()

    def states(sequence: contexture.Sequence) -> np.ndarray:
        with torch.no_grad():
            output = model(
                input_ids=torch.tensor(sequence.input_ids[None].astype(np.int64)),
                token_type_ids=torch.tensor(sequence.token_type_ids[None].astype(np.int64)),
                output_hidden_states=True,
            )
        return torch.cat(output.hidden_states).numpy()

    return states


def assert_right(sequence: contexture.Sequence, checkpoint: oracle.Checkpoint, slack: float = 1) -> None:
    """Everything that is stored of the sequence, but hidden states, is what the oracle computes, within `slack` times the bounds."""
    run = sequence.run
    expected = oracle.decompose(checkpoint, sequence.input_ids, sequence.token_type_ids, vector_layers=run.vector_layers)
    where = f"sequence {sequence.id!r}, {sequence.n_tokens} tokens"
    for name in run.maps:
        actual, reference = sequence.maps[name], expected.maps[name][run.layers]
        if name == "attn_weight":
            assert np.abs(actual - reference).max() < slack * ATTENTION_BOUND, f"{where}, {name}"
        error = support.worst_relative(actual, reference)
        assert error < slack * MAPS_BOUND, f"{where}, map {name}: relative error {error:.2e}"
    for stage in run.stages:
        error = np.abs(sequence.mixing_ratio[stage] - expected.mixing_ratio[stage][run.layers]).max()
        assert error < slack * MIXING_RATIO_BOUND, f"{where}, mixing ratio of {stage}: error {error:.2e}"
        np.testing.assert_allclose(
            sequence.bias_norm[stage], expected.bias_norm[stage][run.layers], rtol=slack * MAPS_BOUND, err_msg=f"{where}, bias norm of {stage}"
        )
    assert sequence.completeness_error.shape == (len(run.layers),)
    assert (sequence.completeness_error > 0).all() and (sequence.completeness_error < COMPLETENESS_BOUND).all(), f"{where}: {sequence.completeness_error}"

    if run.head_maps:
        alpha, norm = sequence.head_maps["attn_weight"], sequence.head_maps["attn"]
        assert np.abs(alpha - expected.head_attention_weight[run.layers]).max() < slack * ATTENTION_BOUND, where
        error = support.worst_relative(norm, expected.head_attention_norm[run.layers])
        assert error < slack * MAPS_BOUND, f"{where}, norms per head: relative error {error:.2e}"
        # α‖f‖ is 0 in float32 only where α itself is.
        assert (norm[alpha > 1e-30] > 0).all(), where
    for stage in run.vector_stages:
        actual, reference = sequence.vectors[stage], expected.vectors[stage]
        norms = oracle.length(actual.astype(np.float64))
        assert support.worst_relative(norms, expected.maps[stage][run.vector_layers]) < slack * MAPS_BOUND, f"{where}, vectors of {stage}"
        error = np.abs(actual - reference).max() / np.abs(reference).max()
        assert error < slack * HIDDEN_STATE_BOUND, f"{where}, vectors of {stage}: error {error:.2e} of the largest entry"
    if checkpoint.config.get("is_decoder"):
        after = np.triu_indices(sequence.n_tokens, 1)
        for name, values in (*sequence.maps.items(), *sequence.head_maps.items()):
            assert not values[..., after[0], after[1]].any(), f"{where}, map {name} is not 0 above the diagonal"
        for stage in run.vector_stages:
            assert not sequence.vectors[stage][:, after[0], after[1]].any(), f"{where}, vectors of {stage} are not 0 above the diagonal"


def assert_states_agree(sequence: contexture.Sequence, states: Callable[[contexture.Sequence], np.ndarray], slack: float = 1) -> None:
    expected = states(sequence)
    error = np.abs(sequence.hidden_states - expected).max() / np.abs(expected).max()
    assert error < slack * HIDDEN_STATE_BOUND, f"sequence {sequence.id!r}: hidden states differ by {error:.2e} of the largest entry"


@pytest.mark.parametrize("name", support.RANDOM_CHECKPOINTS)
def test_random_checkpoint(name: str, random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = random_checkpoints[name]
    random = np.random.default_rng(3)
    ids = random.integers(0, support.RANDOM_CHECKPOINTS[name].vocabulary_size, 64)
    documents: list[dict] = [{"text": "the cat sat on the river bank"}, {"text": "they were all many words, some long: aeiourst!"}, {"id": "one", "text": "a"}]
    documents += [
        {"id": "ids", "input_ids": ids[:17].tolist()},
        {"id": "typed", "input_ids": ids[17:40].tolist(), "token_type_ids": [0] * 9 + [1] * 14},
        {"id": "full", "input_ids": ids.tolist()},
        {"id": "single", "input_ids": [int(ids[5])]},
    ]
    corpus = support.write_jsonl(tmp_path / "corpus.jsonl", documents)
    out = tmp_path / "out"
    support.contexture("run", "--model", folder, "--corpus", corpus, "--out", out, "--per-head", "--hidden-states", "--vectors", "all", "--shard-size", 3)
    checkpoint, states = oracle.Checkpoint(folder), reference_states(folder)
    # Scores of ±150 have a rounding error of some 1e-5 in float32, which is a relative error of every weight.
    slack = 10 if support.RANDOM_CHECKPOINTS[name].sharpness > 1 else 1
    with contexture.open_run(out, check_files=True) as run:
        assert run.complete and run.stages == list(oracle.STAGES)
        assert [sequence.id for sequence in run] == ["0", "1", "one", "ids", "typed", "full", "single"]
        assert len(run["full"]) == 64 and run["typed"].token_type_ids.tolist() == [0] * 9 + [1] * 14
        assert run["ids"].input_ids.tolist() == ids[:17].tolist()
        for sequence in run:
            assert_right(sequence, checkpoint, slack)
            assert_states_agree(sequence, states, slack)


def test_causal_model_as_transformers_saves_it(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(11)
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=50, max_position_embeddings=80, is_decoder=True
    )
    config.initializer_range = 0.3  # parts that differ
    folder = tmp_path / "model"
    transformers.BertLMHeadModel(config).save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer_config.json", "tokenizer.json"):
        shutil.copy(random_checkpoints["causal"] / name, folder / name)
    described = json.loads(support.contexture("info", folder, "--json").stdout)
    assert described["causal"] is True
    documents = [{"input_ids": np.random.default_rng(n).integers(5, 400, n).tolist()} for n in (1, 2, 3, 31, 70)]
    corpus, out = support.write_jsonl(tmp_path / "corpus.jsonl", documents), tmp_path / "out"
    support.contexture("run", "--model", folder, "--corpus", corpus, "--out", out, "--per-head", "--hidden-states", "--analyses", "all")
    states = reference_states(folder)
    with contexture.open_run(out) as run:
        assert len(run) == len(documents)
        for sequence in run:
            assert_right(sequence, oracle.Checkpoint(folder))
            assert_states_agree(sequence, states)

    # The same weights without the mask are another model: the folder is not gone on with.
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**saved, "is_decoder": False}), encoding="utf-8")
    refused = support.contexture("run", "--model", folder, "--corpus", corpus, "--out", out, "--per-head", "--hidden-states", "--analyses", "all", expect=1)
    assert "the folder holds another run: model was" in refused.stderr


def test_minilm_on_real_sentences(minilm: Path, minilm_oracle: oracle.Checkpoint, tmp_path: Path) -> None:
    texts = [*SENTENCES, LONG_TEXT] if not os.environ.get("CONTEXTURE_SANITIZED") else SENTENCES[:3]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    support.contexture("run", "--model", minilm, "--corpus", corpus, "--out", out, "--per-head", "--hidden-states")
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    states = reference_states(minilm)
    with contexture.open_run(out, vocabulary=minilm) as run:
        assert len(run) == len(texts) and run.layers == list(range(6))
        for sequence, text in zip(run, texts):
            encoding = tokenizer.encode(text)
            assert sequence.text == text
            assert sequence.input_ids.tolist() == encoding.ids
            assert sequence.char_spans.tolist() == [list(span) for span in encoding.offsets]
            assert sequence.tokens == encoding.tokens
            assert_right(sequence, minilm_oracle)
            assert_states_agree(sequence, states)


def test_text_pair(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Two text fields become one sequence with segments 0 and 1, as the tokenizer's pair template says."""
    folder = random_checkpoints["gelu"]
    corpus = support.write_jsonl(tmp_path / "corpus.jsonl", [{"id": "pair", "text": "where is the cat?", "answer": "on the bank"}])
    out = tmp_path / "out"
    support.contexture("run", "--model", folder, "--corpus", corpus, "--pair-field", "answer", "--out", out)
    with contexture.open_run(out, vocabulary=folder) as run:
        sequence = run["pair"]
        assert contexture.Flags.PAIR in sequence.flags
        assert (sequence.text, sequence.pair) == ("where is the cat?", "on the bank")
        assert sequence.tokens == ["[CLS]", "where", "is", "the", "cat", "?", "[SEP]", "on", "the", "bank", "[SEP]"]
        assert sequence.token_type_ids.tolist() == [0] * 7 + [1] * 4
        assert sequence.special.tolist() == [True] + [False] * 5 + [True] + [False] * 3 + [True]
        assert_right(sequence, oracle.Checkpoint(folder))


def test_subset_of_stages_and_layers(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """What is stored of a subset is what is stored of everything, and the rest is absent."""
    folder = random_checkpoints["relu-gamma"]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the river bank\nthe dog ran\n", encoding="utf-8")
    support.contexture("run", "--model", folder, "--corpus", corpus, "--out", tmp_path / "all")
    support.contexture("run", "--model", folder, "--corpus", corpus, "--out", tmp_path / "some", "--stages", "attn_res,ff_res_ln", "--layers", "0,2")
    everything, some = contexture.open_run(tmp_path / "all"), contexture.open_run(tmp_path / "some")
    assert some.layers == [0, 2] and some.maps == some.stages == ["attn_res", "ff_res_ln"]
    assert not some.head_maps and not some.has_hidden_states and not some.vector_layers
    for ours, whole in zip(some, everything):
        for name in some.maps:
            np.testing.assert_allclose(ours.maps[name], whole.maps[name][[0, 2]], rtol=1e-6)
        assert ours.completeness_error.shape == (2,)
        assert_right(ours, oracle.Checkpoint(folder))


def test_vectors_of_one_layer(minilm: Path, minilm_oracle: oracle.Checkpoint, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(SENTENCES[0] + "\n", encoding="utf-8")
    support.contexture("run", "--model", minilm, "--corpus", corpus, "--out", tmp_path / "out", "--vectors", "3")
    with contexture.open_run(tmp_path / "out") as run:
        assert run.vector_layers == [3]
        sequence = run[0]
        n = sequence.n_tokens
        assert sequence.vectors["ff"].shape == (1, n, n, 384)
        np.testing.assert_array_equal(sequence.vectors["ff", 0, 2, 1:4], sequence.vectors["ff"][0, 2, 1:4])
        assert_right(sequence, minilm_oracle)
