import copy
from dataclasses import replace

import pytest
import torch

from dualdub_core.artifacts import load_codes, save_codes
from dualdub_core.errors import InputError
from dualdub_core.pipeline import Lock, decode_codec, sample_codes
from dualdub_core.sampling import Seeds
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.scripts.measured import measure_lines
from dualdub_core.scripts.plan import plan_script
from dualdub_core.scripts.rerolls import line_seeds
from dualdub_core.scripts.scripted import sample_script, silence_codes, voice_of
from dualdub_core.text import TextTokenizer
from dualdub_core.timing import num_samples, video_feature_times
from dualdub_core.types import Audio, Stream, Task, VideoFeatures, Voice
from dualdub_core.voice import voice_model_id

SECONDS = 1.501
TWO = parse_cues("[00:00.2-00:00.6] [Anna] one red ball [00:00.9-00:01.3] [Ben] two blue doors")
SILENT = 16  # codes below are silence in the codec that can be silent


def watched(duration: float = SECONDS, seed: int = 0) -> VideoFeatures:
    times = video_feature_times(duration)
    features = torch.randn(times.numel(), 8, generator=torch.Generator().manual_seed(seed))
    return VideoFeatures(torch.nn.functional.normalize(features, dim=-1), times, duration)


def noise_of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quiet_codec(tiny_codec):
    """A codec whose codes below SILENT are heard as silence, the others as a buzz; real silence encodes to one."""
    codec = copy.deepcopy(tiny_codec)
    config = codec.config
    still = codec.encoder(torch.zeros(1, 1, 24_000))[0].mean(1)
    still = still / still.norm()
    signs = torch.where(torch.arange(config.codebook_size) < SILENT, 1.0, -1.0)
    codec.codebook.weight.copy_(signs[:, None] * still + 0.01 * noise_of(config.codebook_size, config.dimension))
    codec.backbone.pos_net, codec.backbone.convnext = torch.nn.Identity(), torch.nn.ModuleList()
    direction = noise_of(config.backbone_width)
    direction = direction - direction.mean()
    codec.backbone.embed.weight.zero_()
    codec.backbone.embed.bias.zero_()
    codec.backbone.embed.weight[:, :, 3] = direction[:, None] * still
    bins = config.n_fft // 2 + 1
    codec.head.linear.weight.zero_()
    codec.head.linear.weight[:bins] = -10 * direction / direction.square().sum().sqrt()
    codec.head.linear.bias.copy_(100 * noise_of(len(codec.head.linear.bias)))  # phases
    codec.head.linear.bias[:bins] = -55.0
    return codec


@pytest.fixture
def sample(tiny_model, tiny_codec):
    def run(**changes):
        values = {"codec": tiny_codec, "script": TWO, "features": watched(), "seeds": Seeds(speech=1)} | changes
        return sample_script(tiny_model, TextTokenizer.mini(), **values)

    return run


def test_outside_of_its_slots_speech_is_the_codecs_silence(sample, tiny_codec):
    codes = sample()
    assert codes.speech.shape == codes.background.shape == (1, 61)
    assert codes.duration == SECONDS
    silence = silence_codes(tiny_codec, SECONDS)
    outside = torch.ones(61, dtype=torch.bool)
    outside[8:24] = outside[36:52] = False
    assert torch.equal(codes.speech[:, outside], silence[:, outside])
    assert (codes.speech[0, 8:24] != silence[0, 8:24]).any()
    assert (codes.speech[0, 36:52] != silence[0, 36:52]).any()


def test_between_the_lines_nothing_is_heard_whatever_silence_decodes_to(sample, tiny_codec, tmp_path):
    codes = sample(locks=[Lock(Stream.SPEECH, torch.zeros(1, 61, dtype=torch.int64), 1.4)])
    assert codes.spoken == ((0.2, 0.6), (0.9, 1.3), (1.4, 1.525))
    save_codes(tmp_path / "codes.safetensors", codes)
    assert load_codes(tmp_path / "codes.safetensors").spoken == codes.spoken
    speech = decode_codec(tiny_codec, codes).speech.waveform[0, 0]
    loud = decode_codec(tiny_codec, replace(codes, spoken=None)).speech.waveform[0, 0]
    heard = (speech != 0).nonzero() / 24_000
    assert 0.139 < float(heard[0]) < 0.151
    assert not bool(((heard > 0.661) & (heard < 0.839)).any())
    assert loud[: 24_000 // 10].any()
    inside = slice(round(0.16 * 24_000), round(0.64 * 24_000))
    assert torch.equal(speech[inside], loud[inside])


def test_a_line_starts_at_its_cue_however_late_the_model_begins(sample, quiet_codec, tiny_model):
    assert int(silence_codes(quiet_codec, 1.0).max()) < SILENT
    script = parse_cues("[00:00.5-00:01.4] one red ball")
    codes = sample(codec=quiet_codec, script=script, batch_size=6)
    speech = decode_codec(quiet_codec, codes).speech
    plan = plan_script(script, SECONDS)
    starts = [measure_lines(Audio(row[None], speech.sample_rate), plan).lines[0] for row in speech.waveform]
    assert max(abs(line.start_error) for line in starts) < 0.06
    # Left alone, the model begins late in some of these takes.
    seed = line_seeds(script, 1)[0]
    features = replace(watched(), times=watched().times - 0.5)
    alone = sample_codes(
        tiny_model, TextTokenizer.mini(), task=Task.JOINT, features=features, script="one red ball",
        seeds=Seeds(speech=seed, background=seed), batch_size=32,
    )  # fmt: skip
    assert max(int((row >= SILENT).int().argmax()) for row in alone.speech) > 4


def test_the_same_seeds_give_the_same_codes(sample):
    first, again = sample(), sample()
    assert torch.equal(first.speech, again.speech)
    assert torch.equal(first.background, again.background)


def test_a_line_depends_on_its_own_seed_only(sample):
    first = sample()
    again = sample(rerolls={2: 77})
    assert torch.equal(first.speech[:, :36], again.speech[:, :36])
    assert not torch.equal(first.speech[:, 36:52], again.speech[:, 36:52])
    assert torch.equal(first.background, again.background)


def test_a_changed_or_removed_line_leaves_the_others_as_they_were(sample):
    first = sample()
    changed = sample(script=parse_cues("[00:00.2-00:00.6] [Anna] nothing [00:00.9-00:01.3] [Ben] two blue doors"))
    removed = sample(script=parse_cues("[00:00.9-00:01.3] [Ben] two blue doors"))
    for other in (changed, removed):
        assert torch.equal(first.speech[:, 24:], other.speech[:, 24:])
        assert not torch.equal(first.speech[:, :24], other.speech[:, :24])
        assert torch.equal(first.background, other.background)


def test_neither_stream_hears_the_others_seed(sample):
    first = sample()
    speech, background = sample(seeds=Seeds(speech=2)), sample(seeds=Seeds(speech=1, background=2))
    assert torch.equal(first.background, speech.background)
    assert not torch.equal(first.speech, speech.speech)
    assert torch.equal(first.speech, background.speech)
    assert not torch.equal(first.background, background.background)


def test_the_background_is_that_of_the_background_task_or_hears_the_speech(sample, tiny_model):
    first = sample(background="hears the speech")
    again = sample(background="hears the speech", seeds=Seeds(speech=2))
    assert not torch.equal(first.background, again.background)
    alone = sample_codes(tiny_model, TextTokenizer.mini(), task=Task.BACKGROUND, features=watched())
    assert torch.equal(sample().background, alone.background)


def test_a_take_of_a_batch_is_what_its_seed_gives_alone(sample):
    takes = sample(batch_size=3, seeds=Seeds(speech=5, background=8), rerolls={2: 9})
    third = sample(seeds=Seeds(speech=7, background=10), rerolls={2: 11})
    assert torch.equal(takes.speech[2:], third.speech)
    assert torch.equal(takes.background[2:], third.background)


def test_voices_go_by_name_and_each_line_hears_its_own(sample, tiny_model):
    embeddings = noise_of(3, 16)
    anna, ben, carl = (Voice(embedding, voice_model_id(tiny_model)) for embedding in embeddings)
    first = sample(voices={"anna": anna, "BEN": ben})
    again = sample(voices={"Anna": anna, "": carl})
    assert torch.equal(first.speech[:, :36], again.speech[:, :36])
    assert not torch.equal(first.speech[:, 36:], again.speech[:, 36:])
    with pytest.raises(InputError, match="line 2 is spoken by 'Ben', but the voices are Anna, Carl; correct the name"):
        sample(voices={"Anna": anna, "Carl": carl})
    nobody = plan_script(parse_cues("[00:01] hi")).lines[0]
    assert voice_of(nobody, {"Anna": anna}) is anna
    with pytest.raises(InputError, match="line 1 has no speaker, but the voices are Anna, Ben"):
        voice_of(nobody, {"Anna": anna, "Ben": ben})


def test_without_a_video_lines_are_spoken_and_there_is_no_background(sample):
    codes = sample(features=None, duration=2.0)
    assert codes.background is None
    assert codes.speech.shape == (1, 80)
    assert sample(features=None).duration == 1.3


def test_a_locked_bed_is_kept_and_heard_by_the_lines(sample):
    bed = torch.randint(0, 24, (1, 61), generator=torch.Generator().manual_seed(0))
    first, codes = sample(), sample(locks=[Lock(Stream.BACKGROUND, bed)])
    assert torch.equal(codes.background, bed)
    assert not torch.equal(codes.speech, first.speech)
    later = sample(locks=[Lock(Stream.BACKGROUND, bed, 0.75)])
    assert torch.equal(later.background[:, 30:], bed[:, 30:])
    assert torch.equal(later.speech[:, :24], first.speech[:, :24])
    assert torch.equal(later.speech[:, 36:], codes.speech[:, 36:])


def test_a_locked_line_is_kept_and_costs_nothing(sample):
    first, reports = sample(), []
    codes = sample(
        seeds=Seeds(speech=9),
        locks=[Lock(Stream.SPEECH, first.speech, 0.0, 0.7)],
        progress=lambda *report: reports.append(report),
    )
    assert torch.equal(codes.speech[:, :28], first.speech[:, :28])
    assert not torch.equal(codes.speech[:, 36:], first.speech[:, 36:])
    assert reports[0] == ("generate", 0, 16 + 16 + 61)
    assert reports[1] == ("generate", 16, 93)
    assert reports[-1] == ("generate", 93, 93)
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)


@pytest.mark.parametrize("duration", [0.051, 0.401, 1.0, 1.333])
def test_any_length_is_exact(sample, tiny_codec, duration):
    script = parse_cues("[00:00] hi")
    codes = sample(script=script, features=watched(duration))
    assert decode_codec(tiny_codec, codes).num_samples == num_samples(duration, 24_000)


def test_silence_of_a_long_clip_repeats_that_of_a_short_one(tiny_codec):
    codes = silence_codes(tiny_codec, 20.0)
    assert codes.shape == (1, 800)
    assert torch.equal(codes[:, :80], silence_codes(tiny_codec, 8.0)[:, :80])


def test_seeds_of_lines_follow_their_words():
    script = parse_cues("[A] one\n[A] two\n[A] one\n[B] one")
    seeds = line_seeds(script, 5)
    assert len(set(seeds)) == 4
    assert line_seeds(parse_cues("[a] two\n[A] one"), 5) == (seeds[1], seeds[0])
    assert line_seeds(script, 6) == tuple((seed + 1) % 2**64 for seed in seeds)
    assert line_seeds(script, 5, {4: 6}) == (*seeds[:3], (seeds[3] + 1) % 2**64)
    with pytest.raises(InputError, match="got a new seed for line 5, expected 1 to 4"):
        line_seeds(script, 5, {5: 0})


def test_what_does_not_fit_is_refused(sample, quiet_codec):
    with pytest.raises(InputError, match=r"line 1 starts at 3.000 s, but the clip lasts 1.501 s"):
        sample(script=parse_cues("[00:03] hi"))
    other = copy.deepcopy(quiet_codec)
    other.config = replace(other.config, codebook_size=25)
    with pytest.raises(InputError, match="the codec has 25 codes at 40 Hz, the model writes 24"):
        sample(codec=other)


def test_cancelling_passes_through(sample):
    def stop(stage, done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(progress=stop)
