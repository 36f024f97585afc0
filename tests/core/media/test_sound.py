"""Facts about video files, their sound, and sound files out."""

import logging
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.errors import InputError
from dualdub_core.media.sound import clip_length, probe, read_audio, write_wav
from dualdub_core.types import Audio

H264 = "libx264" if "libx264" in av.codecs_available else "mpeg4"
VP8 = "libvpx"


def film(path, count=25, *, rate=25, codec=H264, size=(64, 48), times=None, sound=None, b_frames=2):
    """A grey film; `times` are the pictures' milliseconds, `sound` is (samples (1, N), rate, first sample)."""
    with av.open(path if isinstance(path, Pipe) else str(path), "w", format=getattr(path, "format", None)) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.max_b_frames, context.gop_size = b_frames, 12
        context.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
        if sound is not None:
            track = output.add_stream("pcm_s16le", rate=sound[1], layout="mono")
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 9 * i % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray((sound[0] * 32768).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sound[1], sound[2], Fraction(1, sound[1])
            output.mux(track.encode(frame))
            output.mux(track.encode(None))
    return path


def turn(path, matrix):
    """Give the one track of an mp4 file a display matrix (a, b, c, d), as phones do."""
    a, b, c, d = (65536 * value for value in matrix)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


class Pipe:
    """Where a live stream goes: nothing written can be changed later."""

    format = "matroska"

    def __init__(self, path):
        self._file = Path(path).open("wb")  # noqa: SIM115

    def write(self, data):
        return self._file.write(data)

    def close(self):
        self._file.close()


def a_ramp(count):
    return (np.arange(count) % 1000 / 1024).astype(np.float32)[None]


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 25, Fraction(30000, 1001), 60], ids=str)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_duration_is_the_number_of_pictures_over_their_rate(tmp_path, rate, name):
    codec = "mpeg4" if name.endswith("avi") else H264
    info = probe(film(tmp_path / name, 31, rate=rate, codec=codec))
    assert info.duration == pytest.approx(31 / rate, abs=0.001)
    assert info.num_frames == 31
    assert info.fps == rate
    assert not info.is_vfr
    assert not info.has_audio
    assert (info.width, info.height, info.rotation) == (64, 48, 0)


def test_one_picture_is_a_video(tmp_path):
    info = probe(film(tmp_path / "clip.mp4", 1))
    assert (info.num_frames, info.duration, info.fps) == (1, 0.04, 25)


def test_variable_rates_are_told_and_averaged(tmp_path):
    times = [0, 40, 90, 100, 300, 310, 350, 500]
    info = probe(film(tmp_path / "clip.mkv", 8, times=times, b_frames=0))
    assert info.is_vfr
    assert 0.5 < info.duration <= 0.65
    assert float(info.fps) == pytest.approx(8 / info.duration, rel=1e-4)


def test_the_files_own_clock_does_not_matter(tmp_path):
    late = probe(film(tmp_path / "late.mkv", 10, times=[5000 + 40 * i for i in range(10)]))
    assert (late.start_time, late.duration, late.num_frames) == (5.0, 0.4, 10)


def test_pictures_before_time_zero_are_hidden_by_mp4(tmp_path):
    info = probe(film(tmp_path / "cut.mp4", 10, times=[40 * i - 120 for i in range(10)], b_frames=0))
    assert (info.start_time, info.num_frames) == (0.0, 7)
    assert info.duration == pytest.approx(0.28)


@pytest.mark.skipif(H264 != "libx264", reason="needs an H.264 encoder")
@pytest.mark.parametrize("name", ["clip.h264", "pyramid.avi", "clip.ts"])
def test_files_without_presentation_times_are_counted(tmp_path, name):
    info = probe(film(tmp_path / name, 20))
    assert (info.duration, info.num_frames) == (pytest.approx(0.8), 20)


def test_a_live_stream_has_no_duration_in_its_header_and_one_here(tmp_path):
    path = tmp_path / "live.mkv"
    film(Pipe(path), 10)
    with av.open(str(path)) as container:
        assert container.duration is None
    assert probe(path).duration == pytest.approx(0.4, abs=0.001)


@pytest.mark.parametrize(
    ("turned", "matrix"), [(0, (1, 0, 0, 1)), (90, (0, -1, 1, 0)), (180, (-1, 0, 0, -1)), (270, (0, 1, -1, 0))]
)
def test_sides_are_as_displayed(tmp_path, turned, matrix):
    info = probe(turn(film(tmp_path / "phone.mp4", 2), matrix))
    assert info.rotation == turned
    assert (info.width, info.height) == ((48, 64) if turned % 180 else (64, 48))


def test_odd_sides_are_kept(tmp_path):
    info = probe(film(tmp_path / "odd.mp4", 2, codec="mpeg4", size=(63, 47)))
    assert (info.width, info.height) == (63, 47)


def test_a_video_in_memory_is_as_good_as_a_file(tmp_path):
    path = film(tmp_path / "clip.mp4", 5)
    assert probe(BytesIO(path.read_bytes())) == probe(path) == probe(str(path))


def test_what_is_not_a_video_is_refused(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("once upon a time " * 99)
    whole = film(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    write_wav(tmp_path / "sound.wav", Audio(torch.zeros(1, 1, 800), 8000))
    for name, match in (
        ("empty.mp4", "empty"),
        ("text.mp4", "not a video or sound file"),
        ("half.mp4", "damaged or cut off"),
        ("absent.mp4", "no such file"),
        ("sound.wav", "no picture stream"),
    ):
        with pytest.raises(InputError, match=match):
            probe(tmp_path / name)
    with pytest.raises(InputError, match="empty"):
        probe(BytesIO())


def test_playlists_do_not_reach_out(tmp_path):
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError):
        probe(tmp_path / "list.m3u8")


def test_of_a_file_that_was_cut_off_the_rest_is_used(tmp_path):
    whole = film(tmp_path / "whole.mkv", 50).read_bytes()
    (tmp_path / "half.mkv").write_bytes(whole[: len(whole) // 2])
    assert 1 < probe(tmp_path / "half.mkv").num_frames < 50


def test_pictures_that_cannot_be_decoded_are_refused(tmp_path, caplog):
    data = bytearray(film(tmp_path / "whole.mp4", 1, b_frames=0).read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin : begin + 400] = bytes(len(data[begin : begin + 400]))
    (tmp_path / "zeros.mp4").write_bytes(data)
    with caplog.at_level(logging.WARNING), pytest.raises(InputError, match=r"cannot be decoded|not a video"):
        probe(tmp_path / "zeros.mp4")


def test_parts_of_a_clip_must_exist():
    assert clip_length(10.0, 2.0, None, "clip") == 8.0
    assert clip_length(10.0, 2.0, 3.0, "clip") == 3.0
    assert clip_length(10.0, 2.0, 30.0, "clip") == 8.0
    for start, duration in ((10.0, None), (-1.0, None), (float("nan"), None), (0.0, 0.0), (0.0, float("nan"))):
        with pytest.raises(InputError, match="clip"):
            clip_length(10.0, start, duration, "clip")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_files_are_read_as_they_are(tmp_path, subtype, channels):
    samples = a_ramp(3000)[0, :, None] * np.linspace(1, -1, channels)
    soundfile.write(tmp_path / "sound.wav", samples, 22_050, subtype=subtype)
    expected, _ = soundfile.read(tmp_path / "sound.wav", dtype="float32", always_2d=True)
    audio = read_audio(tmp_path / "sound.wav")
    assert audio.sample_rate == 22_050
    assert audio.waveform.dtype == torch.float32
    np.testing.assert_array_equal(audio.waveform[0].T.numpy(), expected)


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_compressed_sound_files_keep_their_length(tmp_path, kind):
    tone = 0.5 * np.sin(np.arange(24_000) * 0.05)
    soundfile.write(tmp_path / f"sound.{kind}", tone, 24_000)
    read = read_audio(tmp_path / f"sound.{kind}").waveform[0, 0].numpy()
    assert len(read) == 24_000
    np.testing.assert_allclose(read, tone, atol=1e-4 if kind == "flac" else 0.1)


def test_a_part_of_a_sound_is_exact_to_the_sample(tmp_path):
    samples = torch.from_numpy(a_ramp(8000))[None]
    write_wav(tmp_path / "sound.wav", Audio(samples, 8000))
    whole = read_audio(BytesIO((tmp_path / "sound.wav").read_bytes())).waveform
    part = read_audio(tmp_path / "sound.wav", start=0.25, duration=0.125).waveform
    assert torch.equal(part, whole[..., 2000:3000])
    assert torch.equal(read_audio(tmp_path / "sound.wav", start=0.9, duration=9.0).waveform, whole[..., 7200:])


@pytest.mark.parametrize(("first", "offset"), [(4000, 4000), (0, 0), (-1600, -1600)])
def test_the_sound_of_a_video_is_aligned_with_its_pictures(tmp_path, first, offset):
    samples = 0.25 + 0.5 * a_ramp(8000)
    start = 1000  # ms of the first picture, so that sound may come earlier
    times = [start + 40 * i for i in range(25)]
    path = film(tmp_path / "clip.mkv", times=times, sound=(samples, 8000, 8 * start + first))
    read = read_audio(path).waveform[0, 0].numpy()
    expected = np.concatenate((np.zeros(max(0, offset)), samples[0, max(0, -offset) :]))
    assert len(read) == len(expected)
    np.testing.assert_allclose(read, expected, atol=1e-4)


def test_sound_that_is_missing_or_broken_is_refused(tmp_path):
    silent = film(tmp_path / "silent.mp4", 2)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 8000)
    with pytest.raises(InputError, match="no sound track"):
        read_audio(silent)
    with pytest.raises(InputError, match="NaN"):
        read_audio(tmp_path / "nan.wav")
    with pytest.raises(InputError, match="no sound"):
        read_audio(tmp_path / "none.wav")
    with pytest.raises(InputError, match="no sound from 5"):
        read_audio(tmp_path / "nan.wav", start=5.0)
    with pytest.raises(InputError, match="start"):
        read_audio(tmp_path / "nan.wav", start=-1.0)


def test_written_sound_comes_back_to_a_24_bit_step(tmp_path):
    waveform = torch.rand(1, 2, 5000, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_wav(tmp_path / "new" / "sound.wav", Audio(waveform, 44_100))
    read = read_audio(tmp_path / "new" / "sound.wav")
    assert read.sample_rate == 44_100
    torch.testing.assert_close(read.waveform, waveform, rtol=0, atol=2**-23)


def test_sound_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "sound.wav"
    path.write_bytes(b"old")
    for waveform, match in (
        (torch.full((1, 1, 9), torch.nan), "NaN"),
        (torch.zeros(2, 1, 9), "batch of 2"),
        (torch.zeros(1, 1, 0), "0 samples"),
    ):
        with pytest.raises(InputError, match=match):
            write_wav(path, Audio(waveform, 8000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
