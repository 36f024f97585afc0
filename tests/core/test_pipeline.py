import logging
from dataclasses import replace

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.pipeline import Lock, decode_codec, decode_flow, encode_stem, retake_locks, sample_codes
from dualdub_core.sampling import SamplingConfig, Seeds, StreamSampling
from dualdub_core.text import TextTokenizer
from dualdub_core.timing import num_samples, video_feature_times
from dualdub_core.types import Audio, Codes, Stream, Task, VideoFeatures, Voice
from dualdub_core.voice import voice_model_id

SECONDS = 0.7


def watched(duration: float = SECONDS, width: int = 8, seed: int = 0) -> VideoFeatures:
    times = video_feature_times(duration)
    features = torch.randn(times.numel(), width, generator=torch.Generator().manual_seed(seed))
    return VideoFeatures(torch.nn.functional.normalize(features, dim=-1), times, duration)


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.mini()


@pytest.fixture
def sample(tiny_model, tokenizer):
    def run(**changes) -> Codes:
        values = {"task": Task.JOINT, "features": watched(), "script": "one red ball", "seeds": Seeds(speech=1)}
        return sample_codes(tiny_model, tokenizer, **(values | changes))

    return run


def test_each_task_writes_its_streams(sample):
    joint = sample()
    assert joint.speech.shape == joint.background.shape == (1, 28)
    background = sample(task=Task.BACKGROUND)
    assert background.speech is None
    assert background.background.shape == (1, 28)
    speech = sample(task=Task.SPEECH, features=None, duration=0.5)
    assert speech.background is None
    assert speech.speech.shape == (1, 20)


def test_speech_ends_on_its_own_and_sets_the_duration(sample):
    codes = sample(task=Task.SPEECH, features=None, batch_size=3)
    assert codes.num_frames == max(codes.lengths)
    assert codes.duration == codes.num_frames / 40


def test_a_take_of_a_batch_is_what_its_seed_gives_alone(sample):
    takes = sample(batch_size=3, seeds=Seeds(speech=5, background=8))
    third = sample(seeds=Seeds(speech=7, background=10))
    assert torch.equal(takes.speech[2:], third.speech)
    assert torch.equal(takes.background[2:], third.background)


def test_video_voice_and_script_each_have_a_say(sample, tiny_model):
    voice = Voice(embedding=torch.randn(16), model_id=voice_model_id(tiny_model))
    before = sample()
    for change in ({"features": watched(seed=1)}, {"voice": voice}, {"script": "two blue doors"}):
        assert not torch.equal(sample(**change).speech, before.speech)


def test_background_alone_reads_neither_script_nor_voice(sample, tiny_model, caplog):
    voice = Voice(embedding=torch.randn(16), model_id=voice_model_id(tiny_model))
    before = sample(task=Task.BACKGROUND, script="")
    with caplog.at_level(logging.WARNING):
        after = sample(task=Task.BACKGROUND, voice=voice)
    assert torch.equal(before.background, after.background)
    assert "background-only task does not read them" in caplog.text


def test_a_recording_is_locked_and_the_rest_is_sampled_against_it(sample, tiny_codec):
    recording = Audio(torch.randn(1, 2, 44_100, generator=torch.Generator().manual_seed(0)) * 0.3, 44_100)
    locked = encode_stem(tiny_codec, recording, duration=SECONDS)
    assert locked.shape == (1, 28)
    codes = sample(locks=[Lock(Stream.BACKGROUND, locked)])
    assert torch.equal(codes.background, locked)
    assert not torch.equal(codes.speech, sample().speech)


@pytest.mark.parametrize("duration", [0.025, 0.1, 1.001, 2.0])
@pytest.mark.parametrize("length", [1, 5_000, 100_000])
def test_a_locked_recording_of_any_length_gets_the_clips_frames(tiny_codec, tiny_model, duration, length):
    codes = encode_stem(tiny_codec, Audio(torch.full((1, 1, length), 0.1), 48_000), duration=duration)
    assert codes.shape == (1, tiny_model.config.clock.num_frames(duration))


def test_a_retake_changes_its_range_of_its_stream_only(sample):
    first = sample()
    locks = retake_locks(first, start=0.2, end=0.4, streams=[Stream.SPEECH])
    again = sample(locks=locks, seeds=Seeds(speech=99))
    assert torch.equal(again.background, first.background)
    assert torch.equal(again.speech[:, :8], first.speech[:, :8])
    assert torch.equal(again.speech[:, 16:], first.speech[:, 16:])
    assert not torch.equal(again.speech[:, 8:16], first.speech[:, 8:16])


@pytest.mark.parametrize(("start", "end"), [(0.4, 0.2), (-0.1, 0.2), (0.5, 0.8), (0.2, 0.2)])
def test_a_retake_outside_the_clip_is_refused(sample, start, end):
    with pytest.raises(
        InputError, match=f"retake: got {start} to {end} s, expected a start before an end, both within 0 to 0.700 s"
    ):
        retake_locks(sample(), start=start, end=end, streams=[Stream.SPEECH])


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.3), (0.3, SECONDS), (0.0, SECONDS)])
def test_a_retake_may_reach_an_edge_of_the_clip(sample, start, end):
    first = sample()
    again = sample(locks=retake_locks(first, start=start, end=end, streams=list(Stream)), seeds=Seeds(speech=99))
    kept = torch.ones(28, dtype=torch.bool)
    kept[round(start * 40) : round(end * 40)] = False
    assert torch.equal(again.speech[:, kept], first.speech[:, kept])
    assert not torch.equal(again.speech[:, ~kept], first.speech[:, ~kept])


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.2), (5.0, None), (-0.1, 0.3), (0.3, 0.3)])
def test_a_lock_that_would_hold_nothing_is_refused(sample, start, end):
    with pytest.raises(InputError, match=f"lock: got {start} s to .* of the speech stream"):
        sample(locks=[Lock(Stream.SPEECH, torch.zeros(1, 28, dtype=torch.int64), start, end)])


def test_one_take_of_several_stands_alone(sample):
    takes = sample(batch_size=3)
    assert torch.equal(takes.take(1).speech, takes.speech[1:2])
    with pytest.raises(InputError, match="got take 4, expected 1 to 3"):
        takes.take(3)


def soundtracks(codes, tiny_codec, tiny_decoder, tiny_vae):
    return {
        "codec": decode_codec(tiny_codec, codes),
        "flow": decode_flow(tiny_decoder, tiny_vae, codes, num_steps=2),
    }


@pytest.mark.parametrize("duration", [0.04, 0.5, 24 * 1001 / 24_000, 1 / 3])
def test_stems_have_exactly_the_videos_length(sample, tiny_codec, tiny_decoder, tiny_vae, duration):
    codes = sample(features=watched(duration), batch_size=2)
    for soundtrack in soundtracks(codes, tiny_codec, tiny_decoder, tiny_vae).values():
        samples = round(duration * soundtrack.sample_rate)
        for stem in (soundtrack.speech, soundtrack.background):
            assert stem.num_samples == samples == num_samples(duration, soundtrack.sample_rate)
            assert stem.waveform.shape[0] == 2
            assert stem.waveform.isfinite().all()
            assert stem.waveform.any()


def test_a_stream_the_task_did_not_write_is_silence(sample, tiny_codec, tiny_decoder, tiny_vae):
    codes = sample(task=Task.BACKGROUND)
    for soundtrack in soundtracks(codes, tiny_codec, tiny_decoder, tiny_vae).values():
        assert not soundtrack.speech.waveform.any()
        assert soundtrack.background.waveform.any()


def test_rows_that_end_early_are_silent_after_their_end(sample, tiny_codec, tiny_decoder, tiny_vae):
    codes = sample(task=Task.SPEECH, features=None, duration=0.5, batch_size=2)
    codes = replace(codes, lengths=(8, 20))
    for soundtrack in soundtracks(codes, tiny_codec, tiny_decoder, tiny_vae).values():
        end = round(0.2 * soundtrack.sample_rate)
        assert soundtrack.speech.waveform[0, :, :end].any()
        assert not soundtrack.speech.waveform[0, :, end:].any()
        assert soundtrack.speech.waveform[1, :, end:].any()


def test_decoding_a_batch_equals_decoding_each_take(sample, tiny_codec, tiny_decoder, tiny_vae):
    codes = sample(batch_size=2)
    one = replace(codes, speech=codes.speech[1:], background=codes.background[1:])
    together = soundtracks(codes, tiny_codec, tiny_decoder, tiny_vae)
    alone = soundtracks(one, tiny_codec, tiny_decoder, tiny_vae)
    for name in together:
        torch.testing.assert_close(together[name].speech.waveform[1:], alone[name].speech.waveform)


def test_a_code_is_heard_in_its_own_stem_only(sample, tiny_decoder, tiny_vae):
    codes = sample()
    other = replace(codes, speech=(codes.speech + 1) % codes.codebook_size)
    a, b = (decode_flow(tiny_decoder, tiny_vae, c, num_steps=2) for c in (codes, other))
    torch.testing.assert_close(a.background.waveform, b.background.waveform)
    assert not torch.allclose(a.speech.waveform, b.speech.waveform)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": None}, "task 'joint' needs the video's features"),
        ({"features": watched(width=5)}, "features are 5 wide, this model expects 8"),
        ({"script": "  "}, "script: got no text"),
        ({"voice": Voice(embedding=torch.zeros(16), model_id="x")}, "computed by another model"),
        ({"batch_size": 0}, "batch size: got 0"),
        ({"locks": [Lock(Stream.SPEECH, torch.zeros(1, 5, dtype=torch.int64))]}, r"shape \(1, 5\), expected \(1, 28\)"),
        ({"locks": [Lock(Stream.SPEECH, torch.full((1, 28), 24))]}, "codes outside 0 to 23"),
        (
            {"task": Task.BACKGROUND, "locks": [Lock(Stream.SPEECH, torch.zeros(1, 28, dtype=torch.int64))]},
            "task 'background' has no speech stream to lock",
        ),
        (
            {"task": Task.SPEECH, "locks": [Lock(Stream.SPEECH, torch.zeros(1, 28, dtype=torch.int64))]},
            "lock: speech that ends on its own",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused(sample, changes, message):
    with pytest.raises(InputError, match=message):
        sample(**changes)


def test_parts_of_other_models_are_refused(sample, tiny_codec, tiny_decoder, tiny_vae):
    codes = replace(sample(), codebook_size=4096)
    with pytest.raises(InputError, match="written at 40 Hz with 4096 codes, this decoder reads 40 Hz with 24"):
        decode_codec(tiny_codec, codes)
    with pytest.raises(InputError, match="this decoder reads 40 Hz with 24"):
        decode_flow(tiny_decoder, tiny_vae, codes)


def test_greedy_sampling_ignores_the_seed(sample):
    greedy = StreamSampling(temperature=0)
    sampling = SamplingConfig(speech=greedy, background=greedy)
    a, b = (sample(sampling=sampling, seeds=Seeds(speech=s, background=s)) for s in (0, 1))
    assert torch.equal(a.speech, b.speech)


def test_progress_is_reported_and_cancel_passes_through(sample):
    seen = []
    sample(progress=lambda *a: seen.append(a))
    assert seen == [("generate", n, 28) for n in (0, 8, 16, 24, 28)]

    def cancel(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(progress=cancel)
