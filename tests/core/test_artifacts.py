import pytest
import torch

from dualdub_core.artifacts import load_codes, load_voice, save_codes, save_voice
from dualdub_core.errors import InputError
from dualdub_core.timing import FrameClock
from dualdub_core.types import Audio, Codes, Soundtrack, Voice, check_finite

CLOCK = FrameClock(sample_rate=24_000, hop_length=600)


def codes(**changes) -> Codes:
    values = {"speech": torch.arange(6)[None], "background": None, "duration": 0.15, "clock": CLOCK, "codebook_size": 8}
    return Codes(**(values | changes))


def test_codes_come_back_as_they_were_kept(tmp_path):
    kept = codes(background=torch.ones(1, 6, dtype=torch.int64), lengths=(4,))
    save_codes(tmp_path / "c.safetensors", kept)
    got = load_codes(tmp_path / "c.safetensors")
    assert torch.equal(got.speech, kept.speech)
    assert torch.equal(got.background, kept.background)
    assert (got.duration, got.clock, got.codebook_size, got.lengths) == (0.15, CLOCK, 8, (4,))


def test_a_voice_comes_back_as_it_was_kept(tmp_path):
    kept = Voice(embedding=torch.randn(4), model_id="abc", name="Anna")
    save_voice(tmp_path / "v.safetensors", kept)
    got = load_voice(tmp_path / "v.safetensors")
    assert torch.equal(got.embedding, kept.embedding)
    assert (got.model_id, got.name) == ("abc", "Anna")


def test_a_voice_is_not_taken_for_codes(tmp_path):
    save_voice(tmp_path / "v.safetensors", Voice(embedding=torch.randn(4), model_id="abc"))
    with pytest.raises(InputError, match="got voice, expected codes saved by DualDub"):
        load_codes(tmp_path / "v.safetensors")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    save_codes(path, codes())
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"c\.safetensors: damaged or truncated"):
        load_codes(path)


def test_codes_outside_the_codebook_are_refused():
    with pytest.raises(InputError, match="got values from 0 to 5, expected 0 to 3; they come from another codec"):
        codes(codebook_size=4)


def test_streams_of_unequal_length_are_refused():
    with pytest.raises(InputError, match=r"got shapes \[\(1, 5\), \(1, 6\)\]"):
        codes(background=torch.zeros(1, 5, dtype=torch.int64))


def test_stems_of_unequal_length_are_refused():
    with pytest.raises(InputError, match="stems must be equal in shape and rate"):
        Soundtrack(Audio(torch.zeros(1, 1, 4), 8000), Audio(torch.zeros(1, 1, 5), 8000))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_sound_that_is_not_finite_is_refused(bad):
    with pytest.raises(InputError, match="voice: got NaN or infinite samples"):
        check_finite(Audio(torch.tensor([[[0.0, bad]]]), 8000), "voice")
    with pytest.raises(InputError, match="voice: got 0 samples"):
        check_finite(Audio(torch.zeros(1, 1, 0), 8000), "voice")
