"""Kept codes and voices: files that somebody changed, and values that contradict each other."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from dualdub_core.artifacts import KIND_KEY, load_codes, load_voice
from dualdub_core.timing import FrameClock
from dualdub_core.types import Codes, VideoFeatures, VideoFrames, Voice

CLOCK = FrameClock(sample_rate=24_000, hop_length=600)
VALUES = {
    "kind": "codes",
    "format": "1",
    "duration": 0.15,
    "clock": {"sample_rate": 24_000, "hop_length": 600},
    "codebook_size": 8,
    "lengths": None,
    "spoken": None,
}
SPEECH = {"speech": torch.arange(6)[None]}
DESCRIBE = "does not describe codes"
# tensors, changed values, words
CODES = {
    "no values": (SPEECH, None, "got another kind of file, expected codes or a voice saved by DualDub"),
    "values that are no JSON": (SPEECH, "{", "damaged or truncated"),
    "values that are a list": (SPEECH, "[]", "got another kind of file"),
    "values nested 100 000 deep": (SPEECH, "[" * 100_000, "damaged or truncated"),
    "a number of 9000 digits": (SPEECH, "9" * 9000, "damaged or truncated"),
    "a later format": (SPEECH, {"format": "9"}, "got codes, expected codes saved by DualDub|format"),
    "no tensors": ({"other": torch.zeros(1)}, {}, r"got shapes \[\], expected one"),
    "no duration": (SPEECH, {"duration": None}, "got None s, expected a positive number"),
    "a duration in words": (SPEECH, {"duration": "long"}, "got long s, expected a positive number"),
    "a duration of nothing": (SPEECH, {"duration": 0}, "got 0 s, expected a positive number"),
    "a duration that is no number": (SPEECH, {"duration": math.nan}, "got nan s"),
    "a duration of a year": (SPEECH, {"duration": 3e7}, r"got 3e\+07 s, expected at most 21600 s"),
    "another clip's duration": (SPEECH, {"duration": 9.0}, "got 6 frames for 9.000 s, expected 360 at 40 Hz"),
    "no clock": (SPEECH, {"clock": None}, DESCRIBE),
    "a clock that stands": (SPEECH, {"clock": {"sample_rate": 0, "hop_length": 600}}, "must be positive"),
    "a clock in words": (SPEECH, {"clock": {"sample_rate": "fast", "hop_length": 600}}, "got 'fast'"),
    "no codebook": (SPEECH, {"codebook_size": None}, DESCRIBE + "|codebook"),
    "a codebook in words": (SPEECH, {"codebook_size": "8"}, DESCRIBE + "|codebook"),
    "a codebook too small": (SPEECH, {"codebook_size": 4}, "got values from 0 to 5, expected 0 to 3; they come from"),
    "negative codes": ({"speech": torch.arange(6)[None] - 3}, {}, "got values from -3 to 2, expected 0 to 7"),
    "codes of fractions": ({"speech": torch.zeros(1, 6)}, {}, "got torch.float32, expected int64; sample or encode"),
    "no frames": ({"speech": torch.zeros(1, 0, dtype=torch.int64)}, {}, r"got shapes \[\(1, 0\)\].*none of them empty"),
    "three axes": ({"speech": torch.zeros(1, 1, 6, dtype=torch.int64)}, {}, r"got shapes \[\(1, 1, 6\)\]"),
    "streams of unequal length": (
        {**SPEECH, "background": torch.zeros(1, 5, dtype=torch.int64)},
        {},
        r"got shapes \[\(1, 5\), \(1, 6\)\]",
    ),
    "lengths of other takes": (SPEECH, {"lengths": [3, 3]}, r"got lengths \[3, 3\], expected 1 of 1 to 6 frames"),
    "a length beyond the end": (SPEECH, {"lengths": [7]}, r"got lengths \[7\]"),
    "a length of nothing": (SPEECH, {"lengths": [0]}, r"got lengths \[0\]"),
    "a length in words": (SPEECH, {"lengths": ["a"]}, r"got lengths \['a'\]"),
    "lengths that are a number": (SPEECH, {"lengths": 6}, DESCRIBE),
    "spans of three": (SPEECH, {"spoken": [[0, 1, 2]]}, DESCRIBE),
    "spans that are a number": (SPEECH, {"spoken": 5}, DESCRIBE),
    "a span backwards": (SPEECH, {"spoken": [[0.1, 0.05]]}, "got speech from 0.1 s to 0.05 s"),
    "a span that is no number": (SPEECH, {"spoken": [[0, math.nan]]}, "got speech from 0 s to nan s"),
}


def kept(path, tensors, changes, values=None):
    text = changes if isinstance(changes, str) else json.dumps((values or VALUES) | (changes or {}))
    save_file(tensors, path, metadata=None if changes is None else {KIND_KEY: text})
    return path


@pytest.mark.parametrize("case", CODES.values(), ids=CODES)
def test_codes_that_were_changed_are_refused(tmp_path, refused, case):
    tensors, changes, says = case
    path = kept(tmp_path / "a.safetensors", tensors, changes)
    with refused(says):
        load_codes(path)


VOICES = {
    "codes": ({}, SPEECH, {"kind": "codes"}, "got codes, expected voice saved by DualDub"),
    "no embedding": ({}, {"other": torch.zeros(3)}, {}, "does not describe a voice"),
    "no model": ({}, {"embedding": torch.zeros(3)}, {"model_id": ...}, "does not describe a voice .*; save it again"),
    "NaN": ({}, {"embedding": torch.full((3,), math.nan)}, {}, "expected one row of finite floats; compute it"),
    "two rows": ({}, {"embedding": torch.zeros(2, 3)}, {}, r"got an embedding of shape \(2, 3\)"),
    "whole numbers": ({}, {"embedding": torch.zeros(3, dtype=torch.int64)}, {}, "torch.int64, expected one row"),
}


@pytest.mark.parametrize("case", VOICES.values(), ids=VOICES)
def test_voices_that_were_changed_are_refused(tmp_path, refused, case):
    _, tensors, changes, says = case
    values = {"kind": "voice", "format": "1", "model_id": "a", "name": "Anna", "consent": ""} | changes
    values = {key: value for key, value in values.items() if value is not ...}
    path = kept(tmp_path / "a.safetensors", tensors, {}, values)
    with refused(says):
        load_voice(path)


FRAMES = torch.zeros(3, dtype=torch.float64)
VALUES_IN_MEMORY = {
    "features without an axis": (lambda: VideoFeatures(torch.zeros(3), FRAMES, 1.0), r"features of shape \(3,\)"),
    "no features": (lambda: VideoFeatures(torch.zeros(0, 8), FRAMES[:0], 1.0), "expected one time for each, at least"),
    "more times than features": (lambda: VideoFeatures(torch.zeros(2, 8), FRAMES, 1.0), "one time for each"),
    "pictures without an axis": (lambda: VideoFrames(torch.zeros(3, 4, 4), FRAMES, 1.0), "pictures of shape"),
    "more pictures than times": (lambda: VideoFrames(torch.zeros(4, 3, 4, 4), FRAMES, 1.0), "one time for each"),
    "a voice of no shape": (lambda: Voice(torch.tensor(1.0), "a"), r"got an embedding of shape \(\)"),
    "a take that is not there": (
        lambda: Codes(torch.arange(6)[None], None, 0.15, CLOCK, 8).take(1),
        "got take 2, expected 1 to 1",
    ),
    "a take before the first": (
        lambda: Codes(torch.arange(6)[None], None, 0.15, CLOCK, 8).take(-1),
        "got take 0, expected 1 to 1",
    ),
}


@pytest.mark.parametrize("case", VALUES_IN_MEMORY.values(), ids=VALUES_IN_MEMORY)
def test_values_that_contradict_each_other_are_refused(refused, case):
    make, says = case
    with refused(says):
        make()
