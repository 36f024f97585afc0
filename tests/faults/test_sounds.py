"""Sound files that are none or broken, and odd ones that are legal and keep their exact length."""

import io
import math
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.artifacts import load_voice
from dualdub_core.audio import with_rate
from dualdub_core.errors import ConfigError
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import read_audio, write_wav
from dualdub_core.mixing.loudness import integrated_lufs, true_peak_db
from dualdub_core.mixing.mixing import MixConfig, mix
from dualdub_core.pipeline import encode_stem
from dualdub_core.provenance.stamps import read_provenance
from dualdub_core.types import Audio, Soundtrack
from dualdub_core.voice import encode_voice


def sound_bytes(frames=800, rate=8000, channels=1, subtype="PCM_16", kind="WAV", value=0.25):
    """A sound file of one value."""
    file = io.BytesIO()
    soundfile.write(file, np.full((frames, channels), value, np.float32), rate, subtype=subtype, format=kind)
    return file.getvalue()


def header(rate=8000, channels=1, bits=16, code=1, claimed=1600, samples=bytes(1600)):
    """A WAV file whose header says what it likes."""
    form = struct.pack("<HHIIHH", code, channels, rate, rate * 2 % 2**32, 2, bits)
    return (
        b"RIFF" + struct.pack("<I", (36 + claimed) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + form
        + b"data" + struct.pack("<I", claimed) + samples
    )  # fmt: skip


def with_total(data, total):
    """A FLAC file whose header claims so many samples."""
    data = bytearray(data)
    field = struct.unpack_from(">Q", data, 18)[0] & ~(2**36 - 1)
    struct.pack_into(">Q", data, 18, field | total)
    return bytes(data)


ONE_NAN = np.zeros(800, np.float32)
ONE_NAN[700] = np.nan
NO_SOUND = "not a video or sound file|has no sound|damaged"
SOUNDS = {
    "zero bytes": ("a.wav", b"", r"a\.wav: the file is empty \(0 bytes\)"),
    "words": ("a.wav", b"la la la " * 99, NO_SOUND),
    "no samples": ("a.wav", sound_bytes(0), "has no sound from 0.0 s on; choose an earlier start or another file"),
    "the first bytes of a WAV file": ("a.wav", sound_bytes()[:20], NO_SOUND),
    "a header and nothing more": ("a.wav", sound_bytes()[:44], NO_SOUND),
    "a FLAC file cut in its header": ("a.flac", sound_bytes(kind="FLAC")[:30], NO_SOUND),
    "an Ogg file cut in its header": ("a.ogg", sound_bytes(kind="OGG", subtype="VORBIS")[:60], NO_SOUND),
    "all NaN": ("a.wav", sound_bytes(subtype="FLOAT", value=math.nan), "got NaN or infinite samples, expected finite"),
    "one NaN": ("a.wav", ONE_NAN, "got NaN or infinite samples"),
    "infinite": ("a.wav", sound_bytes(subtype="FLOAT", value=math.inf), "got NaN or infinite samples"),
    "infinite to the other side": ("a.wav", sound_bytes(subtype="DOUBLE", value=-math.inf), "NaN or infinite samples"),
    "0 Hz": ("a.wav", header(rate=0), NO_SOUND + "|sample rate of 0 Hz"),
    "two thousand million hertz": ("a.wav", header(rate=2**31 - 1), NO_SOUND + "|at most 1000000; export it again"),
    "no channels": ("a.wav", header(channels=0), NO_SOUND),
    "65535 channels": ("a.wav", header(channels=65535), NO_SOUND),
    "samples of no bits": ("a.wav", header(bits=0), NO_SOUND + "|codec"),
    "a codec that nobody knows": ("a.wav", header(code=0x7777), NO_SOUND + "|codec"),
    "a film without sound": ("a.mp4", "mp4", "has no sound track; choose a file with sound"),
    "a folder": ("a.wav", Path.mkdir, "is a folder, expected a file"),
    "nothing": ("a.wav", None, "no such file; check the path"),
}


def made(tmp_path, film_bytes, name, content):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        soundfile.write(path, content, 8000, subtype="FLOAT")
    elif isinstance(content, str):
        path.write_bytes(film_bytes[content])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        content(path)
    return path


@pytest.mark.parametrize("case", SOUNDS.values(), ids=SOUNDS)
def test_what_is_no_sound_is_refused(tmp_path, film_bytes, refused, case):
    name, content, says = case
    path = made(tmp_path, film_bytes, name, content)
    with refused(says):
        read_audio(path)


PARTS = {
    "a start before the sound": ({"start": -1.0}, "got a start at -1.0 s, expected 0 to"),
    "a start that is no number": ({"start": math.nan}, "got a start at nan s"),
    "a start at infinity": ({"start": math.inf}, "got a start at inf s"),
    "a start beyond the sound": ({"start": 5.0}, "has no sound from 5.0 s on"),
    "a start just beyond it": ({"start": 0.4}, "has no sound from 0.4 s on"),
    "no duration": ({"duration": 0}, "got a duration of 0 s, expected more than 0"),
    "a negative duration": ({"duration": -2.0}, "got a duration of -2.0 s"),
    "a duration that is no number": ({"duration": math.nan}, "got a duration of nan s"),
    "a duration in words": ({"duration": "1"}, "got a duration of 1 s"),
}


@pytest.mark.parametrize("kind", ["wav", "mkv"])
@pytest.mark.parametrize("case", PARTS.values(), ids=PARTS)
def test_a_part_that_a_sound_does_not_have_is_refused(tmp_path, film_bytes, refused, case, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(sound_bytes() if kind == "wav" else film_bytes["mkv"])
    part, says = case
    with refused(says):
        read_audio(path, **part)


# name of the file, what is in it, its rate, channels, samples
ODD = {
    "7.1": ("a.wav", sound_bytes(channels=8), 8000, 8, 800),
    "one sample": ("a.wav", sound_bytes(1), 8000, 1, 1),
    "1 kHz": ("a.wav", sound_bytes(100, rate=1000), 1000, 1, 100),
    "192 kHz": ("a.wav", sound_bytes(1920, rate=192_000), 192_000, 1, 1920),
    "44 101 Hz": ("a.wav", sound_bytes(4410, rate=44_101), 44_101, 1, 4410),
    "8 bits": ("a.wav", sound_bytes(subtype="PCM_U8"), 8000, 1, 800),
    "24 bits": ("a.wav", sound_bytes(subtype="PCM_24"), 8000, 1, 800),
    "doubles": ("a.wav", sound_bytes(subtype="DOUBLE"), 8000, 1, 800),
    "louder than full scale": ("a.wav", sound_bytes(subtype="FLOAT", value=40.0), 8000, 1, 800),
    "AIFF": ("a.aiff", sound_bytes(kind="AIFF"), 8000, 1, 800),
    "Ogg": ("a.ogg", sound_bytes(8000, kind="OGG", subtype="VORBIS"), 8000, 1, 8000),
    "a FLAC file called wav": ("a.wav", sound_bytes(kind="FLAC"), 8000, 1, 800),
    "a WAV file called flac": ("a.flac", sound_bytes(), 8000, 1, 800),
    "a WAV file called mp3": ("a.mp3", sound_bytes(), 8000, 1, 800),
    "a WAV file without an ending": ("a", sound_bytes(), 8000, 1, 800),
    "cut in its samples": ("a.wav", sound_bytes()[:-800], 8000, 1, 400),
    "claims four gigabytes": ("a.wav", header(claimed=2**32 - 40), 8000, 1, 800),
    "claims no samples and has some": ("a.wav", header(claimed=0xFFFFFFFF), 8000, 1, 800),
    "a name in Arabic": ("صوت.wav", sound_bytes(), 8000, 1, 800),
    "a film's sound": ("a.mkv", "mkv", 8000, 1, 3200),
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_an_odd_sound_is_read_and_encoded_to_the_clips_frames(tmp_path, film_bytes, tiny_codec, case):
    name, content, rate, channels, samples = case
    audio = read_audio(made(tmp_path, film_bytes, name, content))
    assert (audio.sample_rate, *audio.waveform.shape) == (rate, 1, channels, samples)
    codes = encode_stem(tiny_codec, audio, duration=0.11)
    assert codes.shape == (1, 5)
    assert with_rate(audio, 24_000).num_samples == math.ceil(samples * 24_000 / rate)


def test_a_header_that_claims_eight_weeks_takes_no_memory_for_them(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(with_total(sound_bytes(kind="FLAC"), 2**36 - 1))
    assert read_audio(path, duration=0.05).num_samples == 400


NAN = torch.full((1, 1, 4800), math.nan)
INFINITE = torch.full((1, 1, 4800), -math.inf)
SILENT = torch.zeros(1, 1, 4800)
WAVEFORMS = {
    "NaN": NAN,
    "infinite": INFINITE,
    "no samples": SILENT[..., :0],
    "no channels": SILENT[:, :0],
    "no items": SILENT[:0],
}
USES = {
    "mix": lambda sound, film, model, codec: mix(Soundtrack(sound, sound), MixConfig()),
    "integrated_lufs": lambda sound, film, model, codec: integrated_lufs(sound),
    "true_peak_db": lambda sound, film, model, codec: true_peak_db(sound),
    "encode_voice": lambda sound, film, model, codec: encode_voice(model, sound),
    "encode_stem": lambda sound, film, model, codec: encode_stem(codec, sound, duration=0.2),
    "write_wav": lambda sound, film, model, codec: write_wav(film.with_name("out.wav"), sound),
    "mux": lambda sound, film, model, codec: mux(film, sound, film.with_name("out.mkv")),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("waveform", WAVEFORMS.values(), ids=WAVEFORMS)
def test_sound_that_is_none_is_refused_wherever_it_goes(
    tmp_path, film_bytes, tiny_model, tiny_codec, refused, waveform, use
):
    film = tmp_path / "a.mp4"
    film.write_bytes(film_bytes["mp4"])
    with refused("got NaN or infinite samples|got 0 samples|got no channels or no sound|got a batch of 0"):
        USES[use](Audio(waveform, 24_000), film, tiny_model, tiny_codec)


MADE = {
    "whole numbers": (torch.zeros(1, 1, 9, dtype=torch.int16), 24_000, "got samples of torch.int16, expected floats"),
    "truth values": (torch.zeros(1, 1, 9, dtype=torch.bool), 24_000, "got samples of torch.bool"),
    "one axis": (torch.zeros(9), 24_000, r"got shape \(9,\), expected \(batch, channels, samples\)"),
    "four axes": (torch.zeros(1, 1, 1, 9), 24_000, r"got shape \(1, 1, 1, 9\)"),
    "0 Hz": (SILENT, 0, "got a sample rate of 0 Hz, expected a positive number"),
    "a negative rate": (SILENT, -24_000, "got a sample rate of -24000 Hz"),
    "a rate that is no number": (SILENT, math.nan, "got a sample rate of nan Hz"),
    "half a hertz": (SILENT, 0.5, "got a sample rate of 0.5 Hz"),
    "a rate in words": (SILENT, "24000", "got a sample rate of 24000 Hz, expected a positive number, whole"),
    "a rate of light": (SILENT, 10**9, "got a sample rate of 1000000000 Hz"),
}


@pytest.mark.parametrize("case", MADE.values(), ids=MADE)
def test_what_is_no_sound_in_memory_is_refused(refused, case):
    waveform, rate, says = case
    with refused(says):
        Audio(waveform, rate)


def test_a_kind_of_samples_that_no_file_has_is_refused_and_nothing_is_written(tmp_path, refused):
    with refused("got subtype 'PCM_99', expected one of PCM_16, PCM_24, FLOAT", ConfigError):
        write_wav(tmp_path / "a.wav", Audio(SILENT, 24_000), subtype="PCM_99")


def text_chunk(text, claimed=None):
    """What a WAV file says of itself."""
    return b"LIST" + struct.pack("<I", len(text) + 12) + b"INFOICMT" + struct.pack("<I", claimed or len(text)) + text


STAMPED = {
    "a list that claims four gigabytes": b"LIST" + struct.pack("<I", 2**32 - 2) + b"INFOICMT",
    "a text longer than its list": text_chunk(b"{}", claimed=2**31),
    "a record nested 100 000 deep": text_chunk(b"[" * 10**5),
    "a number of 9000 digits": text_chunk(b"9" * 9000),
    "chunks of no size": b"ICMT\0\0\0\0" * 500,
}


@pytest.mark.parametrize("chunk", STAMPED.values(), ids=STAMPED)
def test_a_stamp_that_is_none_does_not_keep_a_sound_from_being_read(tmp_path, chunk):
    path = tmp_path / "a.wav"
    path.write_bytes(sound_bytes() + chunk)
    assert read_provenance(path) is None
    assert read_audio(path).num_samples == 800


def test_a_voice_in_a_sound_file_is_sent_to_where_it_belongs(tmp_path, refused):
    path = tmp_path / "anna.wav"
    path.write_bytes(sound_bytes())
    with refused("damaged|another kind of file"):
        load_voice(path)


def with_hole(path, seconds):
    """Two tenths of a second of sound, so many seconds apart."""
    with av.open(str(path), "w") as output:
        track = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, seconds):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start * 8000, Fraction(1, 8000)
            output.mux(track.encode(frame))
        output.mux(track.encode(None))
    return path


def test_a_hole_is_silence_unless_a_damaged_timestamp_makes_it_up(tmp_path, refused):
    assert read_audio(with_hole(tmp_path / "a.mkv", 3)).num_samples == 24_800
    path = with_hole(tmp_path / "b.mkv", 10**7)
    with refused("its sound has a hole of 10000000 s, expected at most 3600 s; its timestamps are damaged"):
        read_audio(path)
