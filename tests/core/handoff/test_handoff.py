import struct
from datetime import datetime
from fractions import Fraction

import av
import pytest
import soundfile
import torch

from dualdub_core.errors import InputError
from dualdub_core.handoff.editorial import has_opentimelineio
from dualdub_core.handoff.handoff import hand_off
from dualdub_core.media.broadcast import BroadcastInfo, read_broadcast_start, write_broadcast_wav
from dualdub_core.media.muxing import mux
from dualdub_core.media.sound import read_audio, write_wav
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.types import Audio

MADE = datetime(2026, 11, 21, 13, 45, 7)
INFO = BroadcastInfo(description="take", made=MADE, start=3600.5)
needs_otio = pytest.mark.skipif(not has_opentimelineio(), reason="needs opentimelineio")


def tone(seconds=1.0, hz=440.0, rate=44_100, channels=2):
    wave = 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * rate)) / rate)
    return Audio(wave.expand(1, channels, -1).clone(), rate)


def tracks_of(path):
    with av.open(str(path)) as container:
        return [
            (s.metadata.get("title") or s.metadata.get("handler_name"), bool(s.disposition & 1), s.channels)
            for s in container.streams.audio
        ]


def packets(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def loudest_hz(path, track):
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=track)]
        rate = container.streams.audio[track].rate
    mono = torch.cat([torch.from_numpy(frame).float().mean(0) for frame in frames])
    return torch.fft.rfft(mono[:rate]).abs().argmax().item()


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_stems_are_tracks_with_names_and_the_pictures_are_copied(tmp_path, make_video, name):
    video = make_video(num_frames=30)
    sounds = {"Mix": tone(1.2, 300), "Speech": tone(1.2, 500, channels=1), "Background": tone(1.2, 900)}
    report = mux(video, sounds, tmp_path / name)
    assert report.copied
    assert packets(tmp_path / name) == packets(video)
    assert tracks_of(tmp_path / name) == [("Mix", True, 2), ("Speech", False, 1), ("Background", False, 2)]
    assert [loudest_hz(tmp_path / name, i) for i in range(3)] == pytest.approx([300, 500, 900], abs=3)
    assert read_audio(tmp_path / name).duration == pytest.approx(1.2, abs=0.03)


def test_no_track_and_broken_tracks_are_refused(tmp_path, make_video):
    with pytest.raises(InputError, match="got no sound, expected at least one track"):
        mux(make_video(), {}, tmp_path / "out.mkv")
    with pytest.raises(InputError, match="track 'Speech': got 3 channels"):
        mux(make_video(), {"Speech": tone(channels=3)}, tmp_path / "out.mkv")


@pytest.mark.parametrize("channels", [1, 2])
def test_a_stamped_file_sounds_as_a_plain_one_and_says_when_it_begins(tmp_path, channels):
    audio = tone(0.3, rate=48_000, channels=channels)
    write_broadcast_wav(tmp_path / "a.wav", audio, INFO)
    write_wav(tmp_path / "b.wav", audio)
    stamped, plain = soundfile.read(tmp_path / "a.wav")[0], soundfile.read(tmp_path / "b.wav")[0]
    assert (stamped == plain).all()
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_24"
    assert read_broadcast_start(tmp_path / "a.wav") == 3600.5
    assert read_broadcast_start(tmp_path / "b.wav") is None
    with av.open(str(tmp_path / "a.wav")) as container:  # as FFmpeg reads it
        assert container.metadata["time_reference"] == str(round(3600.5 * 48_000))
        assert container.metadata["date"] == "2026-11-21"
        assert container.metadata["creation_time"] == "13:45:07"
        assert container.metadata["comment"] == "take"
        assert container.metadata["encoded_by"] == "DualDub"


def test_the_chunk_is_as_long_as_the_standard_says(tmp_path):
    write_broadcast_wav(tmp_path / "a.wav", tone(0.01), BroadcastInfo(description="é" * 300, made=MADE))
    content = (tmp_path / "a.wav").read_bytes()
    assert content[12:16] == b"bext"
    (size,) = struct.unpack_from("<I", content, 16)
    assert size >= 602
    assert size % 2 == 0
    assert content[20 : 20 + 256] == b"?" * 256
    assert content[20 + size : 24 + size] == b"fmt "
    assert struct.unpack_from("<I", content, 4)[0] == len(content) - 8


@pytest.mark.parametrize("start", [-1.0, 86_400.0])
def test_times_of_day_that_are_none_are_refused(start):
    with pytest.raises(InputError, match="timecode: got"):
        BroadcastInfo(description="", made=MADE, start=start)


@needs_otio
def test_an_editor_gets_both_stems_on_their_own_tracks(tmp_path, make_video):
    import opentimelineio as otio

    sounds = {"speech": tone(1.001), "background": tone(1.001, 900), "mix": tone(1.001, 300)}
    video = make_video(rate=Fraction(24_000, 1001), num_frames=24)
    lines = parse_cues("[00:00.2-00:00.7] [Anna] hello [00:00.8] there")
    result = hand_off(tmp_path / "out" / "take 1", sounds, INFO, source=video, lines=lines)
    names = ["take 1_speech.wav", "take 1_background.wav", "take 1_mix.wav", "take 1_tracks.mkv", "take 1.otio"]
    assert [path.name for path in result.files] == names
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(names)
    timeline = otio.adapters.read_from_file(str(result.timeline))
    assert [(t.name, t.kind) for t in timeline.tracks] == [
        ("Picture", "Video"), ("Speech", "Audio"), ("Background", "Audio"),
    ]  # fmt: skip
    for track in timeline.tracks:
        (clip,) = track
        assert clip.duration().to_seconds() == pytest.approx(1.001, abs=1e-3)
        assert (tmp_path / "out" / clip.media_reference.target_url.replace("%20", " ")).is_file()
    assert timeline.global_start_time.to_seconds() == pytest.approx(3600.5)
    speech = timeline.tracks[1][0]
    assert speech.source_range.start_time.to_seconds() == pytest.approx(3600.5)
    assert [(m.name, m.marked_range.start_time.to_seconds()) for m in speech.markers] == [
        ("hello", pytest.approx(3600.7)),
        ("there", pytest.approx(3601.3)),
    ]
    assert tracks_of(tmp_path / "out" / "take 1_tracks.mkv")[0][:2] == ("Mix", True)


def test_stems_alone_are_handed_off_without_a_video(tmp_path):
    result = hand_off(tmp_path / "a", {"speech": tone(0.2)}, INFO)
    assert result.video is None
    assert read_broadcast_start(tmp_path / "a_speech.wav") == 3600.5


def test_sounds_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"hand-off: got sounds of speech 1.000 s, background 1.500 s, expected"):
        hand_off(tmp_path / "a", {"speech": tone(), "background": tone(1.5)}, INFO)
    with pytest.raises(InputError, match="hand-off: got sounds of none"):
        hand_off(tmp_path / "a", {}, INFO)
    assert not list(tmp_path.iterdir())
