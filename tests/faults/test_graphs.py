"""Parts that do not belong together, as a graph can connect them: codes, locks, retakes, stems, voices."""

import math
from dataclasses import replace

import pytest
import torch

from dualdub_core.checkpoint import Header
from dualdub_core.errors import CheckpointError, ConfigError
from dualdub_core.mixing.mixing import MixConfig, mix
from dualdub_core.pipeline import Lock, decode_codec, decode_flow, encode_stem, retake_locks, sample_codes
from dualdub_core.scripts.formats import parse_script
from dualdub_core.scripts.scripted import sample_script
from dualdub_core.system import System, generate, with_recordings
from dualdub_core.text import TextTokenizer
from dualdub_core.timing import FrameClock, video_feature_times
from dualdub_core.types import Audio, Codes, Soundtrack, Stream, Task, VideoFeatures, VideoFrames, Voice
from dualdub_core.voice import voice_model_id

SECONDS, T, RATE = 0.25, 10, 24_000
CLOCK = FrameClock(sample_rate=24_000, hop_length=600)
SPEECH, BACKGROUND = Stream.SPEECH, Stream.BACKGROUND
ROW = torch.zeros(1, T, dtype=torch.int64)


def watched(value=0.5, width=8):
    times = video_feature_times(SECONDS)
    return VideoFeatures(torch.full((times.numel(), width), value), times, SECONDS)


def codes(**changes):
    values = {"speech": ROW, "background": ROW, "duration": SECONDS, "clock": CLOCK, "codebook_size": 24}
    return Codes(**(values | changes))


def noise(seconds=SECONDS, channels=1, batch=1, rate=RATE):
    return Audio(torch.full((batch, channels, round(seconds * rate)), 0.1), rate)


@pytest.fixture
def sample(tiny_model):
    def run(**changes):
        values = {"task": Task.JOINT, "features": watched(), "script": "one"} | changes
        return sample_codes(tiny_model, TextTokenizer.mini(), **values)

    return run


LOCKS = {
    "fewer frames than the clip": (
        Lock(SPEECH, ROW[:, :5]),
        r"shape \(1, 5\), expected \(1, 10\) for this clip; encode",
    ),
    "more frames than the clip": (Lock(SPEECH, torch.zeros(1, 11, dtype=torch.int64)), r"shape \(1, 11\)"),
    "no frames": (Lock(SPEECH, ROW[:, :0]), r"shape \(1, 0\)"),
    "no axis of takes": (Lock(SPEECH, ROW[0]), r"shape \(10,\), expected \(1, 10\)"),
    "rows of more takes": (Lock(SPEECH, ROW.expand(3, -1)), r"shape \(3, 10\), expected \(1, 10\)"),
    "codes of a larger codebook": (Lock(SPEECH, ROW + 24), "codes outside 0 to 23; they come from another codec"),
    "negative codes": (Lock(BACKGROUND, ROW - 2), "codes outside 0 to 23"),
    "codes of fractions": (Lock(SPEECH, ROW.float()), "got codes of torch.float32, expected int64; encode"),
    "a start beyond the clip": (Lock(SPEECH, ROW, 9.0), "got 9.0 s to the end of the speech stream, expected a start"),
    "a start after its end": (Lock(SPEECH, ROW, 0.2, 0.1), "got 0.2 s to 0.1 s of the speech stream"),
    "no length": (Lock(SPEECH, ROW, 0.1, 0.1), "expected a start before an end within the clip's 0.250 s"),
    "a negative start": (Lock(SPEECH, ROW, -1.0), "got -1.0 s to the end"),
    "a start that is no number": (Lock(SPEECH, ROW, math.nan), "got nan s to the end"),
    "an infinite start": (Lock(SPEECH, ROW, math.inf), "got inf s to the end"),
    "an end that is no number": (Lock(SPEECH, ROW, 0.0, math.nan), "got 0.0 s to nan s"),
    "an end in words": (Lock(SPEECH, ROW, 0.0, "0.1"), "got 0.0 s to 0.1 s"),
}


@pytest.mark.parametrize("case", LOCKS.values(), ids=LOCKS)
def test_a_lock_that_does_not_fit_is_refused(sample, refused, case):
    lock, says = case
    with refused(f"lock: .*{says}"):
        sample(locks=[lock])


ALONE = {"task": Task.SPEECH, "features": None}
INPUTS = {
    "no video": ({"features": None}, "task 'joint' needs the video's features, got none; connect Encode Video"),
    "another encoder's video": ({"features": watched(width=5)}, "features are 5 wide, this model expects 8; encode"),
    "a video of NaN": ({"features": watched(math.nan)}, "got NaN or infinite features; encode the video again"),
    "an infinite video": ({"features": watched(math.inf)}, "got NaN or infinite features"),
    "no script": ({"script": ""}, "got no text"),
    "a script of 100 kB": ({"script": "word " * 20_000}, "got 99999 characters, expected at most 20000 in one run"),
    "another model's voice": ({"voice": Voice(torch.zeros(16), "x")}, "computed by another model; compute it"),
    "no takes": ({"batch_size": 0}, "batch size: got 0, expected at least 1"),
    "half a take": ({"batch_size": 1.5}, "batch size: got 1.5"),
    "takes in words": ({"batch_size": "2"}, "batch size: got 2, expected at least 1, a whole number"),
    "a lock of what is not written": (
        {"task": Task.BACKGROUND, "locks": [Lock(SPEECH, ROW)]},
        "task 'background' has no speech stream to lock; use 'joint'",
    ),
    "a lock of an open end": (
        ALONE | {"locks": [Lock(SPEECH, ROW)]},
        "speech that ends on its own has no frames to lock; give a duration",
    ),
    "a duration of nothing": (
        ALONE | {"duration": 0.0},
        "got 0.0 s, expected a positive",
    ),
    "a duration of NaN": (ALONE | {"duration": math.nan}, "got nan s"),
    "a duration of a year": (
        ALONE | {"duration": 3e7},
        "expected at most 21600 s; work",
    ),
    "a duration in words": (ALONE | {"duration": "9"}, "got 9 s, expected a positive"),
    "a video of a year": ({"features": VideoFeatures(torch.zeros(1, 8), torch.zeros(1), 3e7)}, "at most 21600 s"),
    "a video of no length": ({"features": VideoFeatures(torch.zeros(1, 8), torch.zeros(1), 0.0)}, "a positive number"),
}


@pytest.mark.parametrize("case", INPUTS.values(), ids=INPUTS)
def test_inputs_that_do_not_fit_are_refused(sample, refused, case):
    changes, says = case
    with refused(says):
        sample(**changes)


def test_a_voice_of_this_model_with_another_width_is_refused(sample, tiny_model, refused):
    with refused("got an embedding of 5 numbers, expected 16; compute it from its recording again"):
        sample(voice=Voice(torch.zeros(5), voice_model_id(tiny_model)))


RETAKES = {
    "before the clip": (-0.1, 0.1),
    "beyond the clip": (0.1, 0.3),
    "all of it beyond": (5.0, 6.0),
    "backwards": (0.2, 0.1),
    "of no length": (0.1, 0.1),
    "from NaN": (math.nan, 0.1),
    "to NaN": (0.0, math.nan),
    "to infinity": (0.0, math.inf),
    "in words": ("0", "1"),
    "from nothing": (None, 0.1),
}


@pytest.mark.parametrize("case", RETAKES.values(), ids=RETAKES)
def test_a_retake_outside_the_clip_is_refused(refused, case):
    start, end = case
    with refused(f"retake: got {start} to {end} s, expected a start before an end, both within 0 to 0.250 s"):
        retake_locks(codes(), start=start, end=end, streams=[SPEECH])


def test_a_retake_of_what_is_not_there_is_refused(refused):
    with refused("these codes have no background stream"):
        retake_locks(codes(background=None), start=0.0, end=0.1, streams=[BACKGROUND])


CODES = {
    "a larger codebook": {"codebook_size": 4096},
    "a smaller codebook": {"codebook_size": 8},
    "another rate": {"clock": FrameClock(sample_rate=24_000, hop_length=300), "duration": 0.125},
    "another sample rate": {"clock": FrameClock(sample_rate=48_000, hop_length=1200)},
}


@pytest.mark.parametrize("decode", ["codec", "flow"])
@pytest.mark.parametrize("change", CODES.values(), ids=CODES)
def test_codes_of_another_codec_are_refused(tiny_codec, tiny_decoder, tiny_vae, refused, change, decode):
    with refused("codes: written at .* this decoder reads 40 Hz with 24; load the decoder that belongs to the model"):
        if decode == "codec":
            decode_codec(tiny_codec, codes(**change))
        else:
            decode_flow(tiny_decoder, tiny_vae, codes(**change))


FLOWS = {
    "no steps": ({"num_steps": 0}, "steps: got 0", None),
    "steps of NaN": ({"num_steps": math.nan}, "steps: got nan", None),
    "a solver that nobody knows": ({"solver": "heun"}, "solver: got 'heun'", None),
    "a negative seed": ({"seed": -1}, "seed: got -1, expected a whole number", None),
    "a seed of 65 bits": ({"seed": 2**64}, "seed: got 18446744073709551616", None),
    "a seed of half": ({"seed": 0.5}, "seed: got 0.5", None),
    "guidance of NaN": ({"cfg_scale": math.nan}, "got cfg_scale nan, expected a number from 0 to 20", ConfigError),
    "guidance of a thousand": ({"cfg_scale": 1000.0}, "got cfg_scale 1000.0", ConfigError),
}


@pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS)
def test_a_setting_of_the_flow_that_is_none_is_refused(tiny_decoder, tiny_vae, refused, case):
    changes, says, error = case
    with refused(says, *([error] if error else [])):
        decode_flow(tiny_decoder, tiny_vae, codes(), **changes)


def test_a_vae_of_another_decoder_is_refused(tiny_decoder, tiny_vae, refused):
    other = replace(tiny_vae.config, sample_rate=48_000)
    vae = type(tiny_vae)(other)
    with refused("decoder and VAE do not fit: .*load the pair from one checkpoint"):
        decode_flow(tiny_decoder, vae, codes())


STEMS = {
    "of another rate": lambda: Soundtrack(noise(), noise(rate=48_000)),
    "of another length": lambda: Soundtrack(noise(), noise(0.2)),
    "of other channels": lambda: Soundtrack(noise(), noise(channels=2)),
    "of other takes": lambda: Soundtrack(noise(), noise(batch=2)),
}


@pytest.mark.parametrize("make", STEMS.values(), ids=STEMS)
def test_stems_that_do_not_belong_together_are_refused(refused, make):
    with refused("soundtrack: speech is .*; stems must be equal in shape and rate"):
        make()


BOTH = Soundtrack(noise(), noise())
MIXES = {
    "spans of other takes": (lambda: mix(BOTH, MixConfig(), spoken=[[], []]), "got spans of speech for 2 items"),
    "a span backwards": (lambda: mix(BOTH, MixConfig(), spoken=[[(0.2, 0.1)]]), "speech from 0.2 s to 0.1 s"),
    "a span of NaN": (lambda: mix(BOTH, MixConfig(), spoken=[[(math.nan, 0.1)]]), "speech from nan s"),
    "7.1 to stereo": (
        lambda: mix(Soundtrack(noise(channels=8), noise(channels=8)), MixConfig(stereo=True)),
        "got 8 channels, expected 1 or 2 to make stereo of; mix them down",
    ),
    "7.1 at a loudness": (
        lambda: mix(Soundtrack(noise(1.0, channels=8), noise(1.0, channels=8)), MixConfig(target_lufs=-23.0)),
        "got 8 channels, expected at most 5; mix them down",
    ),
    "recordings of other takes": (
        lambda: with_recordings(BOTH, {SPEECH: noise(batch=2)}),
        "locked speech: got 2 recordings, expected 1 or as many as takes, 1",
    ),
    "a recording of NaN": (
        lambda: with_recordings(BOTH, {SPEECH: Audio(torch.full((1, 1, 9), math.nan), RATE)}),
        "locked speech: got NaN or infinite samples",
    ),
    "a recording of nothing": (
        lambda: with_recordings(BOTH, {BACKGROUND: Audio(torch.zeros(1, 1, 0), RATE)}),
        "locked background: got 0 samples",
    ),
}


@pytest.mark.parametrize("case", MIXES.values(), ids=MIXES)
def test_a_mix_that_cannot_be_is_refused(refused, case):
    make, says = case
    with refused(says):
        make()


def test_a_recording_for_a_clip_of_no_length_is_refused(tiny_codec, refused):
    for duration in (0.0, -1.0, math.nan, 3e7):
        with refused("duration: got"):
            encode_stem(tiny_codec, noise(), duration=duration)


def test_a_script_for_another_codec_is_refused(tiny_model, tiny_codec, refused):
    codec = type(tiny_codec)(replace(tiny_codec.config, codebook_size=25))
    script = parse_script("[00:00.1] [Anna] one")
    with refused("the codec has 25 codes at 40 Hz, the model writes 24 at 40 Hz; load the codec that belongs to it"):
        sample_script(tiny_model, TextTokenizer.mini(), codec, script=script, features=watched())
    with refused("line 1 is spoken by 'Anna', but the voices are Ben"):
        voices = {"Ben": Voice(torch.zeros(16), voice_model_id(tiny_model))}
        sample_script(tiny_model, TextTokenizer.mini(), tiny_codec, script=script, features=watched(), voices=voices)


PARTS = {
    "no model": ({}, {}, "this checkpoint has no model; load one that has it or give the part separately"),
    "no video encoder": ({}, {"frames": True}, "has no video encoder"),
    "no codec": ({"model": True}, {"decoder": "codec"}, "has no codec"),
    "no flow decoder": ({"model": True}, {"decoder": "flow"}, "has no flow decoder"),
}


@pytest.mark.parametrize("case", PARTS.values(), ids=PARTS)
def test_a_system_that_lacks_a_part_says_which(tiny_model, refused, case):
    parts, inputs, says = case
    pixels = VideoFrames(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1), SECONDS)
    system = System(
        header=Header({}, {"name": "tiny"}, {}),
        **({"model": tiny_model, "tokenizer": TextTokenizer.mini()} if parts else {}),
    )
    task = Task.JOINT if inputs.get("frames") else Task.SPEECH
    frames = pixels if inputs.get("frames") else None
    with refused(says, CheckpointError):
        generate(system, task=task, frames=frames, script="one", duration=0.1, decoder=inputs.get("decoder", "codec"))
