"""New sound under old pictures: copied bit by bit, exactly as long, in sync to the sample."""

import struct
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import probe, read_audio
from dualdub_core.media.video import read_frames
from dualdub_core.types import Audio

H264 = "libx264" if "libx264" in av.codecs_available else "mpeg4"
needs_h264 = pytest.mark.skipif(H264 != "libx264", reason="needs an H.264 encoder")


def film(path, count=50, *, rate=25, codec=H264, times=None, size=(64, 48), b_frames=0):
    """Red grows from 0 to 255, the upper left quarter is green; a key frame every ten pictures."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={"sc_threshold": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames = 10, b_frames
        context.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
        for i in range(count):
            picture = np.zeros((size[1], size[0], 3), np.uint8)
            picture[..., 0] = round(255 * i / max(1, count - 1))
            picture[: size[1] // 2, : size[0] // 2, 1] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def turn(path, matrix):
    """Give the one track of an mp4 file a display matrix (a, b, c, d), as phones do."""
    a, b, c, d = (65536 * value for value in matrix)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def click(seconds, at, rate=24_000, channels=1):
    """Silence with one click."""
    waveform = torch.zeros(1, channels, round(seconds * rate))
    waveform[..., round(at * rate)] = 0.9
    return Audio(waveform, rate)


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def click_at(path):
    audio = read_audio(path)
    return audio.waveform[0, 0].abs().argmax().item() / audio.sample_rate


def reds(path):
    """Red of the pictures seen, from 0 to 255."""
    return read_frames(path, size=16).pixels[:, 0, -6:, -6:].float().mean(dim=(1, 2))


@pytest.mark.parametrize(
    ("source", "target", "codec"),
    [
        ("a.mp4", "b.mp4", H264),
        ("a.mp4", "b.mov", H264),
        ("a.mp4", "b.m4v", H264),
        ("a.mp4", "b.mkv", H264),
        ("a.mov", "b.mp4", H264),
        ("a.mkv", "b.mp4", H264),
        ("a.webm", "b.webm", "libvpx"),
        ("a.webm", "b.mkv", "libvpx"),
        ("a.avi", "b.avi", "mpeg4"),
        ("a.avi", "b.mp4", "mpeg4"),
    ],
)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_pictures_are_copied_bit_by_bit_and_shown_when_they_were(tmp_path, source, target, codec, b_frames):
    b_frames = b_frames if codec == "libx264" else 0
    source = film(tmp_path / source, codec=codec, b_frames=b_frames)
    report = mux(source, click(2, 1), tmp_path / target)
    assert report.copied
    assert packets(tmp_path / target) == packets(source)
    before, after = probe(source), probe(tmp_path / target)
    assert (after.num_frames, after.fps, after.is_vfr) == (50, 25, False)
    assert after.duration == report.duration == before.duration == 2.0
    assert torch.equal(read_frames(tmp_path / target, size=16).pixels, read_frames(source, size=16).pixels)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), 60], ids=str)
@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv", "out.webm"])
@pytest.mark.parametrize("sound", [(24_000, 1), (44_100, 2)], ids=str)
def test_a_click_is_heard_when_it_was_put(tmp_path, rate, target, sound):
    codec = "libvpx" if target.endswith("webm") else H264
    source = film(tmp_path / f"in{target[3:]}", 40, rate=rate, codec=codec)
    duration = probe(source).duration
    report = mux(source, click(duration, 0.5, *sound), tmp_path / target)
    audio = read_audio(tmp_path / target)
    assert click_at(tmp_path / target) == pytest.approx(0.5, abs=0.001)
    assert report.duration == duration
    # One frame of AAC at the most.
    assert 0 <= audio.duration - duration <= 1024 / audio.sample_rate + 1e-3
    assert audio.waveform.shape[1] == sound[1]


@pytest.mark.parametrize("seconds", [0.3, 2.0, 5.0])
def test_sound_is_cut_or_continued_to_the_pictures(tmp_path, seconds):
    source = film(tmp_path / "in.mp4")
    mux(source, click(seconds, 0.2), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        track = container.streams.audio[0]
        assert float(track.duration * track.time_base) == pytest.approx(2.0, abs=1 / 24_000)
    assert click_at(tmp_path / "out.mp4") == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize("name", ["late.mkv", "hidden.mp4"])
def test_the_sources_own_clock_does_not_shift_the_sound(tmp_path, name):
    first = 5000 if name == "late.mkv" else -120
    source = film(tmp_path / name, 25, times=[first + 40 * i for i in range(25)])
    mux(source, click(1, 0.5), tmp_path / "out.mp4")
    assert click_at(tmp_path / "out.mp4") == pytest.approx(0.5, abs=0.001)
    assert probe(tmp_path / "out.mp4").num_frames == probe(source).num_frames
    assert torch.equal(reds(tmp_path / "out.mp4"), reds(source))


def test_hidden_pictures_stay_hidden(tmp_path):
    source = film(tmp_path / "in.mp4", 25, times=[40 * i - 120 for i in range(25)])
    assert mux(source, click(1, 0.5), tmp_path / "out.mp4").copied
    assert packets(tmp_path / "out.mp4") == packets(source)
    # Matroska shows all it holds.
    assert not mux(source, click(1, 0.5), tmp_path / "out.mkv").copied
    assert probe(tmp_path / "out.mkv").num_frames == 22


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_rotation_is_kept(tmp_path, target):
    source = turn(film(tmp_path / "in.mp4", 5), (0, -1, 1, 0))
    assert mux(source, click(1, 0.1), tmp_path / target).copied
    info = probe(tmp_path / target)
    assert (info.rotation, info.width, info.height) == (90, 48, 64)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize(
    ("start", "duration", "copied", "num_frames"),
    [
        (0.0, 0.8, True, 20),
        (0.4, None, True, 40),
        (0.4, 0.4, True, 10),
        (0.401, 0.4, True, 10),
        (0.44, 0.4, False, 10),
        (0.46, 0.4, False, 11),
        (1.96, 9.0, False, 1),
    ],
)
def test_parts_are_copied_from_key_frames_and_encoded_again_from_others(
    tmp_path, target, start, duration, copied, num_frames
):
    source = film(tmp_path / "in.mp4")
    length = min(duration or 2.0, 2.0 - start)
    report = mux(source, click(length, length / 2), tmp_path / target, start=start, duration=duration)
    assert report.copied is copied
    assert report.num_frames == num_frames
    info = probe(tmp_path / target)
    assert info.num_frames == num_frames
    assert info.duration == pytest.approx(length, abs=0.003)
    assert click_at(tmp_path / target) == pytest.approx(length / 2, abs=0.001)
    first = int(start * 25 + 0.02)
    assert reds(tmp_path / target)[0].item() == pytest.approx(255 * first / 49, abs=6)


@needs_h264
def test_a_part_that_ends_among_b_frames_is_encoded_again_and_none_is_lost(tmp_path):
    source = film(tmp_path / "in.mp4", b_frames=2)
    copied = []
    for count in range(1, 12):
        copied.append(mux(source, click(1, 0.01), tmp_path / "out.mp4", duration=count / 25).copied)
        assert probe(tmp_path / "out.mp4").num_frames == count
    assert set(copied) == {True, False}


def test_pictures_encoded_again_are_upright_and_alike(tmp_path):
    source = turn(film(tmp_path / "in.mp4", 20), (0, -1, 1, 0))
    assert not mux(source, click(1, 0.1), tmp_path / "out.mp4", start=0.04).copied
    info = probe(tmp_path / "out.mp4")
    assert (info.rotation, info.width, info.height) == (0, 48, 64)
    expected = read_frames(source, size=16, start=0.04).pixels.float()
    assert (read_frames(tmp_path / "out.mp4", size=16).pixels.float() - expected).abs().mean() < 4


@pytest.mark.parametrize("target", ["out.mp4", "out.webm", "out.avi"])
def test_odd_sides_and_variable_rates_can_be_encoded_again(tmp_path, target):
    times = [0, 40, 80, 200, 240, 260, 400, 500]
    source = film(tmp_path / "in.mkv", 8, codec="mpeg4", size=(63, 47), times=times)
    assert not mux(source, click(1, 0.1), tmp_path / target, start=0.04).copied
    info = probe(tmp_path / target)
    assert (info.width, info.height) == (62, 46)
    assert click_at(tmp_path / target) == pytest.approx(0.1, abs=0.001)
    if not target.endswith("avi"):
        assert info.num_frames == 7
        assert info.is_vfr


@needs_h264
@pytest.mark.parametrize("name", ["in.h264", "in.avi"])
def test_files_that_do_not_say_when_pictures_are_shown_are_encoded_again(tmp_path, name):
    source = film(tmp_path / name, b_frames=2)
    assert not mux(source, click(2, 1), tmp_path / "out.mp4").copied
    info = probe(tmp_path / "out.mp4")
    assert (info.num_frames, info.duration) == (50, pytest.approx(2.0, abs=0.001))
    torch.testing.assert_close(reds(tmp_path / "out.mp4"), torch.arange(0, 50, 3) / 49 * 255, rtol=0, atol=6.0)


def test_the_sources_sound_is_replaced_and_metadata_joined(tmp_path):
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    mux(film(tmp_path / "in.mp4"), click(2, 1), first, metadata={"title": "a", "workflow": "{}"})
    mux(first, click(2, 0.25, 48_000, 2), second, metadata={"title": "b"})
    with av.open(str(second)) as container:
        assert len(container.streams.audio) == 1
        assert (container.metadata["title"], container.metadata["workflow"]) == ("b", "{}")
    assert click_at(second) == pytest.approx(0.25, abs=0.001)


def test_the_target_may_be_the_source_and_the_source_in_memory(tmp_path):
    path = film(tmp_path / "in.mp4")
    data, before = path.read_bytes(), packets(path)
    mux(path, click(2, 1), path)
    assert packets(path) == before
    mux(BytesIO(data), click(2, 0.5), path)
    assert click_at(path) == pytest.approx(0.5, abs=0.001)


def test_what_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path):
    source, target = film(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"old")
    (tmp_path / "out.webm").write_bytes(b"old")
    nan = Audio(torch.full((1, 1, 99), torch.nan), 24_000)
    for args, match in (
        ((source, nan, target), "NaN"),
        ((source, Audio(torch.zeros(2, 1, 99), 24_000), target), "batch of 2"),
        ((source, Audio(torch.zeros(1, 6, 99), 24_000), target), "6 channels"),
        ((source, click(1, 0), tmp_path / "out.gif"), r"'\.gif'"),
        ((source, click(1, 0), tmp_path / "out.webm"), r"cannot hold the source's (h264|mpeg4)"),
        ((tmp_path / "absent.mp4", click(1, 0), target), "no such file"),
    ):
        with pytest.raises(InputError, match=match):
            mux(*args)
    with pytest.raises(InputError, match="start at 2"):
        mux(source, click(1, 0), target, start=2.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "out.webm"]
    assert target.read_bytes() == (tmp_path / "out.webm").read_bytes() == b"old"


@pytest.mark.parametrize("start", [0.0, 0.1])
def test_cancelling_leaves_nothing_behind(tmp_path, start):
    source, calls = film(tmp_path / "in.mp4"), []

    def cancel(stage, done, total):
        calls.append((stage, done, total))
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mux(source, click(2, 1), tmp_path / "out.mp4", start=start, progress=cancel)
    assert list(tmp_path.iterdir()) == [source]
    assert calls[0][:2] == ("write", 1)
