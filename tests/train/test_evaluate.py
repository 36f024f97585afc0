import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("pyarrow")

from dualdub_core import checkpoint
from dualdub_core.checkpoint import Header
from dualdub_core.errors import CheckpointError, InputError
from dualdub_core.models.clip import ClipConfig, ClipVideoEncoder
from dualdub_core.pipeline import decode_codec, sample_codes
from dualdub_core.sampling import SamplingConfig, Seeds
from dualdub_core.system import System
from dualdub_core.text import TextTokenizer
from dualdub_core.types import Stream, Task
from dualdub_core.voice import encode_voice
from train.evaluate import complete, main
from train.figures.clips import EvalClip, read_clips
from train.figures.compose import TakeConfig, make_takes
from train.figures.decoders import decoded, encode_clip
from train.scenes.build import Part, build
from train.scenes.config import CorpusConfig, Kind, Split

RATE = 24_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    config = replace(CorpusConfig.mini(3), durations=(1.2,))
    build(folder, config, [Part(kind=Kind.V2A, split=Split.TEST, num_clips=3)], num_workers=1)
    return folder / "test"


@pytest.fixture(scope="module")
def system(tiny_model, tiny_codec, tiny_decoder, tiny_vae):
    return System(
        Header({}, {}, {}),
        model=tiny_model,
        tokenizer=TextTokenizer.mini(),
        codec=tiny_codec,
        decoder=tiny_decoder,
        vae=tiny_vae,
    )


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory, system, tiny_config):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    config = replace(ClipConfig.mini(), width=8, num_layers=1, num_heads=2, mlp_width=8)
    encoder = ClipVideoEncoder(replace(config, projection_dim=tiny_config.video_width))
    modules = {"model": system.model, "video_encoder": encoder, "codec": system.codec}
    checkpoint.save(path, modules, info={"name": "tiny", "status": "untrained"})
    return path


def spoken(index, text):
    rng = np.random.default_rng(index)
    speech = rng.uniform(-0.3, 0.3, RATE).astype(np.float32)
    return EvalClip(
        id=str(index),
        duration=1.0,
        sample_rate=RATE,
        stems={Stream.SPEECH: speech},
        text=text,
        words=tuple(text.split()),
        spoken=(0.0, 1.0),
        speaker="a",
        unseen=frozenset(),
        events=(),
        mouth=None,
        pixels=None,
    )


def test_takes_of_a_batch_are_the_takes_of_the_pipeline(system):
    clips = [spoken(0, "one two three four five"), spoken(1, "red"), spoken(2, "my door")]
    config = TakeConfig(decoder="codec", seed=7, batch_size=2)
    made = make_takes(system, Task.SPEECH, clips, clips[::-1], config)
    for index, (clip, voice) in enumerate(zip(clips, clips[::-1], strict=True)):
        codes = sample_codes(
            system.model,
            system.tokenizer,
            task=Task.SPEECH,
            script=clip.text,
            voice=encode_voice(system.model, voice.voice),
            sampling=SamplingConfig(),
            seeds=Seeds(speech=7 + index, background=7 + index),
        )
        alone = decode_codec(system.codec, codes).speech.waveform[0, 0].numpy()
        np.testing.assert_allclose(made[index].stems[Stream.SPEECH], alone, atol=1e-5)
        assert list(made[index].stems) == [Stream.SPEECH]


def test_a_clip_through_its_own_codes_keeps_its_stems_and_length(system):
    clip = spoken(0, "one")
    for decoder in ("codec", "flow"):
        made = decoded(system, clip, encode_clip(system, clip), TakeConfig(decoder=decoder, num_steps=1))
        assert list(made.stems) == [Stream.SPEECH]
        assert len(made.stems[Stream.SPEECH]) == made.sample_rate


def test_a_part_that_is_missing_is_named_and_taken_from_the_main_checkpoint(system):
    bare = replace(system, vae=None, codec=None)
    clip = spoken(0, "one")
    with pytest.raises(CheckpointError, match="no codec"):
        encode_clip(bare, clip)
    with pytest.raises(CheckpointError, match="no flow decoder or no VAE"):
        decoded(bare, clip, encode_clip(system, clip), TakeConfig())
    with pytest.raises(CheckpointError, match="no model or no video encoder"):
        make_takes(replace(system, model=None), Task.SPEECH, [clip], [clip], TakeConfig())
    assert complete(bare, system) == system


def test_clips_are_read_with_their_truth(corpus):
    clips = read_clips(corpus, Kind.V2A)
    assert len(clips) == 3
    assert len(read_clips(corpus, Kind.V2A, 2)) == 2
    for clip in clips:
        assert clip.stems[Stream.BACKGROUND].shape == (round(clip.duration * RATE),)
        assert clip.frames.pixels.dtype == torch.uint8
        assert clip.frames.pixels.shape[0] == len(clip.frames.times)
    with pytest.raises(InputError, match="no clips of kind 'tts'"):
        read_clips(corpus, Kind.TTS)


def test_the_command_prints_a_table_keeps_it_and_continues_it(corpus, tiny_checkpoint, tmp_path, capsys):
    kept = tmp_path / "figures.json"
    arguments = ["--checkpoint", str(tiny_checkpoint), "--compare", f"twin={tiny_checkpoint}", "--corpus", str(corpus)]
    arguments += ["--figures", "background", "--json", str(kept), "--decoder", "codec"]
    main(arguments)
    first = capsys.readouterr()
    assert "tiny (untrained)" in first.out
    assert "| twin |" in first.out
    assert "background: onsets, F1, 50 ms" in first.out
    assert "main: background" in first.err
    figures = json.loads(kept.read_text())["groups"]["main/background"]["figures"]
    assert {figure["verdict"] for figure in figures} == {"-", "not met"}
    main(arguments)
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err == ""
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, "--seed", "1"])
    assert "other settings" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_one_line(corpus, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--corpus", str(corpus), "--checkpoint", "nowhere.safetensors"])
    assert "nowhere.safetensors: no such file" in capsys.readouterr().err
