"""Coverage-guided fuzzing of headers: `python tests/fuzz/fuzz_headers.py -max_total_time=60 [CORPUS]`.

Any bytes are what a checkpoint, kept codes, a stamp or a record of provenance holds, or one of our errors in one
line. The first byte chooses the reader. Options are libFuzzer's. Needs atheris: pip install atheris.
"""

import importlib.util
import json
import struct
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
if importlib.util.find_spec("atheris") is None:
    print("skipped: atheris is not installed; pip install atheris (it has no wheel for Windows)")
    sys.exit(0)

import atheris
import torch

with atheris.instrument_imports(include=["dualdub_core"]):
    from dualdub_core import artifacts, checkpoint, config, unpickling
    from dualdub_core.errors import DualDubError
    from dualdub_core.media import riff
    from dualdub_core.models.oobleck import OobleckConfig
    from dualdub_core.provenance import provenance, stamps

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz_headers_"))
FILE, PICKLE, SOUND = FOLDER / "a.safetensors", FOLDER / "a.ckpt", FOLDER / "a.wav"


def raw(data: bytes) -> None:
    """The bytes as a whole file."""
    FILE.write_bytes(data)
    checkpoint.read_header(FILE)


def headed(metadata: dict[str, str]) -> None:
    """A safetensors file without tensors and with this free part."""
    text = json.dumps({"__metadata__": metadata}).encode()
    FILE.write_bytes(struct.pack("<Q", len(text)) + text)


def our_header(data: bytes) -> None:
    first, _, second = data.decode("utf-8", errors="replace").partition("\n")
    headed({"dualdub_format": "1", "config": first, "info": second or "{}"})
    checkpoint.load(FILE)


def codes(data: bytes) -> None:
    headed({artifacts.KIND_KEY: data.decode("utf-8", errors="replace")})
    artifacts.read_record(FILE)
    artifacts.load_codes(FILE)


def voice(data: bytes) -> None:
    headed({artifacts.KIND_KEY: data.decode("utf-8", errors="replace")})
    artifacts.load_voice(FILE)


def sound(data: bytes) -> None:
    SOUND.write_bytes(b"RIFF\0\0\0\0WAVE" + data)
    for _, text in riff.info_texts(SOUND):
        provenance.from_json(text)
    stamps.read_provenance(SOUND)


def record(data: bytes) -> None:
    found = provenance.from_json(data.decode("utf-8", errors="replace"))
    assert found is None or provenance.from_json(found.to_json()) is not None


def pickled(data: bytes) -> None:
    PICKLE.write_bytes(data)
    unpickling.unpickled(PICKLE)


READERS = (raw, our_header, codes, voice, sound, record, pickled)


def seeds() -> list[bytes]:
    """A good input for every reader."""
    values = {"kind": "codes", "format": "1", "duration": 0.1, "clock": {"sample_rate": 24_000, "hop_length": 600}}
    values |= {"codebook_size": 8, "lengths": [1], "spoken": [[0, 1]]}
    vae = json.dumps({"vae": config.to_dict(OobleckConfig.mini())}) + '\n{"name": "x", "status": "trained"}'
    said = provenance.Provenance(model="x", seeds={"a": 1}).to_json().encode()
    torch.save({"a": torch.zeros(2)}, PICKLE, _use_new_zipfile_serialization=False)
    headed({"dualdub_format": "1", "config": "{}", "info": "{}"})
    stamp = b"LIST" + struct.pack("<I", len(said) + 12) + b"INFOICMT" + struct.pack("<I", len(said)) + said
    kept = json.dumps(values).encode()
    contents = (FILE.read_bytes(), vae.encode(), kept, kept.replace(b"codes", b"voice"), stamp, said)
    return [bytes([number]) + content for number, content in enumerate((*contents, PICKLE.read_bytes()))]


def one_input(data: bytes) -> None:
    if not data:
        return
    try:
        READERS[data[0] % len(READERS)](data[1:])
    except DualDubError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, repr(message)
        assert len(message) < 800, len(message)


def with_seeds(arguments: list[str]) -> list[str]:
    """The command line, with a folder of good headers to begin with where none is given."""
    if any(not argument.startswith("-") for argument in arguments[1:]):
        return arguments
    folder = FOLDER / "seeds"
    folder.mkdir()
    for number, seed in enumerate(seeds()):
        (folder / str(number)).write_bytes(seed)
    return [*arguments, str(folder)]


if __name__ == "__main__":
    atheris.Setup(with_seeds(sys.argv), one_input)
    atheris.Fuzz()
