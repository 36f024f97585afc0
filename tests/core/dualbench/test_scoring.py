"""One soundtrack by itself, as the Score node asks."""

import json
import math
import sys
from io import BytesIO

import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.dualbench.av_align import flow_trajectory, read_pictures
from dualdub_core.dualbench.local import folder_identity, local_folder
from dualdub_core.dualbench.pictures import paint
from dualdub_core.dualbench.scoring import Judges, Watched, part_pictures, score_soundtrack, watch_clip
from dualdub_core.errors import CheckpointError, InputError
from dualdub_core.types import Audio, Soundtrack

RATE = 16_000


@pytest.fixture
def _extra():
    for package in ("librosa", "cv2"):
        pytest.importorskip(package, reason="needs the extra bench")


@pytest.fixture
def clip(toy_set):
    return toy_set / "clips" / "a.mp4"


@pytest.fixture
def soundtrack(toy_set):
    """The real one, or what `damage(speech, background)` makes of it."""

    def make(damage=lambda speech, background: (speech, background)):
        paths = [toy_set / "clips" / f"a.{key}.flac" for key in ("speech", "background")]
        stems = (torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None, None] for path in paths)
        return Soundtrack(*(Audio(stem, RATE) for stem in damage(*stems)))

    return make


@pytest.mark.usefixtures("_extra")
def test_a_good_soundtrack_has_nothing_that_stands_out(clip, soundtrack):
    seen = []
    score = score_soundtrack(soundtrack(), clip, progress=lambda *report: seen.append(report))
    assert score.warnings == ()
    assert json.loads(json.dumps(score.values, allow_nan=False)) == score.values
    sync = score.values["sync"]
    assert sync["av_align"]["background"] > sync["turned round"]["background"]
    assert sync["av_align"]["background"] > sync["0.2 s late"]["background"]
    assert sync["onsets"]["background"] == 2
    assert score.values["duration"] == 1.2
    assert set(score.values["levels"]) == {"mix", "speech", "background"}
    assert seen[-1] == ("watch", 30, 30)
    assert paint(score.drawing).width == 900


@pytest.mark.usefixtures("_extra")
@pytest.mark.parametrize(
    ("damage", "warning"),
    [
        (lambda s, b: (s, torch.roll(b, 3200, dims=-1)), "follows the picture no better than when it is moved"),
        (lambda s, b: (0 * s, b), "speech: as good as silent, -120 dBFS"),
        (lambda s, b: (s, 5 * b), "mix: clips, true peak +"),
        (lambda s, b: (s[..., :-3200], b[..., :-3200]), "length: 0.20 s shorter"),
        (lambda s, b: (s, b + 0.5 * s), "leak: the stems share sound"),
        (lambda s, b: (s + b, b), "leak: the stems share sound"),
    ],
)
def test_damage_is_said_in_words(clip, soundtrack, damage, warning):
    score = score_soundtrack(soundtrack(damage), clip)
    assert any(warning in line for line in score.warnings), score.warnings
    assert score.values["warnings"] == list(score.warnings)
    json.dumps(score.values, allow_nan=False)


@pytest.mark.usefixtures("_extra")
def test_words_and_voice_are_judged_where_a_judge_is_given(clip, soundtrack, toy_set, recogniser, speakers):
    samples, _ = soundfile.read(toy_set / "clips" / "b.voice.flac", dtype="float32")
    other = Audio(torch.from_numpy(samples)[None, None], RATE)
    judges = Judges(transcriber=recogniser, normaliser="none", speakers=speakers, names={"words": "tones"})
    pytest.importorskip("jiwer", reason="needs the extra bench")
    values = score_soundtrack(soundtrack(), clip, script="one four", voice=other, judges=judges).values
    assert values["words"] == {"heard": "one two", "wer": 0.5, "judge": "tones", "normaliser": "none"}
    assert values["voice"]["sim_ref"] < 0.6
    assert score_soundtrack(soundtrack(), clip, judges=judges).values["words"]["wer"] is None
    assert "voice" not in score_soundtrack(soundtrack(), clip, judges=judges).values


@pytest.mark.parametrize("module", ["librosa", "cv2"])
def test_without_the_packages_sync_is_not_scored_and_the_rest_is(clip, soundtrack, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    score = score_soundtrack(soundtrack(), clip)
    assert score.values["sync"] is None
    assert score.drawing.moments is None
    assert "sync is not scored: AV-Align: needs" in score.warnings[0]
    assert score.values["levels"]["mix"]["lufs"] < 0


@pytest.mark.usefixtures("_extra")
def test_a_part_is_judged_by_its_own_pictures(clip, soundtrack):
    pictures, fps = part_pictures(clip, 0.4, 0.4)
    whole = list(read_pictures(clip))
    found = list(pictures)
    assert fps == pytest.approx(25)
    assert len(found) == 10
    np.testing.assert_array_equal(found[0].astype(int), whole[10].astype(int))
    part = soundtrack(lambda s, b: (s[..., :6400], b[..., 6400:12800]))
    assert score_soundtrack(part, clip, start=0.4, duration=0.4).values["duration"] == 0.4
    with pytest.raises(InputError, match="got a start at 9"):
        score_soundtrack(soundtrack(), clip, start=9.0)


@pytest.mark.usefixtures("_extra")
def test_takes_of_a_clip_that_was_watched_once_get_the_same_scores(clip, soundtrack):
    watched = watch_clip(clip, start=0.2, duration=1.0)
    part = soundtrack(lambda s, b: (s[..., 3200:], b[..., 3200:]))
    assert score_soundtrack(part, watched).values == score_soundtrack(part, clip, start=0.2, duration=1.0).values


def test_without_a_video_levels_and_leaks_are_scored(soundtrack):
    score = score_soundtrack(soundtrack(), Watched(duration=1.2))
    assert score.values["sync"] is None
    assert score.warnings == ("sync is not scored: there is no video",)
    assert score.values["levels"]["mix"]["excess_seconds"] == pytest.approx(0)
    assert paint(score.drawing).width == 900


@pytest.mark.usefixtures("_extra")
def test_tall_pictures_are_reduced_and_files_in_memory_are_read(clip):
    pictures, _ = part_pictures(BytesIO(clip.read_bytes()), 0.0, 1.2, max_height=24)
    found = list(pictures)
    assert {picture.shape for picture in found} == {(24, 32, 3)}
    assert len(flow_trajectory(found)) == 30


@pytest.mark.usefixtures("_extra")
def test_unusable_soundtracks_are_refused(clip, soundtrack):
    with pytest.raises(InputError, match="speech: got a batch of 2"):
        score_soundtrack(soundtrack(lambda s, b: (s.expand(2, -1, -1), b.expand(2, -1, -1))), clip)
    with pytest.raises(InputError, match="background: got NaN"):
        score_soundtrack(soundtrack(lambda s, b: (s, b * math.nan)), clip)


def test_networks_are_found_on_this_disk_only(tmp_path):
    assert local_folder(tmp_path, "WER") == tmp_path
    with pytest.raises(CheckpointError, match=r"WER: nobody/nothing: no such folder, nor fetched before"):
        local_folder("nobody/nothing", "WER")
    with pytest.raises(CheckpointError, match="no such folder"):
        local_folder("not a name/at all/", "WER")
    empty = folder_identity(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"1")
    assert folder_identity(tmp_path) != empty
