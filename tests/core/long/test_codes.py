import math
from dataclasses import replace

import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.long.codes import sample_long
from dualdub_core.long.decoding import DecodingConfig, decode_codec_long, decode_flow_long, joints
from dualdub_core.long.plan import plan_long
from dualdub_core.long.runs import window_seeds
from dualdub_core.long.seams import measure_seams
from dualdub_core.long.store import FolderStore, MemoryStore, key_of, module_id
from dualdub_core.long.watching import encode_film
from dualdub_core.long.windows import WindowConfig
from dualdub_core.media.video import encode_frames, read_frames
from dualdub_core.models.clip import ClipConfig, ClipVideoEncoder
from dualdub_core.pipeline import Lock, decode_codec, decode_flow, sample_codes
from dualdub_core.sampling import Seeds
from dualdub_core.scripts.cues import parse_cues
from dualdub_core.scripts.scripted import sample_script, silence_codes
from dualdub_core.text import BACKGROUND_PROMPT, TextTokenizer
from dualdub_core.timing import num_samples, video_feature_times
from dualdub_core.types import Audio, Codes, Stream, Task, VideoFeatures, Voice
from dualdub_core.voice import voice_model_id

SECONDS = 5.017
SMALL = WindowConfig(longest=1.5, context=0.5)
VOICE = Voice(torch.zeros(16), "another model")
LINES = "[00:00.2-00:00.7] [Anna] one [00:01.7-00:02.2] [Ben] two [00:03.4-00:03.9] [Anna] three"


def watched(duration: float = SECONDS, seed: int = 0) -> VideoFeatures:
    times = video_feature_times(duration)
    features = torch.randn(times.numel(), 8, generator=torch.Generator().manual_seed(seed))
    return VideoFeatures(torch.nn.functional.normalize(features, dim=-1), times, duration)


@pytest.fixture
def sample(tiny_model, tiny_codec):
    """A long take; `config` and `cuts` go into its plan."""

    def run(**changes):
        values = {"codec": tiny_codec, "features": watched(), "script": "", "seeds": Seeds(speech=1, background=2)}
        values |= {"config": SMALL, "cuts": ()} | changes
        config, cuts = values.pop("config"), values.pop("cuts")
        plan = plan_long(
            tiny_model.config.clock, values["features"].duration, script=values["script"], cuts=cuts, config=config
        )
        return sample_long(tiny_model, TextTokenizer.mini(), plan=plan, **values)

    return run


def anew(take) -> list[int]:
    """Numbers, from 1, of the windows that were not in the store."""
    return [run.window.index + 1 for run in take.runs if not run.is_kept]


@pytest.mark.parametrize("duration", [0.04, 1.001, 2.0])
def test_a_clip_of_one_window_is_the_plain_path_code_for_code(sample, tiny_model, tiny_codec, duration):
    features, config = watched(duration), WindowConfig(longest=2.0, context=1.0)
    seeds = Seeds(speech=1, background=2)
    bed = torch.full((1, tiny_model.config.clock.num_frames(duration)), 3)
    shared = {"features": features, "seeds": seeds, "batch_size": 2}
    locks = [Lock(Stream.BACKGROUND, bed, 0.0, duration / 2)]
    tokenizer = TextTokenizer.mini()
    words = sample_codes(tiny_model, tokenizer, task=Task.JOINT, script="One. Two.", locks=locks, **shared)
    alone = sample_codes(tiny_model, tokenizer, task=Task.BACKGROUND, locks=locks, **shared)
    script = parse_cues("[A] one [B] two")
    lines = sample_script(
        tiny_model, tokenizer, tiny_codec, script=script, locks=locks, rerolls={1: 8}, background="hears the speech",
        **shared,
    )  # fmt: skip
    for expected, changes in (
        (words, {"script": "One. Two."}),
        (alone, {"task": Task.BACKGROUND}),
        (lines, {"script": script, "rerolls": {1: 8}, "background": "hears the speech"}),
    ):
        codes = sample(config=config, locks=locks, **shared, **changes).codes
        for stream in Stream:
            assert (codes.stream(stream) is None) == (expected.stream(stream) is None)
            assert codes.stream(stream) is None or torch.equal(codes.stream(stream), expected.stream(stream))
        assert (codes.duration, codes.spoken) == (expected.duration, expected.spoken)


@pytest.mark.parametrize("fps", [24_000 / 1001, 29.97, 12.5])
def test_any_length_is_exact(sample, tiny_codec, fps):
    duration = round(4.1 * fps) / fps
    take = sample(features=watched(duration), task=Task.BACKGROUND, cuts=[1.3])
    assert take.codes.num_frames == tiny_codec.config.clock.num_frames(duration)
    small = DecodingConfig(longest=1.0, margin=0.25, fade=0.1)
    soundtrack = decode_codec_long(tiny_codec, take.codes, config=small)
    assert soundtrack.num_samples == num_samples(duration, 24_000)


def test_a_window_hears_the_codes_before_it_and_one_at_a_cut_does_not(sample, tiny_model):
    take = sample(task=Task.BACKGROUND, cuts=[1.4])
    (first, second, third, fourth) = (run.window for run in take.runs)
    assert [w.context for w in (first, second, third, fourth)] == [0, 0, 20, 20]
    written = take.codes.background
    for window in (second, fourth):
        start = window.first * 0.025
        times = watched().times
        inside = (times >= start) & (times < window.end * 0.025 + 0.6)
        alone = sample_codes(
            tiny_model, TextTokenizer.mini(), task=Task.BACKGROUND, seeds=window_seeds(Seeds(background=2), window),
            features=VideoFeatures(
                watched().features[inside], times[inside] - start, (window.end - window.first) * 0.025
            ),
            locks=[Lock(Stream.BACKGROUND, _padded(written, window), 0.0, 0.5)] if window.context else [],
        )  # fmt: skip
        assert torch.equal(alone.background[:, window.context :], written[:, window.start : window.end])


def _padded(written, window):
    codes = written[:, window.first : window.end].clone()
    codes[:, window.context :] = 0
    return codes


def test_seeds_belong_to_where_a_window_starts(sample):
    (a, b, *_) = (run.window for run in sample(task=Task.BACKGROUND).runs)
    seeds = Seeds(speech=5, background=2**64 - 1)
    assert window_seeds(seeds, a) == seeds
    moved = window_seeds(seeds, b)
    assert moved == window_seeds(seeds, replace(b, index=9, end=b.end + 1))
    assert (moved.speech - 5) % 2**64 == (moved.background + 1) % 2**64 != 0


def test_a_changed_line_of_a_script_runs_its_window_alone(sample):
    store = MemoryStore()
    first = sample(script=parse_cues(LINES), store=store)
    assert anew(first) == [1, 2, 3, 4]
    assert anew(sample(script=parse_cues(LINES), store=store)) == []
    changed = sample(script=parse_cues(LINES.replace("two", "another")), store=store)
    assert [len(run.window.cues) for run in changed.runs] == [1, 1, 1, 0]
    assert anew(changed) == [2]
    assert torch.equal(changed.codes.background, first.codes.background)
    inside = slice(changed.runs[1].window.start, changed.runs[1].window.end)
    assert not torch.equal(changed.codes.speech[:, inside], first.codes.speech[:, inside])
    rerolled = sample(script=parse_cues(LINES), rerolls={3: 8}, store=store)
    assert anew(rerolled) == [3]
    assert "4 windows, written anew: 3" in rerolled.text


def test_changed_words_run_their_window_and_those_that_hear_it_up_to_a_cut(sample):
    store = MemoryStore()
    words = "One two three four. Five six seven. Eight nine ten. Eleven."
    cuts = [2.9]
    first = sample(script=words, cuts=cuts, store=store)
    assert [(run.window.start, run.window.context) for run in first.runs] == [(0, 0), (58, 20), (116, 0), (161, 20)]
    assert anew(sample(script=words.replace("Five", "Nine"), cuts=cuts, store=store)) == [2]
    assert anew(sample(script=words.replace("One", "Ere"), cuts=cuts, store=store)) == [1, 2]
    assert anew(sample(script=words.replace("nine", "five"), cuts=cuts, store=store)) == [3, 4]
    again = sample(script=words, cuts=cuts, store=store)
    assert anew(again) == []
    assert torch.equal(again.codes.speech, first.codes.speech)


def test_a_changed_shot_runs_its_window_alone(sample):
    store, cuts = MemoryStore(), [1.3, 2.6, 3.9]
    script = parse_cues(LINES)
    first = sample(script=script, cuts=cuts, store=store)
    assert len(first.runs) == 4
    features = watched()
    features.features[(features.times >= 1.3) & (features.times < 2.6)] = watched(seed=1).features[0]
    assert anew(sample(script=script, features=features, cuts=cuts, store=store)) == [2]


def test_lines_sound_as_in_the_script_sampler_whatever_window_they_are_in(sample, tiny_model, tiny_codec):
    take = sample(script=parse_cues(LINES), seeds=Seeds(speech=7), rerolls={2: 3})
    plain = sample_script(
        tiny_model, TextTokenizer.mini(), tiny_codec, script=parse_cues(LINES), features=watched(),
        seeds=Seeds(speech=7), rerolls={2: 3},
    )  # fmt: skip
    # A line that began late is moved, and silence follows it, whose codes belong to no line.
    said = plain.speech != silence_codes(tiny_codec, SECONDS)
    assert said.sum() > 20
    assert torch.equal(take.codes.speech[said], plain.speech[said])
    assert take.codes.spoken == plain.spoken


def test_everything_that_a_window_depends_on_is_in_its_key(sample, tiny_model):
    store = MemoryStore()
    voice = Voice(torch.randn(16, generator=torch.Generator().manual_seed(0)), voice_model_id(tiny_model))
    same = {"script": parse_cues(LINES), "store": store}
    sample(**same)
    assert anew(sample(**same, voice=voice)) == [1, 2, 3]
    assert anew(sample(**same, voices={"Ben": voice, "": replace(voice, embedding=voice.embedding + 1)})) == [1, 3]
    assert anew(sample(**same, voices={"ben": voice, "anna": voice})) == []
    assert anew(sample(**same, seeds=Seeds(speech=2, background=2))) == [1, 2, 3]
    assert anew(sample(**same, seeds=Seeds(speech=1, background=3))) == [1, 2, 3, 4]
    assert anew(sample(**same, background="hears the speech")) == [1, 2, 3, 4]
    held = torch.full((1, 201), 5)
    assert anew(sample(**same, locks=[Lock(Stream.SPEECH, held, 4.6)])) == [4]
    assert anew(sample(**same, batch_size=2)) == [1, 2, 3, 4]
    assert anew(sample(**same)) == []


def test_locks_hold_in_every_window_and_silence_where_nobody_speaks(sample, tiny_codec):
    held = torch.randint(0, 24, (1, 201), generator=torch.Generator().manual_seed(0))
    locks = [Lock(Stream.BACKGROUND, held, 1.0, 3.0), Lock(Stream.SPEECH, held, 4.0)]
    codes = sample(script=parse_cues(LINES), locks=locks).codes
    assert torch.equal(codes.background[:, 40:120], held[:, 40:120])
    assert torch.equal(codes.speech[:, 160:], held[:, 160:])
    assert codes.spoken == ((0.2, 0.7), (1.7, 2.2), (3.4, 3.9), (4.0, 5.025))
    speech = decode_codec(tiny_codec, codes).speech.waveform[0, 0]
    assert not speech[round(0.8 * 24_000) : round(1.6 * 24_000)].any()


def test_a_window_without_words_is_silent_and_has_its_background(sample):
    take = sample(script="Hi.", features=watched(6.0))
    assert [run.window.cues for run in take.runs] == [(0,), (), (), ()]
    assert take.codes.spoken == ((0.0, 1.5),)
    assert take.codes.background.shape == take.codes.speech.shape == (1, 240)


def test_takes_of_a_batch_are_what_their_seeds_give_alone(sample):
    takes = sample(script="One two. Three four five. Six.", batch_size=2, seeds=Seeds(speech=3, background=4)).codes
    second = sample(script="One two. Three four five. Six.", seeds=Seeds(speech=4, background=5)).codes
    assert torch.equal(takes.speech[1:], second.speech)
    assert torch.equal(takes.background[1:], second.background)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_run_that_is_cancelled_keeps_its_finished_windows(sample, tmp_path, kind):
    store = MemoryStore() if kind == "memory" else FolderStore(tmp_path / "windows")

    def stop(stage, done, total):
        assert (stage, total) == ("generate", 201 + 3 * 20)
        if done > 130:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(task=Task.BACKGROUND, store=store, progress=stop)
    again = FolderStore(tmp_path / "windows") if kind == "folder" else store
    take = sample(task=Task.BACKGROUND, store=again)
    assert anew(take) == [3, 4]
    assert torch.equal(take.codes.background, sample(task=Task.BACKGROUND).codes.background)


def test_stores_keep_what_they_are_given_and_no_damaged_file(tmp_path):
    folder, codes = FolderStore(tmp_path), torch.arange(12).reshape(1, 2, 6)
    folder.put("a", codes)
    assert torch.equal(folder.get("a"), codes)
    (tmp_path / "b.safetensors").write_bytes(b"cut off")
    assert folder.get("b") is None
    memory = MemoryStore(most_frames=12)
    for name in "abc":
        memory.put(name, codes)
        memory.get("a")
    assert [memory.get(name) is not None for name in "abc"] == [True, False, True]


def test_fingerprints_know_weights_and_values(tiny_model, tiny_codec):
    assert module_id(tiny_model) == module_id(tiny_model) != module_id(tiny_codec)
    assert key_of({"a": torch.zeros(2)}) != key_of({"a": torch.zeros(2, dtype=torch.int32)})
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1, "b": 3})


def codes_of(num_frames: int, seed: int = 0, *, clock, spoken=None) -> Codes:
    drawn = torch.randint(0, 24, (2, 1, num_frames), generator=torch.Generator().manual_seed(seed))
    return Codes(
        speech=drawn[0], background=drawn[1], duration=clock.duration(num_frames) - 0.01, clock=clock, codebook_size=24,
        spoken=spoken,
    )  # fmt: skip


def test_short_codes_are_decoded_as_ever(tiny_codec, tiny_decoder, tiny_vae):
    codes = codes_of(50, clock=tiny_codec.config.clock)
    assert joints(codes) == ()
    a, b = decode_codec(tiny_codec, codes), decode_codec_long(tiny_codec, codes)
    assert torch.equal(a.speech.waveform, b.speech.waveform)
    a, b = (f(tiny_decoder, tiny_vae, codes, num_steps=2) for f in (decode_flow, decode_flow_long))
    assert torch.equal(a.background.waveform, b.background.waveform)


SHORT = DecodingConfig(longest=2.0, margin=0.5, fade=0.2)


def test_long_codes_are_decoded_in_parts_without_a_seam(tiny_codec, tiny_decoder, tiny_vae):
    codes = codes_of(253, clock=tiny_codec.config.clock, spoken=((0.5, 3.0), (3.1, 6.0)))
    places = joints(codes, SHORT)
    assert places == pytest.approx([1.575, 3.15, 4.725])
    draft = decode_codec_long(tiny_codec, codes, config=SHORT)
    final = decode_flow_long(tiny_decoder, tiny_vae, codes, num_steps=2, config=SHORT)
    assert draft.num_samples == num_samples(codes.duration, 24_000)
    assert final.num_samples == num_samples(codes.duration, 16_000)
    for soundtrack in (draft, final):
        assert not soundtrack.speech.waveform[..., : round(0.4 * soundtrack.sample_rate)].any()
        assert soundtrack.background.waveform[..., -10:].any()
        seams = measure_seams(soundtrack.background, places)
        assert len(seams) == 3
        assert max(seam.excess_db for seam in seams) <= 0


def test_parts_of_a_flow_that_reads_only_nearby_are_the_whole(tiny_codec, tiny_decoder, tiny_vae):
    codes = codes_of(253, clock=tiny_codec.config.clock)
    whole = decode_flow(tiny_decoder, tiny_vae, codes, num_steps=2).background.waveform
    parts = decode_flow_long(tiny_decoder, tiny_vae, codes, num_steps=2, config=SHORT).background.waveform
    # This one attends to everything, hence only nearly.
    assert torch.corrcoef(torch.stack((whole.flatten(), parts.flatten())))[0, 1] > 0.95


def test_a_click_is_louder_than_what_is_beside_it_and_none_is_not():
    times = torch.arange(24_000) / 24_000
    smooth = torch.sin(2 * torch.pi * 440 * times)[None, None]
    click = smooth.clone()
    click[..., 12_000:] *= -1
    click[..., 12_000:] += 0.5
    (seam,) = measure_seams(Audio(smooth, 24_000), [0.5])
    assert seam.excess_db <= 1e-6
    assert seam.jump_db == pytest.approx(3.01, abs=0.1)
    (seam,) = measure_seams(Audio(click, 24_000), [0.5])
    jump = float((click[0, 0, 12_000] - click[0, 0, 11_999]).abs())
    slope = 2 * math.pi * 440 / 24_000
    assert seam.excess_db == pytest.approx(20 * math.log10(jump / slope), abs=0.1)
    assert measure_seams(Audio(smooth, 24_000), [0.0, 1.0]) == ()
    assert measure_seams(Audio(torch.zeros(1, 1, 2400), 24_000), [0.05])[0].excess_db == 0


def test_a_film_is_encoded_as_it_passes_by_to_the_same_features(make_video):
    sizes = {"image_size": 8, "patch_size": 4, "width": 8, "num_layers": 1, "num_heads": 2, "mlp_width": 16}
    encoder = ClipVideoEncoder(replace(ClipConfig.mini(), **sizes)).eval()
    film, told = make_video(num_frames=130, rate=30), []
    frames = read_frames(film, size=8, start=0.5, duration=3.21)
    expected = encode_frames(encoder, frames, batch_size=8)
    seen = encode_film(encoder, film, start=0.5, duration=3.21, batch_size=8, progress=lambda *r: told.append(r))
    assert torch.equal(seen.features, expected.features)
    assert torch.equal(seen.times, expected.times)
    assert seen.duration == expected.duration
    assert told[-1] == ("watch", len(seen.times), len(seen.times))


def test_the_largest_run_does_not_grow_with_the_clip(sample, tiny_model):
    columns = []

    def look(module, positional, keywords):
        columns.append(keywords["cache"]._store.shape[-2])

    handle = tiny_model.llama.register_forward_pre_hook(look, with_kwargs=True)
    for duration in (3.0, 9.0):
        columns.append(0)
        sample(features=watched(duration), task=Task.BACKGROUND)
    handle.remove()
    middle = columns.index(0, 1)
    prefix = 1 + len(TextTokenizer.mini().encode(BACKGROUND_PROMPT))
    assert max(columns[:middle]) == max(columns[middle:]) == prefix + 60 + 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": Task.SPEECH}, "got task 'speech', expected 'joint' or 'background'"),
        ({"script": ""}, "the plan has no script"),
        ({"script": parse_cues(LINES), "codec": None}, "need the model's codec, got none"),
        (
            {"script": parse_cues(LINES), "voices": {"Anna": VOICE}},
            "line 2 is spoken by 'Ben', but the voices are Anna",
        ),
    ],
)
def test_what_does_not_fit_is_refused(sample, changes, message):
    with pytest.raises(InputError, match=message):
        sample(**changes)


def test_a_plan_of_something_else_is_refused(tiny_model, tiny_codec):
    plan = plan_long(tiny_model.config.clock, SECONDS, script="One.", config=SMALL)
    shared = {"plan": plan, "codec": tiny_codec}
    with pytest.raises(InputError, match=r"the plan is for 5.017 s, the video's features for 6.000 s"):
        sample_long(tiny_model, TextTokenizer.mini(), features=watched(6.0), script="One.", **shared)
    with pytest.raises(InputError, match="made for another script"):
        sample_long(tiny_model, TextTokenizer.mini(), features=watched(), script="Two.", **shared)
