from dataclasses import replace

import pytest
import torch

from dualdub_core.errors import ConfigError, InputError
from dualdub_core.generation import FREE, Engine, generate_codes
from dualdub_core.models.dualdub import Conditions
from dualdub_core.sampling import CodeSampler, SamplingConfig, Seeds, StreamSampling

T, V = 13, 24
GREEDY = StreamSampling(temperature=0)
WARM = StreamSampling(temperature=1.0, top_k=8, top_p=0.95)


@pytest.fixture
def conditions(tiny_config) -> Conditions:
    generator = torch.Generator().manual_seed(4)
    return Conditions(
        speaker=torch.randn(3, 16, generator=generator),
        text_ids=torch.randint(0, 200, (3, 6), generator=generator),
        text_lengths=torch.tensor([6, 6, 6]),
        video=torch.randn(3, T, tiny_config.video_width, generator=generator),
        present=torch.ones(3, 2),
        is_padded=False,
    )


def row(conditions: Conditions, index: int) -> Conditions:
    rows = slice(index, index + 1)
    length = int(conditions.text_lengths[index])
    return Conditions(
        speaker=conditions.speaker[rows],
        text_ids=conditions.text_ids[rows, :length],
        text_lengths=conditions.text_lengths[rows],
        video=conditions.video[rows],
        present=conditions.present[rows],
        is_padded=False,
    )


def sampler(seeds_background, seeds_speech, *, background=WARM, speech=WARM) -> CodeSampler:
    return CodeSampler(
        [background, speech], [seeds_background, seeds_speech], num_logits=V + 1, device=torch.device("cpu")
    )


def test_cached_steps_give_the_logits_of_the_whole_pass(tiny_model, conditions):
    codes = torch.randint(0, V, (3, 2, T), generator=torch.Generator().manual_seed(5))
    whole = tiny_model(conditions, codes)
    engine = Engine(tiny_model, conditions, T)
    steps = [engine.prefill(tiny_model.shifted(codes[..., :4]))]
    steps += [engine.step(codes[..., t]) for t in range(3, T - 1)]
    torch.testing.assert_close(torch.stack(steps, dim=2), whole[:, :, 3:], rtol=1e-5, atol=1e-5)


def test_cached_steps_equal_the_whole_pass_for_rows_of_different_text_lengths(tiny_model, conditions):
    conditions = replace(conditions, text_lengths=torch.tensor([6, 3, 1]), is_padded=True)
    codes = torch.randint(0, V, (3, 2, T), generator=torch.Generator().manual_seed(5))
    whole = tiny_model(conditions, codes)
    engine = Engine(tiny_model, conditions, T)
    steps = [engine.prefill(tiny_model.shifted(codes[..., :1]))]
    steps += [engine.step(codes[..., t]) for t in range(T - 1)]
    torch.testing.assert_close(torch.stack(steps, dim=2), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", [[6, 6, 6], [6, 3, 1]])
def test_a_batch_writes_what_each_row_would_alone(tiny_model, conditions, lengths):
    conditions = replace(conditions, text_lengths=torch.tensor(lengths), is_padded=len(set(lengths)) > 1)
    together = generate_codes(tiny_model, conditions, sampler([1, 2, 3], [4, 5, 6]), num_frames=T)
    for i in range(3):
        alone = generate_codes(tiny_model, row(conditions, i), sampler([1 + i], [4 + i]), num_frames=T)
        assert torch.equal(together.codes[i : i + 1], alone.codes)


def test_the_same_seed_writes_the_same_codes_and_another_does_not(tiny_model, conditions):
    one = row(conditions, 0)
    first, again, other = (generate_codes(tiny_model, one, sampler([s], [s]), num_frames=T).codes for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_greedy_codes_are_the_teacher_forced_maxima(tiny_model, conditions):
    written = generate_codes(
        tiny_model, conditions, sampler([0] * 3, [0] * 3, background=GREEDY, speech=GREEDY), num_frames=T
    ).codes
    logits = tiny_model(conditions, written)[..., :V]
    assert torch.equal(logits.argmax(-1), written)


def test_exactly_as_many_frames_as_asked_for_and_no_end_in_between(tiny_model, conditions):
    written = generate_codes(tiny_model, conditions, sampler([0] * 3, [0] * 3), num_frames=T)
    assert written.codes.shape == (3, 2, T)
    assert written.num_frames == (T, T, T)
    assert int(written.codes.max()) < V


def test_a_locked_stream_is_kept_and_the_other_is_sampled_against_it(tiny_model, conditions):
    one = row(conditions, 0)
    free = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T).codes
    forced = torch.full((1, 2, T), FREE)
    forced[:, 1] = (free[:, 1] + 5) % V
    locked = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T, forced=forced).codes
    assert torch.equal(locked[:, 1], forced[:, 1])
    assert not torch.equal(locked[:, 0], free[:, 0])


def test_locking_a_stream_to_what_it_would_have_written_changes_nothing(tiny_model, conditions):
    one = row(conditions, 0)
    free = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T).codes
    forced = torch.full((1, 2, T), FREE)
    forced[:, 1] = free[:, 1]
    # Another seed for the locked stream: its sampling no longer matters.
    locked = generate_codes(tiny_model, one, sampler([1], [9]), num_frames=T, forced=forced).codes
    assert torch.equal(locked, free)


def test_a_retake_keeps_the_rest_and_with_the_same_seed_repeats_itself(tiny_model, conditions):
    one = row(conditions, 0)
    free = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T).codes
    forced = free.clone()
    forced[..., 5:9] = FREE
    assert torch.equal(generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T, forced=forced).codes, free)
    retake = generate_codes(tiny_model, one, sampler([3], [3]), num_frames=T, forced=forced).codes
    assert torch.equal(retake[..., :5], free[..., :5])
    assert torch.equal(retake[..., 9:], free[..., 9:])
    assert not torch.equal(retake[..., 5:9], free[..., 5:9])


def test_what_is_known_beforehand_costs_no_steps(tiny_model, conditions):
    one = row(conditions, 0)
    forced = torch.zeros(1, 2, T, dtype=torch.int64)
    forced[..., 10:] = FREE
    calls = []
    generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T, forced=forced, progress=lambda *a: calls.append(a))
    assert calls == [("generate", n, T) for n in (0, 13)]


def test_a_clip_locked_throughout_comes_back_as_it_went_in(tiny_model, conditions):
    forced = torch.randint(0, V, (1, 2, T), generator=torch.Generator().manual_seed(0))
    done = generate_codes(tiny_model, row(conditions, 0), sampler([1], [1]), num_frames=T, forced=forced)
    assert torch.equal(done.codes, forced)


def test_guidance_of_one_is_no_guidance_and_more_changes_codes(tiny_model, conditions):
    one = row(conditions, 0)
    plain = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T).codes
    almost = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T, cfg_scale=1.0 + 1e-7).codes
    strong = generate_codes(tiny_model, one, sampler([1], [1]), num_frames=T, cfg_scale=5.0).codes
    assert torch.equal(plain, almost)
    assert not torch.equal(plain, strong)


def test_speech_ends_by_itself_each_row_on_its_own(tiny_model, conditions):
    seeds = [5, 2, 3]
    alone = [
        generate_codes(tiny_model, row(conditions, i), sampler([s], [s]), num_frames=400, until_eos=True)
        for i, s in enumerate(seeds)
    ]
    together = generate_codes(tiny_model, conditions, sampler(seeds, seeds), num_frames=400, until_eos=True)
    assert together.num_frames == tuple(a.num_frames[0] for a in alone)
    assert len(set(together.num_frames)) > 1
    assert max(together.num_frames) < 400
    for i, single in enumerate(alone):
        length = single.num_frames[0]
        assert torch.equal(together.codes[i, 1, :length], single.codes[0, 1, :length])
        assert not together.codes[i, 1, length:].any()


def test_cancel_stops_at_the_next_chunk(tiny_model, conditions):
    class CancelledError(Exception):
        pass

    seen = []

    def progress(stage: str, done: int, total: int) -> None:
        seen.append(done)
        if done == 8:
            raise CancelledError

    with pytest.raises(CancelledError):
        generate_codes(tiny_model, conditions, sampler([1] * 3, [1] * 3), num_frames=T, progress=progress)
    assert seen == [0, 8]


def test_who_watches_sees_the_codes_themselves_as_far_as_they_are_written(tiny_model, conditions):
    seen, told, seeds = [], [], [1, 2, 3]

    def watch(codes: torch.Tensor, done: int) -> None:
        assert codes.shape == (3, 2, T)
        seen.append((codes.data_ptr(), done, codes[..., :done].clone()))

    done = generate_codes(
        tiny_model,
        conditions,
        sampler(seeds, seeds),
        num_frames=T,
        watch=watch,
        progress=lambda stage, done, total: told.append((done, len(seen))),
    )
    assert [count for _, count, _ in seen] == [8, 13]
    assert told == [(0, 0), (8, 1), (13, 2)]
    assert len({address for address, _, _ in seen}) == 1
    assert all(torch.equal(codes, done.codes[..., :count]) for _, count, codes in seen)


def test_who_watches_a_retake_sees_what_is_kept_too(tiny_model, conditions):
    forced = torch.randint(0, V, (1, 2, T), generator=torch.Generator().manual_seed(0))
    forced[..., 3:] = FREE
    seen = []
    generate_codes(
        tiny_model,
        row(conditions, 0),
        sampler([1], [1]),
        num_frames=T,
        forced=forced,
        watch=lambda codes, done: seen.append((done, codes[..., :3].clone())),
    )
    assert [done for done, _ in seen] == [11, 13]
    assert torch.equal(seen[0][1], forced[..., :3])


def takes(conditions: Conditions, count: int) -> Conditions:
    one = row(conditions, 0)
    return Conditions(
        speaker=one.speaker.expand(count, -1),
        text_ids=one.text_ids.expand(count, -1),
        text_lengths=one.text_lengths.repeat(count),
        video=one.video.expand(count, -1, -1),
        present=one.present.expand(count, -1),
        is_padded=False,
    )


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_takes_of_one_clip_read_their_prefix_once_and_are_what_each_is_alone(tiny_model, conditions, cfg_scale):
    assert takes(conditions, 3).is_one_clip
    assert not conditions.is_one_clip
    rows = []
    handle = tiny_model.llama.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    try:
        together = generate_codes(
            tiny_model, takes(conditions, 3), sampler([1, 2, 3], [1, 2, 3]), num_frames=T, cfg_scale=cfg_scale
        )
    finally:
        handle.remove()
    assert rows == [1 if cfg_scale == 1.0 else 2]
    for i in range(3):
        alone = generate_codes(
            tiny_model, row(conditions, 0), sampler([1 + i], [1 + i]), num_frames=T, cfg_scale=cfg_scale
        )
        assert torch.equal(together.codes[i : i + 1], alone.codes)


def test_takes_that_are_held_to_different_beginnings_do_not_share_one(tiny_model, conditions):
    forced = torch.randint(0, V, (2, 2, T), generator=torch.Generator().manual_seed(0))
    forced[..., 6:] = FREE
    together = generate_codes(tiny_model, takes(conditions, 2), sampler([1, 2], [1, 2]), num_frames=T, forced=forced)
    for i in range(2):
        alone = generate_codes(
            tiny_model, row(conditions, 0), sampler([1 + i], [1 + i]), num_frames=T, forced=forced[i : i + 1]
        )
        assert torch.equal(together.codes[i : i + 1], alone.codes)


def test_sampling_follows_the_distribution():
    logits = torch.tensor([[[0.5, 0.3, 0.15, 0.05]]]).log().expand(1, 2, -1)
    draw = CodeSampler(
        [StreamSampling(temperature=1.0, top_k=0), StreamSampling(temperature=1.0, top_k=2)],
        [[0], [0]],
        num_logits=4,
        device=torch.device("cpu"),
    )
    drawn = torch.stack([draw(logits, frame)[0] for frame in range(4000)])
    share = [(drawn[:, s, None] == torch.arange(4)).float().mean(0) for s in (0, 1)]
    torch.testing.assert_close(share[0], torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.03, rtol=0)
    torch.testing.assert_close(share[1], torch.tensor([0.625, 0.375, 0.0, 0.0]), atol=0.03, rtol=0)


def test_noise_belongs_to_frames_in_whatever_order_they_are_asked_for():
    draw = sampler([1, 2], [3, 4])
    blocks = [draw.noise(frame).clone() for frame in (0, 64, 200)]
    assert torch.equal(draw.noise(70), blocks[1])
    assert torch.equal(draw.noise(0), blocks[0])
    assert not torch.equal(blocks[0], blocks[1])


def test_top_p_keeps_the_fewest_codes_that_hold_its_share():
    logits = torch.tensor([[[0.5, 0.3, 0.15, 0.05]]]).log().expand(1, 2, -1)
    setting = StreamSampling(temperature=1.0, top_k=0, top_p=0.7)
    draw = CodeSampler([setting, setting], [[0], [0]], num_logits=4, device=torch.device("cpu"))
    assert {int(c) for frame in range(500) for c in draw(logits, frame).flatten()} == {0, 1}


def test_one_streams_settings_do_not_move_the_other():
    logits = torch.randn(1, 2, V + 1, generator=torch.Generator().manual_seed(0))
    a, b = sampler([1], [1]), sampler([1], [2], speech=StreamSampling(temperature=0.3, top_k=20))
    assert [int(a(logits, f)[0, 0]) for f in range(70)] == [int(b(logits, f)[0, 0]) for f in range(70)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"temperature": -1.0}, "temperature -1.0"), ({"top_k": -1}, "top_k -1"), ({"top_p": 0.0}, "top_p 0.0")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        StreamSampling(**settings)
    with pytest.raises(ConfigError, match="cfg_scale 21"):
        SamplingConfig(cfg_scale=21)


def test_a_seed_out_of_range_is_refused_and_takes_wrap_around():
    with pytest.raises(InputError, match="seed: got -1"):
        Seeds(speech=-1)
    with pytest.raises(InputError, match="expected a whole number from 0"):
        Seeds(background=2**64)
    assert Seeds(speech=2**64 - 1, background=3).of_takes(2) == [[3, 4], [2**64 - 1, 0]]
