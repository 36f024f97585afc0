"""Published weights in pickles: hostile ones do nothing, bombs stay closed, other architectures are named."""

import io
import os
import pickle
import struct
import warnings
import zipfile

import pytest
import torch

from dualdub_core.checkpoint import read_published, read_published_values
from dualdub_core.checks.inspection import describe
from dualdub_core.errors import CheckpointError, InputError
from dualdub_core.published.clip import load_clip
from dualdub_core.published.oobleck import load_oobleck
from dualdub_core.published.wavtokenizer import load_wavtokenizer


class Runs:
    """Pickles as a call."""

    def __init__(self, call, *arguments):
        self.call = (call, arguments)

    def __reduce__(self):
        return self.call


def saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def rezipped(data, **options):
    """An archive's members in another archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w", **options) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return file.getvalue()


def bomb():
    """Megabytes of zeros in kilobytes, as a member of a good archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("archive/data.pkl", bytes(2**24))
        target.writestr("archive/version", "3\n")
    return file.getvalue()


def claiming(size):
    """An archive whose members claim so many bytes each."""
    data = bytearray(saved({"a": torch.zeros(4)}))
    at = data.index(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<II", data, at + 20, size, size)
        at = data.find(b"PK\x01\x02", at + 4)
    return bytes(data)


def bent(data, at, byte=b"\xff"):
    place = int(len(data) * at)
    return data[:place] + byte * 8 + data[place + 8 :]


def sparse():
    return saved({"a": torch.sparse_coo_tensor([[0]], [1.0], (10**12,), check_invariants=True)})


def script_module():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


GOOD = {"a": torch.arange(6.0), "b": torch.zeros(2, 3)}
REFUSED = "refused, it holds more than tensors or is damaged"
DAMAGED = "damaged or truncated|refused"
FILES = {
    "no bytes": (b"", DAMAGED),
    "one byte": (b"\x80", DAMAGED),
    "words": (b"once upon a time " * 9, DAMAGED),
    "an archive of a film": (bomb()[:4] + bytes(99), DAMAGED),
    "half an archive": (saved(GOOD)[:400], DAMAGED),
    "an archive without its end": (saved(GOOD)[:-30], DAMAGED),
    "bent at its head": (bent(saved(GOOD), 0.1), DAMAGED),
    "bent in its directory": (bent(saved(GOOD), 0.9), DAMAGED),
    "compressed": (rezipped(saved(GOOD), compression=zipfile.ZIP_DEFLATED), "refused, it is compressed, expected"),
    "a zip bomb": (bomb(), "refused, it is compressed"),
    "members of 4 GB each": (claiming(2**32 - 2), "refused, it claims more bytes than the file has|damaged"),
    "an archive of nothing": (rezipped(saved(GOOD))[-22:], DAMAGED),
    "a program": (script_module, r"holds a program \(TorchScript\), expected weights; get them as .safetensors"),
    "a pickle of old": (saved(GOOD, _use_new_zipfile_serialization=False)[:-9], DAMAGED),
    "a plain pickle": (pickle.dumps({"a": 1}), DAMAGED),
    "a pickle that never ends": (b"\x80\x02" + b"(" * 5000, DAMAGED),
    "a pickle nested 100 000 deep": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", DAMAGED),
    "a whole module": (saved(torch.nn.Linear(2, 2)), REFUSED),
    "a list": (saved([torch.zeros(2)]), "got list of other things, expected tensors by name"),
    "a number": (saved(7), "got int of other things"),
    "names that are numbers": (saved({1: torch.zeros(2)}), "got dict of other things"),
    "values that are words": (saved({"a": "b"}), "got dict of other things, expected tensors by name"),
    "one number that claims to be a billion": (
        saved({"a": torch.zeros(1).expand(10**5, 10**5)}),
        "refused, a claims more numbers than the file holds",
    ),
    "a sparse tensor of any size": (sparse, "refused"),
    "a folder": ("folder", "is a folder, expected a file"),
    "nothing": (None, "no such file"),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("reader", [read_published, describe], ids=["read_published", "describe"])
@pytest.mark.parametrize("case", FILES.values(), ids=FILES)
def test_what_is_no_weights_file_is_refused(tmp_path, refused, case, reader):
    content, says = case
    path = tmp_path / "a.ckpt"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content() if callable(content) else content)
    is_no_file = reader is describe and content in ("folder", None)
    with refused(says, InputError if is_no_file else CheckpointError):
        reader(path)


HOSTILE = {
    "os.system": lambda mark: Runs(os.system, f"touch {mark}"),
    "open": lambda mark: Runs(open, str(mark), "w"),
    "eval": lambda mark: Runs(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Runs(exec, f"open({str(mark)!r}, 'w')"),
    "os.rename": lambda mark: Runs(os.rename, str(mark.with_name("kept")), str(mark)),
    "getattr": lambda mark: Runs(getattr, Runs(__import__, "os"), "system"),
    "torch.load of a file": lambda mark: Runs(torch.load, str(mark)),
    "a megabyte of zeros a million times": lambda mark: Runs(bytes, 2**60),
}


@pytest.mark.parametrize("kind", ["archive", "old"])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, refused, make, kind):
    mark = tmp_path / "owned"
    (tmp_path / "kept").touch()
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"a": make(mark)}}, path, _use_new_zipfile_serialization=kind == "archive")
    with refused(REFUSED, CheckpointError):
        read_published(path)
    with refused(REFUSED, CheckpointError):
        read_published_values(path, "cfg")
    assert not mark.exists()


LOADERS = {"clip": load_clip, "oobleck": load_oobleck, "wavtokenizer": load_wavtokenizer}
OTHERS = {
    "no tensors": {},
    "somebody's picture model": {"fc.weight": torch.zeros(3, 3), "fc.bias": torch.zeros(3)},
    "a name of 3000 letters": {"x" * 3000: torch.zeros(1)},
    "an encoder of one number": {
        "encoder.layers.0.weight": torch.zeros(()),
        "visual.conv1.weight": torch.zeros(()),
        "feature_extractor.encodec.encoder.model.0.conv.conv.weight_g": torch.zeros(()),
    },
    "an encoder of the wrong axes": {
        "encoder.conv1.weight_g": torch.zeros(2),
        "encoder.conv1.weight_v": torch.zeros(2, 2),
        "vision_model.embeddings.patch_embedding.weight": torch.zeros(2, 2),
        "encoder.layers.13.lstm.weight_ih_l0": torch.zeros(2),
    },
    "NaN": {
        "encoder.conv1.weight_g": torch.full((4, 1, 1), torch.nan),
        "encoder.conv1.weight_v": torch.full((4, 2, 7), torch.nan),
        "vision_model.embeddings.patch_embedding.weight": torch.full((64, 3, 4, 4), torch.nan),
        "encoder.layers.13.lstm.weight_ih_l0": torch.full((4, 4), torch.nan),
    },
    "whole numbers": {
        "encoder.conv1.weight_g": torch.ones((4, 1, 1), dtype=torch.int64),
        "encoder.conv1.weight_v": torch.ones((4, 2, 7), dtype=torch.int64),
        "vision_model.embeddings.patch_embedding.weight": torch.ones((64, 3, 4, 4), dtype=torch.int64),
        "encoder.layers.13.lstm.weight_ih_l0": torch.ones((4, 4), dtype=torch.int64),
    },
    "layers of a million": {
        "encoder.layers.999999.layers.4.weight_g": torch.zeros(1),
        "vision_model.embeddings.patch_embedding.weight": torch.zeros(64, 3, 4, 4),
        "vision_model.encoder.layers.999999.mlp.fc1.weight": torch.zeros(1, 1),
        "encoder.layers.999.lstm.weight_ih_l0": torch.zeros(1),
    },
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
@pytest.mark.parametrize("state", OTHERS.values(), ids=OTHERS)
def test_another_architecture_is_refused_by_every_loader(tmp_path, refused, state, loader):
    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": state}, path)
    with refused(r"^a\.ckpt: ", CheckpointError):
        loader(path)
