from dataclasses import replace

import pytest
import torch

from dualdub_core import checkpoint
from dualdub_core.errors import ConfigError
from dualdub_core.models.dualdub import Conditions, DualDub, DualDubConfig
from dualdub_core.models.layers import apply_rotary, rotary
from dualdub_core.models.speaker import SpeakerEncoder

B, T, L = 2, 7, 5


@pytest.fixture
def conditions(tiny_config) -> Conditions:
    generator = torch.Generator().manual_seed(2)
    return Conditions(
        speaker=torch.randn(B, 16, generator=generator),
        text_ids=torch.randint(0, 200, (B, L), generator=generator),
        text_lengths=torch.tensor([L, L]),
        video=torch.randn(B, T, tiny_config.video_width, generator=generator),
        present=torch.ones(B, 2),
        is_padded=False,
    )


@pytest.fixture
def codes(tiny_config) -> torch.Tensor:
    return torch.randint(0, tiny_config.codebook_size, (B, 2, T), generator=torch.Generator().manual_seed(3))


def test_logits_of_a_frame_read_codes_before_it_only(tiny_model, conditions, codes):
    before = tiny_model(conditions, codes)
    changed = codes.clone()
    changed[:, 1, 3] = (changed[:, 1, 3] + 1) % 24
    after = tiny_model(conditions, changed)
    assert torch.equal(after[:, :, :4], before[:, :, :4])
    assert not torch.allclose(after[:, 0, 4:], before[:, 0, 4:])  # speech reaches the background head
    assert not torch.allclose(after[:, 1, 4:], before[:, 1, 4:])


@pytest.mark.parametrize("field", ["speaker", "text_ids", "video"])
def test_every_condition_reaches_both_heads(tiny_model, conditions, codes, field):
    before = tiny_model(conditions, codes)
    other = replace(conditions, **{field: getattr(conditions, field).flip(0)})
    after = tiny_model(other, codes)
    assert (after - before).abs().amax((0, 2, 3)).min() > 1e-4


def test_rows_of_different_text_lengths_equal_singles(tiny_model, conditions, codes):
    padded = replace(conditions, text_lengths=torch.tensor([L, 2]), is_padded=True)
    together = tiny_model(padded, codes)
    short = Conditions(
        speaker=conditions.speaker[1:],
        text_ids=conditions.text_ids[1:, :2],
        text_lengths=torch.tensor([2]),
        video=conditions.video[1:],
        present=conditions.present[1:],
        is_padded=False,
    )
    torch.testing.assert_close(together[1:], tiny_model(short, codes[1:]))
    torch.testing.assert_close(together[:1], tiny_model(replace(padded, is_padded=False), codes)[:1])


def test_a_masked_streams_codes_have_no_say(tiny_model, conditions, codes):
    only_background = replace(conditions, present=torch.tensor([[1.0, 0.0]]).expand(B, -1))
    other = codes.clone()
    other[:, 1] = 0
    assert torch.equal(tiny_model(only_background, codes), tiny_model(only_background, other))


def test_speaker_padding_has_no_say(tiny_config):
    torch.manual_seed(0)
    encoder = SpeakerEncoder(tiny_config.speaker).eval()
    mel = torch.randn(1, 20, tiny_config.speaker.mel.n_mels)
    padded = torch.cat((mel, torch.full((1, 6, mel.shape[2]), 9.0)), dim=1)
    torch.testing.assert_close(encoder(padded, torch.tensor([20])), encoder(mel))


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(i: int, j: int) -> torch.Tensor:
        at = [apply_rotary(x, *rotary(torch.tensor([p]), 8)) for x, p in ((q, i), (k, j))]
        return (at[0] * at[1]).sum()

    torch.testing.assert_close(score(3, 1), score(103, 101))
    assert not torch.isclose(score(3, 1), score(3, 2))


def test_the_paper_size_builds_without_memory():
    model = checkpoint.build("model", DualDubConfig.paper())
    assert all(p.is_meta for p in model.parameters())
    counts = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    assert counts["llama"] == 24 * (4 * 2048**2 + 3 * 2048 * 5504 + 2 * 2048) + 2048  # 1.21 G
    assert counts["aligner"] == 16 * 2048**2 + 3 * 2048  # 67 M
    assert counts["heads"] == 2 * 4097 * 2048


def test_the_mini_size_is_small():
    model = checkpoint.build("model", DualDubConfig.mini())
    assert sum(p.numel() for p in model.parameters()) < 10e6


def test_parts_of_unequal_width_are_refused(tiny_config):
    with pytest.raises(ConfigError, match=r"must have one width, got \[16, 32\]"):
        replace(tiny_config, aligner=replace(tiny_config.aligner, width=32))


def test_a_model_is_trainable_from_its_first_step(tiny_config):
    torch.manual_seed(0)
    model = DualDub(tiny_config)
    conditions = Conditions(
        speaker=torch.randn(1, 16),
        text_ids=torch.tensor([[1, 2]]),
        text_lengths=torch.tensor([2]),
        video=torch.randn(1, T, 8),
        present=torch.ones(1, 2),
        is_padded=False,
    )
    model(conditions, torch.zeros(1, 2, T, dtype=torch.int64)).float().logsumexp(-1).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None and not n.startswith("speaker_encoder")]
    assert without == []
