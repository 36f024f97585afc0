import pytest
import torch

from dualdub_core.errors import ConfigError
from dualdub_core.models.aligner import AlignerConfig, CrossModalAligner

B, T, D = 2, 9, 16


@pytest.fixture(scope="module")
def aligner() -> CrossModalAligner:
    torch.manual_seed(0)
    return CrossModalAligner(AlignerConfig(width=D, num_heads=2)).eval().requires_grad_(False)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    background, speech, video = (torch.randn(B, T, D, generator=generator) for _ in range(3))
    return background, speech, video, torch.ones(B, 2)


def test_changing_a_streams_future_leaves_the_fused_past_bit_identical(aligner, inputs):
    background, speech, video, present = inputs
    before = aligner(background, speech, video, present)
    for changed in (0, 1):
        streams = [background.clone(), speech.clone()]
        streams[changed][:, 5:] += 1
        after = aligner(*streams, video, present)
        assert torch.equal(after[:, :5], before[:, :5])
        assert not torch.equal(after[:, 5:], before[:, 5:])


def test_each_stream_hears_the_others_present_and_past(aligner, inputs):
    background, speech, video, present = inputs
    before = aligner(background, speech, video, present)
    speech = speech.clone()
    speech[:, 2] += 1
    after = aligner(background, speech, video, present)
    # Frame 6 reads speech frame 2 only through the causal branch of the background.
    assert not torch.equal(after[:, 6], before[:, 6])


def test_changing_any_video_frame_changes_every_fused_frame(aligner, inputs):
    background, speech, video, present = inputs
    before = aligner(background, speech, video, present)
    video = video.clone()
    video[:, -1] += 1
    difference = (aligner(background, speech, video, present) - before).abs().amax(-1)
    assert (difference > 0).all()


def test_video_is_read_by_time_and_not_only_by_content(aligner, inputs):
    background, speech, video, present = inputs
    before = aligner(background, speech, video, present)
    assert not torch.allclose(aligner(background, speech, video.flip(1), present), before)


def test_a_black_video_adds_exactly_zero(aligner, inputs):
    background, speech, video, present = inputs
    with_black = aligner(background, speech, torch.zeros_like(video), present)
    one_frame = aligner(background, speech, torch.zeros(B, 1, D), present)
    assert torch.equal(with_black, one_frame)
    keys = aligner.watch(torch.zeros_like(video))
    assert not keys.k.any()
    assert not keys.v.any()


def test_a_masked_stream_contributes_nothing(aligner, inputs):
    background, speech, video, _ = inputs
    only_background = torch.tensor([[1.0, 0.0]]).expand(B, -1)
    a = aligner(background, speech, video, only_background)
    b = aligner(background, torch.full_like(speech, 7.0), video, only_background)
    assert torch.equal(a, b)
    # What is left is the background's own two branches: 2 E_b + CA3.
    no_video = aligner(background, speech, torch.zeros_like(video), only_background)
    torch.testing.assert_close(no_video, 2 * background, rtol=0, atol=0)


def test_rows_may_mask_different_streams(aligner, inputs):
    background, speech, video, _ = inputs
    present = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    together = aligner(background, speech, video, present)
    for row in range(B):
        rows = slice(row, row + 1)
        alone = aligner(background[rows], speech[rows], video[rows], present[rows])
        torch.testing.assert_close(together[rows], alone)


def test_frame_by_frame_equals_all_at_once(aligner, inputs):
    background, speech, video, present = inputs
    whole = aligner(background, speech, video, present)
    keys, cache = aligner.watch(video), aligner.new_cache(B, T)
    parts = [aligner.fuse(background[:, :4], speech[:, :4], keys, present, cache)]
    parts += [aligner.fuse(background[:, t : t + 1], speech[:, t : t + 1], keys, present, cache) for t in range(4, T)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_a_width_without_even_heads_is_refused():
    with pytest.raises(ConfigError, match="width 10 must give 2 heads"):
        AlignerConfig(width=10, num_heads=2)
