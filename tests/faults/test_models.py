"""Checkpoints that are broken, hostile, or of another model: refused before anything of them is used."""

import json
import math
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dualdub_core import checkpoint
from dualdub_core.checks.inspection import describe, kind_of
from dualdub_core.config import to_dict
from dualdub_core.errors import CheckpointError, ConfigError
from dualdub_core.provenance.provenance import fingerprint
from dualdub_core.system import load_system
from dualdub_core.text import TextTokenizer

INFO = {"name": "tiny", "status": checkpoint.UNTRAINED}


def raw(header, *, length=None, data=b""):
    """A safetensors file with this header, which may lie about its own length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, *offsets, dtype="F32"):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}}


SAFETENSORS = "damaged, truncated or not safetensors"
FILES = {
    "no bytes": (b"", SAFETENSORS),
    "three bytes": (b"\1\2\3", SAFETENSORS),
    "words": (b"once upon a time", SAFETENSORS),
    "an archive": (b"PK\x03\x04" + bytes(60), SAFETENSORS),
    "a header of 2 GB": (raw(b"{}", length=2**31), SAFETENSORS),
    "a header of 2**64 bytes": (raw(b"{}", length=2**64 - 1), SAFETENSORS),
    "a header of no bytes": (raw(b"", length=0), SAFETENSORS),
    "a header longer than the file": (raw(b"{}", length=1000), SAFETENSORS),
    "a header that is no JSON": (raw(b"{not json}"), SAFETENSORS),
    "a header that is a list": (raw([1, 2]), SAFETENSORS),
    "a header that is no text": (raw(b"\xff\xfe\xfd"), SAFETENSORS),
    "a header nested 100 000 deep": (raw(b'{"a":' * 100_000), SAFETENSORS),
    "a tensor beyond the file": (raw(tensor([100], 0, 400), data=bytes(8)), SAFETENSORS),
    "a tensor of 2**62 numbers": (raw(tensor([2**62], 0, 2**64), data=bytes(8)), SAFETENSORS),
    "a shape that overflows": (raw(tensor([2**40, 2**40], 0, 8), data=bytes(8)), SAFETENSORS),
    "a shape that does not fit its bytes": (raw(tensor([3], 0, 8), data=bytes(8)), SAFETENSORS),
    "offsets backwards": (raw(tensor([2], 8, 0), data=bytes(8)), SAFETENSORS),
    "negative offsets": (raw(tensor([2], -8, 0), data=bytes(8)), SAFETENSORS),
    "a negative shape": (raw(tensor([-2], 0, 8), data=bytes(8)), SAFETENSORS),
    "a type that nobody knows": (raw(tensor([2], 0, 8, dtype="F33"), data=bytes(8)), SAFETENSORS),
    "bytes that belong to nothing": (raw(tensor([2], 0, 8), data=bytes(16)), SAFETENSORS),
    "two tensors in one place": (
        raw({**tensor([2], 0, 8), "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, data=bytes(8)),
        SAFETENSORS,
    ),
    "a folder": (Path.mkdir, "is a folder, expected a file"),
    "nothing": (None, "no such file"),
    "a link to nothing": (lambda path: path.symlink_to(path.with_name("gone")), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "no such file"),
}
READERS = {"load": checkpoint.load, "read_published": checkpoint.read_published, "kind_of": kind_of}


def made(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)
    return path


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_what_is_no_safetensors_file_is_refused(tmp_path, refused, case, reader):
    content, says = case
    path = made(tmp_path / "a.safetensors", content)
    with refused(says, CheckpointError):
        reader(path)


@pytest.fixture(scope="module")
def parts(tiny_model):
    """Tensors and metadata of the tiny model's checkpoint."""
    tensors = {f"model.{name}": t.clone().contiguous() for name, t in tiny_model.state_dict().items()}
    return tensors, {"model": json.loads(json.dumps(to_dict(tiny_model.config)))}


def without(name):
    return lambda tensors: {key: t for key, t in tensors.items() if key != name}


def with_other(**changes):
    def change(tensors):
        return tensors | {name.replace("__", "."): make(tensors) for name, make in changes.items()}

    return change


HEADS = "model.heads.weight"
TENSORS = {
    "a tensor missing": (without(HEADS), "missing heads.weight; the file belongs to another model or is incomplete"),
    "every tensor missing": (lambda tensors: {HEADS: tensors[HEADS]}, "more layers than|missing .* and .* more"),
    "a tensor too many": (lambda t: t | {"model.extra": torch.zeros(1)}, "unexpected extra"),
    "a tensor of no part": (lambda t: t | {"stray": torch.zeros(1)}, "unexpected stray"),
    "a tensor of another part": (lambda t: t | {"vae.stray": torch.zeros(1)}, "unexpected vae.stray"),
    "a part without a name": (lambda t: t | {"model": torch.zeros(1)}, "unexpected model"),
    "a name of 3000 letters": (lambda t: t | {"model." + "x" * 3000: torch.zeros(1)}, "unexpected x+…"),
    "a wrong shape": (
        lambda t: t | {HEADS: torch.zeros(3, 16)},
        r"wrong shapes: heads.weight is \(3, 16\), expected \(50, 16\)",
    ),
    "a shape turned": (lambda t: t | {HEADS: t[HEADS].T.contiguous()}, r"heads.weight is \(16, 50\)"),
    "an axis more": (lambda t: t | {HEADS: t[HEADS][None].contiguous()}, r"heads.weight is \(1, 50, 16\)"),
    "no numbers": (lambda t: t | {HEADS: torch.zeros(0, 16)}, r"heads.weight is \(0, 16\)"),
    "whole numbers": (
        lambda t: t | {HEADS: torch.zeros(50, 16, dtype=torch.int64)},
        "wrong types: heads.weight is torch.int64, expected torch.float32",
    ),
    "truth values": (lambda t: t | {HEADS: torch.zeros(50, 16, dtype=torch.bool)}, "wrong types: .*torch.bool"),
    "NaN": (lambda t: t | {HEADS: torch.full((50, 16), math.nan)}, "NaN or infinite weights in heads.weight; get"),
    "one infinite weight": (
        lambda t: t | {HEADS: t[HEADS].index_fill(0, torch.tensor([7]), math.inf)},
        "NaN or infinite weights in heads.weight",
    ),
    "NaN in half precision": (
        lambda t: t | {HEADS: torch.full((50, 16), math.nan, dtype=torch.bfloat16)},
        "NaN or infinite weights",
    ),
}


@pytest.mark.parametrize("case", TENSORS.values(), ids=TENSORS)
def test_weights_that_do_not_fit_are_refused(tmp_path, parts, refused, case):
    change, says = case
    tensors, config = parts
    path = tmp_path / "a.safetensors"
    metadata = {"dualdub_format": "1", "config": json.dumps(config), "info": json.dumps(INFO)}
    save_file(change(tensors), path, metadata=metadata)
    with refused(says, CheckpointError):
        load_system(path)


def sizes(**changes):
    """The tiny model's configuration with other values, `llama__width` being that of a part."""

    def change(config):
        config = json.loads(json.dumps(config))
        for name, value in changes.items():
            *path, last = name.split("__")
            place = config["model"]
            for step in path:
                place = place[step]
            place[last] = value
        return json.dumps(config)

    return change


HEADERS = {
    "no configuration": (lambda c: None, "the header's config is no JSON"),
    "a configuration that is no JSON": (lambda c: "{", "the header's config is no JSON .*; get it again"),
    "a configuration nested 100 000 deep": (lambda c: "[" * 100_000, "the header's config is no JSON"),
    "a number of 9000 digits": (lambda c: "9" * 9000, "the header's config is no JSON"),
    "a list": (lambda c: "[]", "the header's config is list, expected an object"),
    "nothing in it": (lambda c: "{}", "unexpected model"),
    "a part that nobody knows": (lambda c: '{"brain": {}}', "unknown components brain; known are model, video_encoder"),
    "a part that is a number": (lambda c: '{"model": 7}', "model: got int, expected an object"),
    "a part without sizes": (lambda c: '{"model": {}}', r"missing keys \['aligner', 'clock'"),
    "the sizes of another part": (lambda c: json.dumps({"vae": c["model"]}), "unexpected model"),
    "a setting that nobody knows": (sizes(depth=3), r"unknown keys \['depth'\]"),
    "a size in words": (sizes(llama__width="wide"), r"model.llama.width: got 'wide' \(str\), expected int"),
    "a size of half": (sizes(llama__width=16.5), r"got 16.5 \(float\), expected int"),
    "a size that is no number": (sizes(llama__rope_base=math.nan), "rope_base: got nan, expected a finite number"),
    "no heads": (sizes(llama__num_heads=0), "a size that must be positive is 0"),
    "a negative width": (sizes(codebook_size=-5), "no model has the sizes of its configuration"),
    "a width of 2**62": (sizes(video_width=2**62), "no model has the sizes of its configuration|wrong shapes"),
    "a thousand million layers": (sizes(llama__num_layers=10**9), "more layers than the file has tensors"),
    "a layer more": (sizes(llama__num_layers=3), "missing llama.blocks.2"),
    "a layer less": (sizes(llama__num_layers=1), "unexpected llama.blocks.1"),
    "another codebook": (sizes(codebook_size=25), "wrong shapes"),
    "widths that contradict": (sizes(aligner__width=32), "must have one width"),
    "a clock that stands": (sizes(clock__hop_length=0), "must be positive"),
    "a clock that runs backwards": (sizes(clock__sample_rate=-24_000), "must be positive"),
    "an alphabet that nobody knows": (sizes(text__encoding="../../etc/passwd"), "known are mini, cl100k_base"),
    "an alphabet that is not there": (sizes(text__encoding="cl100k_base"), "no such ranks file; download"),
}


@pytest.mark.parametrize("case", HEADERS.values(), ids=HEADERS)
def test_a_header_that_contradicts_itself_is_refused(tmp_path, parts, refused, case):
    change, says = case
    tensors, config = parts
    path = tmp_path / "a.safetensors"
    values = {"dualdub_format": "1", "config": change(config), "info": json.dumps(INFO)}
    save_file(tensors, path, metadata={key: value for key, value in values.items() if value is not None})
    with refused(says, CheckpointError):
        load_system(path)


FORMATS = {
    "no format": ({}, "not a DualDub checkpoint of format 1 .*published weights go through their own loader"),
    "a later format": ({"dualdub_format": "2"}, "header says 2"),
    "no info": ({"dualdub_format": "1", "config": "{}"}, "the header's info is no JSON"),
    "info that is a list": ({"dualdub_format": "1", "config": "{}", "info": "[]"}, "info is list, expected an object"),
}


@pytest.mark.parametrize("case", FORMATS.values(), ids=FORMATS)
def test_another_format_is_refused(tmp_path, refused, case):
    metadata, says = case
    path = tmp_path / "a.safetensors"
    save_file({"model.a": torch.zeros(1)}, path, metadata=metadata)
    with refused(says, CheckpointError):
        checkpoint.read_header(path)


def test_a_file_cut_anywhere_is_refused(tmp_path, tiny_vae, refused):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"vae": tiny_vae}, info=INFO)
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.3, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        with refused(SAFETENSORS, CheckpointError):
            checkpoint.load(path)
    with refused(SAFETENSORS, CheckpointError):
        describe(path)


SAVES = {
    "without a name": ({"status": "trained"}, "info needs a name and a status"),
    "without a status": ({"name": "x"}, "info needs a name and a status"),
    "with another status": ({"name": "x", "status": "great"}, "'trained' or 'untrained'"),
}


@pytest.mark.parametrize("case", SAVES.values(), ids=SAVES)
def test_what_does_not_say_what_it_is_is_not_saved(tmp_path, tiny_vae, refused, case):
    info, says = case
    with refused(says, CheckpointError):
        checkpoint.save(tmp_path / "a.safetensors", {"vae": tiny_vae}, info=info)


def test_parts_and_alphabets_that_are_not_known_are_refused(tmp_path, tiny_vae, refused):
    with refused("unknown components .*known are", CheckpointError):
        checkpoint.save(tmp_path / "a.safetensors", {"brain": tiny_vae}, info=INFO)
    with refused("'klingon' is not a public encoding|known are mini", ConfigError):
        TextTokenizer.public("klingon", tmp_path / "a.tiktoken")
    with refused("no such ranks file; download", CheckpointError):
        TextTokenizer.public("cl100k_base", tmp_path / "a.tiktoken")
    with refused("no such file"):
        fingerprint(tmp_path / "a.safetensors")
