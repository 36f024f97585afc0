import logging
from itertools import pairwise

import pytest
import torch

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.pipeline import decode_codec, sample_codes
from dualdub_core.previews import Draft, PreviewConfig, Previews, draw_draft
from dualdub_core.sampling import Seeds
from dualdub_core.text import TextTokenizer
from dualdub_core.timing import video_feature_times
from dualdub_core.types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures

BOTH = (Stream.SPEECH, Stream.BACKGROUND)
SECONDS = 2.1


class Clock:
    """Each look at it takes a moment, so that drafts cost something."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def codes_of(config, frames: int = 400) -> torch.Tensor:
    return torch.randint(config.codebook_size, (2, 2, frames), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sample(tiny_model):
    times = video_feature_times(SECONDS)
    features = torch.randn(times.numel(), 8, generator=torch.Generator().manual_seed(0))
    seen = VideoFeatures(torch.nn.functional.normalize(features, dim=-1), times, SECONDS)

    def run(watch=None, **changes) -> Codes:
        values = {"task": Task.JOINT, "features": seen, "script": "one red ball", "seeds": Seeds(speech=3)}
        return sample_codes(tiny_model, TextTokenizer.mini(), watch=watch, **(values | changes))

    return run


def test_watching_changes_no_code_and_the_last_draft_is_the_codecs_decoding(sample, tiny_codec):
    drafts: list[Draft] = []
    config = PreviewConfig(first=0.2, interval=0.0, share=1.0)
    watch = Previews(tiny_codec, drafts.append, streams=BOTH, duration=SECONDS, config=config)
    state = torch.get_rng_state()
    watched, alone = sample(watch), sample()
    assert torch.equal(watched.speech, alone.speech)
    assert torch.equal(watched.background, alone.background)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(drafts) > 1
    whole = decode_codec(tiny_codec, alone)
    assert torch.equal(drafts[-1].soundtrack.speech.waveform, whole.speech.waveform)
    assert drafts[-1].seconds == SECONDS
    assert [draft.seconds for draft in drafts] == sorted(draft.seconds for draft in drafts)


def test_the_first_draft_waits_for_enough_sound_and_the_next_for_enough_time(tiny_codec):
    clock, heard = Clock(), []
    watch = Previews(
        tiny_codec, lambda draft: heard.append((clock.now, draft.seconds)), streams=BOTH, duration=10.0, clock=clock
    )
    codes = codes_of(tiny_codec.config)
    for done in range(8, 401, 8):
        clock.now += 0.2
        watch(codes, done)
    times, seconds = zip(*heard, strict=True)
    assert seconds[0] == 1.0
    gaps = [after - before for before, after in pairwise(times)]
    assert all(1.5 <= gap < 1.75 for gap in gaps[:-1])
    assert seconds[-1] == 10.0


def test_drafts_take_no_more_than_their_share_of_the_time(tiny_codec):
    clock = Clock()
    count = 0

    def show(draft: Draft) -> None:
        nonlocal count
        count += 1
        clock.now += 0.4 * draft.seconds

    watch = Previews(tiny_codec, show, streams=BOTH, duration=10.0, clock=clock)
    codes = codes_of(tiny_codec.config)
    alone = 60.0
    for done in range(8, 401, 8):
        clock.now += alone / 50
        watch(codes, done)
    assert count > 2
    assert clock.now <= alone * 1.15


def test_a_draft_that_fails_is_told_once_and_the_take_goes_on(sample, tiny_codec, caplog):
    def show(draft: Draft) -> None:
        raise OSError("no space left on device")

    config = PreviewConfig(first=0.2, interval=0.0, share=1.0)
    with caplog.at_level(logging.WARNING):
        watched = sample(Previews(tiny_codec, show, streams=BOTH, duration=SECONDS, config=config))
    assert torch.equal(watched.speech, sample().speech)
    assert caplog.text.count("no space left on device; the take goes on without previews") == 1


def test_a_codec_of_another_model_costs_the_previews_and_not_the_take(sample, tiny_codec, caplog):
    shown: list[Draft] = []
    watch = Previews(tiny_codec, shown.append, streams=BOTH, duration=SECONDS, config=PreviewConfig(first=0.1))
    with caplog.at_level(logging.WARNING):
        watch(torch.full((1, 2, 80), 9999), 40)
        watch(torch.full((1, 2, 80), 9999), 80)
    assert not shown
    assert caplog.text.count("preview: codes: got values from 9999") == 1


def test_cancel_goes_through_a_draft(sample, tiny_codec):
    def cancel(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(Previews(tiny_codec, lambda draft: None, streams=BOTH, duration=SECONDS, progress=cancel))


def test_speech_that_ends_on_its_own_is_heard_up_to_its_end(tiny_codec):
    drafts: list[Draft] = []
    watch = Previews(tiny_codec, drafts.append, streams=(Stream.SPEECH,), duration=None)
    codes = codes_of(tiny_codec.config, 80).clamp(min=1)
    codes[:, :, 60:] = 0
    watch(codes, 80)
    assert drafts[0].seconds == 1.5
    assert not drafts[0].soundtrack.background.waveform.any()


def test_nothing_is_shown_of_a_take_without_a_sound(tiny_codec):
    drafts: list[Draft] = []
    watch = Previews(tiny_codec, drafts.append, streams=(Stream.SPEECH,), duration=None)
    watch(torch.zeros(1, 2, 80, dtype=torch.int64), 80)
    assert not drafts


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="share of 0 to 1"):
        PreviewConfig(share=2.0)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize("streams", [BOTH, (Stream.SPEECH,)])
def test_the_picture_is_filled_as_far_as_there_is_sound(streams):
    half = Audio(torch.full((1, 1, 24_000), 0.5), 24_000)
    image = draw_draft(Draft(Soundtrack(half, half), streams, 2.0))
    assert image.size == (512, 20 + 72 * len(streams))
    middle = 20 + 72 // 2
    left, right = image.getpixel((200, middle)), image.getpixel((300, middle))
    assert right == image.getpixel((500, 60))
    assert left != right
