import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dualdub_core.dualbench import Moments, moments, read_pictures, summarise
from dualdub_core.dualbench.av_align import flow_trajectory, intersection_over_union, local_maxima, onset_times
from dualdub_core.errors import ConfigError, InputError
from dualdub_core.types import Audio

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bench"
GOLDEN = json.loads((FIXTURES / "av_align.json").read_text())
CASES = GOLDEN["cases"]


@pytest.fixture
def _extra():
    pytest.importorskip("librosa", reason="needs the extra bench")
    pytest.importorskip("cv2", reason="needs the extra bench")


def sound(name):
    samples, rate = soundfile.read(FIXTURES / CASES[name]["audio"], dtype="float32", always_2d=True)
    return Audio(torch.from_numpy(samples.T.copy())[None], rate)


def score_or_zero(value):
    return 0.0 if value == "ZeroDivisionError" else value


@pytest.mark.usefixtures("_extra")
@pytest.mark.parametrize("name", CASES)
def test_a_clip_has_the_authors_peaks_and_score(name):
    case = CASES[name]
    clip = moments(read_pictures(FIXTURES / case["video"]), case["fps"], sound(name))
    assert clip.audio_peaks == pytest.approx(case["audio_peaks"], abs=1e-6)
    assert clip.video_peaks == pytest.approx(case["video_peaks"], abs=1e-9)
    assert clip.score == pytest.approx(score_or_zero(case["av_align"]))
    assert clip.duration == pytest.approx(case["n_frames"] / case["fps"])


@pytest.mark.usefixtures("_extra")
def test_the_flow_is_the_authors():
    name = "pulse_fps2_sr24k"
    flow = flow_trajectory(read_pictures(FIXTURES / CASES[name]["video"]))
    assert flow == pytest.approx(CASES[name]["flow_trajectory"], abs=2e-5)


@pytest.mark.parametrize("name", GOLDEN["iou_only"])
def test_the_overlap_is_the_authors(name):
    case = GOLDEN["iou_only"][name]
    result = intersection_over_union(case["audio_peaks"], case["video_peaks"], case["fps"])
    assert result == pytest.approx(score_or_zero(case["iou"]))


@pytest.mark.parametrize("name", GOLDEN["local_maxima"])
def test_local_maxima_are_the_authors(name):
    case = GOLDEN["local_maxima"][name]
    assert local_maxima(case["flow"], case["fps"]) == pytest.approx(case["peaks"])


def test_a_set_is_scored_beside_shuffled_and_delayed_controls():
    clips = [Moments((start, start + 1), (start, start + 1), 25.0, 3.0) for start in (0.3, 0.6, 0.9)]
    result = summarise(clips)
    assert (result.score, result.shuffled, result.delayed) == (1.0, 0.0, 0.0)
    assert (result.num_clips, result.num_without_peaks) == (3, 0)


def test_a_clip_without_peaks_counts_as_0():
    empty = Moments((), (), 25.0, 3.0)
    result = summarise([Moments((1.0,), (1.0,), 25.0, 3.0), empty])
    assert (result.score, result.num_without_peaks) == (0.5, 1)
    assert math.isnan(summarise([empty]).shuffled)


@pytest.mark.usefixtures("_extra")
def test_a_late_a_swapped_and_a_muted_soundtrack_score_less():
    case = CASES["pulse_aligned"]
    audio = sound("pulse_aligned")
    pictures = list(read_pictures(FIXTURES / case["video"]))
    late = torch.nn.functional.pad(audio.waveform, (round(0.2 * audio.sample_rate), 0))[..., : audio.num_samples]
    damaged = [
        moments(pictures, case["fps"], damage).score
        for damage in (
            Audio(late, audio.sample_rate),
            sound("ball_aligned"),
            Audio(torch.zeros_like(audio.waveform), audio.sample_rate),
        )
    ]
    assert damaged[0] == damaged[2] == 0.0
    assert max(damaged) < case["av_align"] == 1.0


@pytest.mark.usefixtures("_extra")
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_a_click_is_an_onset_at_any_rate(rate):
    waveform = torch.zeros(1, 2, 2 * rate)
    waveform[..., rate : rate + rate // 50] = torch.rand(rate // 50) - 0.5
    assert onset_times(Audio(waveform, rate)) == pytest.approx([1.0], abs=0.05)


@pytest.mark.usefixtures("_extra")
@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("num_samples", [1, 10, 2_400])
def test_very_short_sound_is_heard_without_complaint(num_samples):
    assert len(onset_times(Audio(torch.ones(1, 1, num_samples), 24_000))) <= 1


@pytest.mark.usefixtures("_extra")
def test_unusable_clips_are_refused(tmp_path):
    audio = Audio(torch.zeros(1, 1, 24_000), 24_000)
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="got 1 pictures, expected at least 2"):
        moments([picture], 25.0, audio)
    with pytest.raises(InputError, match="got 0 pictures"):
        moments([], 25.0, audio)
    with pytest.raises(InputError, match="expected one size"):
        moments([picture, picture[:16]], 25.0, audio)
    with pytest.raises(InputError, match="expected uint8"):
        moments([picture / 255.0], 25.0, audio)
    with pytest.raises(InputError, match=r"got 0.0 pictures a second"):
        moments([picture, picture], 0.0, audio)
    with pytest.raises(InputError, match="NaN or infinite samples"):
        onset_times(Audio(torch.full((1, 1, 100), math.nan), 24_000))
    with pytest.raises(InputError, match="got a batch of 2"):
        onset_times(Audio(torch.zeros(2, 1, 100), 24_000))
    with pytest.raises(InputError, match="no such file"):
        next(read_pictures(tmp_path / "missing.mp4"))
    with pytest.raises(InputError, match="got no clips"):
        summarise([])


@pytest.mark.parametrize(("module", "package"), [("cv2", "opencv-python-headless"), ("librosa", "librosa")])
def test_without_packages_the_error_names_the_extra(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"AV-Align: needs {package}, which is not installed; pip install"):
        flow_trajectory([]) if module == "cv2" else onset_times(Audio(torch.zeros(1, 1, 9), 24_000))
