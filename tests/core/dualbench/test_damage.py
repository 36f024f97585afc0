"""Each figure moves the right way when a soundtrack is damaged, and bad input gets figures or one clear line."""

import math

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from dualdub_core.dualbench import Moments, summarise
from dualdub_core.dualbench.bench import read_results, run
from dualdub_core.dualbench.cnn14 import Cnn14, Cnn14Config
from dualdub_core.dualbench.judge_classes import PannsJudge, VggishJudge
from dualdub_core.dualbench.judge_harmony import HarmonyJudge
from dualdub_core.dualbench.judge_levels import LevelsJudge
from dualdub_core.dualbench.judge_speech import OpinionJudge, VoiceJudge, WordsJudge
from dualdub_core.dualbench.judge_sync import SyncJudge, matched_events, shuffled_scores
from dualdub_core.dualbench.systems import GroundTruth, Recorded, stems_sum, take_file
from dualdub_core.dualbench.testset import read_set
from dualdub_core.dualbench.vggish import VGGish, VGGishConfig
from dualdub_core.errors import InputError
from dualdub_core.types import Audio

RATE = 16_000


@pytest.fixture(scope="module", autouse=True)
def _extra():
    for package in ("librosa", "cv2", "jiwer", "whisper_normalizer"):
        pytest.importorskip(package, reason="needs the extra bench")


@pytest.fixture
def words(recogniser):
    return WordsJudge(lambda: recogniser, name="tones", normaliser="whisper_basic")


@pytest.fixture
def voices(speakers):
    return VoiceJudge(lambda: speakers, name="overtones")


@pytest.fixture
def judge(toy_set, tmp_path):
    """Figures by key of a folder of takes."""

    def judged(folder, *judges, out="out", **options):
        results = run(read_set(toy_set), Recorded(folder, **options), tmp_path / out, judges=judges)
        return {figure.key: figure for figure in results.figures}

    return judged


def values(figures):
    return {key: figure.estimate.value for key, figure in figures.items()}


def late(samples, seconds):
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), samples])[: len(samples)]


def test_the_real_stems_get_the_figures_of_the_real_stems(toy_set, tmp_path, words, voices):
    judges = [SyncJudge(), LevelsJudge(), words, voices]
    results = run(read_set(toy_set), GroundTruth(), tmp_path, judges=judges)
    figures = {figure.key: figure for figure in results.figures}
    found = values(figures)
    assert (found["wer"], found["wer.mean"], found["sim_gt"], found["onsets.f1"]) == (0, 0, pytest.approx(1), 1)
    assert (found["length.error"], found["loudness.gap"], found["clipped"], found["silent.speech"]) == (0, 0, 0, 0)
    assert found["leak.background"] < 2
    for figure in figures.values():
        assert figure.tool
        assert 0 < figure.estimate.num_clips <= 4
        assert figure.estimate.low <= figure.estimate.value <= figure.estimate.high
        if "ground truth" in figure.controls:
            assert figure.controls["ground truth"] == pytest.approx(figure.estimate.value)
    # Figures of sync, words and voices stand beside figures that know nothing.
    assert figures["onsets.f1"].controls["0.2 s late"] == figures["onsets.f1"].controls["another clip's"] == 0
    assert figures["av_align.background"].controls["0.2 s late"] < found["av_align.background"]
    assert figures["wer"].controls["another clip's script"] > 50
    assert figures["sim_gt"].controls["another speaker's voice"] < 0.7
    assert read_results(tmp_path).clips == ("a", "b", "c", "d")


def test_sound_that_comes_200_ms_late_is_out_of_sync(judge, take_folder):
    figures = judge(take_folder(lambda _, s, b: (s, late(b, 0.2))), SyncJudge())
    for key in ("onsets.f1", "av_align.background", "av_align.mix"):
        assert figures[key].estimate.value < figures[key].controls["ground truth"]
    assert figures["onsets.f1"].estimate.value == 0


def test_stems_of_other_clips_are_out_of_sync_and_say_other_words(judge, take_folder, toy_set, words, voices):
    following = dict(zip("abcd", "bcda", strict=True))

    def swap(name, speech, background):
        paths = [toy_set / f"clips/{following[name]}.{key}.flac" for key in ("speech", "background")]
        stems = [soundfile.read(path, dtype="float32")[0] for path in paths]
        return tuple(np.pad(stem, (0, RATE))[: len(speech)] for stem in stems)

    figures = judge(take_folder(swap), SyncJudge(), words, voices)
    assert figures["onsets.f1"].estimate.value < 0.3
    assert figures["wer"].estimate.value > 50
    # What is heard is the next clip's script, and its speaker's voice.
    assert figures["wer"].controls["another clip's script"] < 20
    assert figures["sim_gt"].estimate.value < 0.7 < figures["sim_gt"].controls["another speaker's voice"]


def test_another_speaker_is_heard_in_the_voice_and_not_in_the_words(judge, take_folder, words, voices):
    def other_overtone(name, speech, background):
        spectrum, hertz = np.fft.rfft(speech), np.fft.rfftfreq(len(speech), 1 / RATE)
        low, high = (hertz > 2000) & (hertz < 3000), (hertz > 3500) & (hertz < 4500)
        shift, moved = round(1500 * len(speech) / RATE), spectrum.copy()
        moved[low], moved[high] = np.roll(spectrum, -shift)[low], np.roll(spectrum, shift)[high]
        return np.fft.irfft(moved, len(speech)).astype(np.float32), background

    figures = judge(take_folder(other_overtone), words, voices)
    assert figures["wer"].estimate.value == 0
    for key in ("sim_gt", "sim_ref"):
        assert figures[key].estimate.value < 0.6
    assert figures["sim_ref"].controls["ground truth"] > 0.9


def test_noise_is_far_from_the_real_background(judge, take_folder, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, network in (("cnn14", Cnn14(Cnn14Config.mini())), ("vggish", VGGish(VGGishConfig.mini()))):
            for parameter in (one for one in network.parameters() if one.ndim > 1):
                torch.nn.init.kaiming_normal_(parameter)
            if isinstance(network, Cnn14):
                network.fc_audioset.weight.data *= 0.01  # random logits are so far apart that one class has it all
            save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    judges = (
        PannsJudge(tmp_path / "cnn14.safetensors", Cnn14Config.mini()),
        VggishJudge(tmp_path / "vggish.safetensors", VGGishConfig.mini()),
        LevelsJudge(),
    )

    def noisy(name, speech, background):
        return speech, np.float32(background + 0.5 * np.random.default_rng(0).standard_normal(background.size))

    good = judge(take_folder(), *judges, out="good")
    bad = judge(take_folder(noisy, name="noisy"), *judges, out="bad")
    for key in ("fd", "kl", "fad"):
        assert good[key].estimate.value == pytest.approx(0, abs=1e-4), key
        assert bad[key].estimate.value > 1e-3, key
        assert "cnn14.safetensors (" in bad["fd"].tool
    assert bad["fd"].estimate.value > bad["fd"].controls["real halves apart"] > 0
    assert math.isnan(bad["is"].estimate.value)  # fewer clips than splits, as the reference has it
    assert bad["loudness.gap"].estimate.value > 3 > good["loudness.gap"].estimate.value


def test_noise_hides_words_and_events(judge, take_folder, words):
    def noisy(name, speech, background):
        rng = np.random.default_rng(0)
        return tuple(np.float32(stem + 5 * rng.standard_normal(stem.size)) for stem in (speech, background))

    found = values(judge(take_folder(noisy), SyncJudge(), words))
    assert found["onsets.f1"] < 0.7
    assert found["wer"] > 30


def test_clipping_shows_in_peaks_and_samples(judge, take_folder):
    figures = judge(take_folder(lambda _, s, b: (s, np.float32((b * 20).clip(-1, 1)))), LevelsJudge())
    assert figures["clipped"].estimate.value > 0.5 > figures["clipped"].controls["ground truth"]
    assert (figures["over"].estimate.value, figures["over"].controls["ground truth"]) == (100, 0)
    assert figures["loudness.gap"].estimate.value > 5


def test_a_muted_stem_is_silent_and_fails_what_it_was_for(judge, take_folder, words):
    judges = (SyncJudge(), LevelsJudge(), words)
    dumb = values(judge(take_folder(lambda _, s, b: (0 * s, b), name="dumb"), *judges, out="out dumb"))
    assert (dumb["silent.speech"], dumb["silent.background"], dumb["wer"], dumb["onsets.f1"]) == (100, 0, 100, 1)
    still = values(judge(take_folder(lambda _, s, b: (s, 0 * b), name="still"), *judges, out="out still"))
    assert (still["silent.speech"], still["silent.background"], still["wer"]) == (0, 100, 0)
    assert still["onsets.f1"] == still["av_align.background"] == still["leak.background"] == 0


def test_speech_that_is_mixed_into_the_background_leaks(judge, take_folder):
    figures = judge(take_folder(lambda _, s, b: (s, b + 0.3 * s)), LevelsJudge())
    for key, more in (("leak.background", 15), ("leak.joint_loudness", 0.3)):
        assert figures[key].estimate.value > figures[key].controls["ground truth"] + more


def test_a_soundtrack_that_is_too_short_is_measured(judge, take_folder):
    found = values(judge(take_folder(lambda _, s, b: (s[:-4000], b[:-4000])), LevelsJudge()))
    assert found["length.error"] == pytest.approx(250)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("damage", [lambda _, s, b: (0 * s, 0 * b), lambda _, s, b: (s[:1600], b[:1600])])
def test_silence_and_a_tenth_of_a_second_get_figures(judge, take_folder, words, voices, damage):
    figures = judge(take_folder(damage), SyncJudge(), LevelsJudge(), words, voices)
    assert figures["wer"].estimate.value == 100
    assert figures["loudness.gap"].estimate.value > 30
    for key, figure in figures.items():
        assert math.isfinite(figure.estimate.value) or key.startswith("leak"), key


def test_stems_of_different_rates_and_lengths_are_judged(judge, take_folder, tmp_path, words):
    folder = take_folder(lambda _, s, b: (s, np.repeat(b, 3)[: 3 * len(b) - 9]), rates=(RATE, 3 * RATE))
    figures = values(judge(folder, LevelsJudge(), words))
    assert figures["wer"] == 0
    assert figures["length.error"] < 1
    assert soundfile.info(take_file(tmp_path / "out" / "takes", "a", "mix")).samplerate == 3 * RATE
    total = stems_sum([Audio(torch.ones(1, 2, 30), 30), Audio(torch.ones(1, 1, 10), 10)])
    assert (total.sample_rate, total.waveform.shape) == (30, (1, 1, 30))


def test_nan_is_refused_by_the_name_of_the_file(judge, take_folder):
    folder = take_folder(lambda name, s, b: (s * (np.nan if name == "c" else 1), b))
    with pytest.raises(InputError, match=r"c.speech.wav: got NaN or infinite samples"):
        judge(folder, LevelsJudge())


def test_a_missing_stem_is_refused_or_left_out_and_counted(judge, take_folder, tmp_path):
    folder = take_folder(lambda name, s, b: (None if name == "b" else s, b))
    with pytest.raises(InputError, match=r"1 sounds are missing, such as b.speech.wav; add them, or give --allow"):
        judge(folder, LevelsJudge())
    figures = judge(folder, LevelsJudge(), allow_missing=True)
    assert figures["silent.speech"].estimate.num_clips == 3
    results = read_results(tmp_path / "out")
    assert (results.clips, results.left_out) == (("a", "c", "d"), ("b",))


def test_a_folder_of_nothing_or_of_no_sounds_is_refused(judge, take_folder, tmp_path):
    with pytest.raises(InputError, match="no such folder; expected 'dualdub'"):
        judge(tmp_path / "nowhere", LevelsJudge())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no take of any clip; expected <id>.speech.wav .* such as a.wav"):
        judge(tmp_path / "empty", LevelsJudge(), allow_missing=True)
    folder = take_folder()
    (folder / "a.speech.wav").write_bytes(b"not a sound")
    with pytest.raises(InputError, match=r"a.speech.wav"):
        judge(folder, LevelsJudge())


def test_a_folder_of_mixes_is_judged_on_the_mix(judge, take_folder, words):
    folder = take_folder(lambda _, s, b: (s + b, None))
    for path in folder.glob("*.speech.wav"):
        path.rename(folder / path.name.replace(".speech", ""))
    figures = judge(folder, SyncJudge(), LevelsJudge(), words)
    assert {"av_align.mix", "wer", "loudness.gap"} <= set(figures)
    assert not {"av_align.background", "onsets.f1", "leak.background", "silent.speech"} & set(figures)
    assert figures["wer"].title == "WER, speech, heard in the mix"
    assert figures["loudness.gap"].estimate.value == pytest.approx(0, abs=1e-2)


def test_a_folder_of_backgrounds_has_no_figures_of_speech(judge, take_folder, words, voices):
    figures = judge(take_folder(lambda _, s, b: (None, b)), SyncJudge(), LevelsJudge(), words, voices)
    assert figures["onsets.f1"].estimate.value == 1
    assert not {"wer", "sim_gt", "leak.background", "silent.speech"} & set(figures)


class Pairs:
    """Embeds the beginnings of stems: what they mean is no matter here."""

    def embed_pair(self, speech, background):
        return tuple(stem.waveform[0, 0, :1600].abs().view(8, -1).mean(1) + 0.01 for stem in (speech, background))


class Loudness:
    """An opinion that likes loud speech."""

    def score(self, audio):
        return audio.waveform.abs().mean(dim=(1, 2))


def test_harmony_and_opinions_stand_beside_the_real_ones(judge, take_folder):
    judges = (HarmonyJudge(lambda: Pairs(), name="pairs"), OpinionJudge(lambda: Loudness(), name="loudness"))
    figures = judge(take_folder(lambda _, s, b: (s / 2, b)), *judges)
    assert figures["utmos"].controls["ground truth"] == pytest.approx(2 * figures["utmos"].estimate.value, rel=1e-2)
    assert -1 <= figures["dualscore"].estimate.value <= 1
    assert set(figures["dualscore"].controls) == {"ground truth", "another clip's"}
    assert figures["casp.top3"].controls["chance"] == 75
    assert figures["casp.top5"].controls["chance"] == figures["casp.top5"].estimate.value == 100


def test_shuffled_scores_are_those_of_the_summary():
    clips = [Moments((start, start + 0.5), (start, start + 0.6), 25.0, 1.5) for start in (0.3, 0.34, 0.9)]
    assert np.mean(shuffled_scores(clips)) == pytest.approx(summarise(clips).shuffled)
    assert shuffled_scores(clips[:1]) == []


def test_events_are_matched_once_each():
    assert matched_events([0.5, 1.0], [0.46, 0.54, 1.2]) == 1
    assert matched_events([0.5, 0.55], [0.52, 0.58]) == 2
    assert matched_events([], [0.1]) == matched_events([0.1], []) == 0
