"""The examples of the templates: clips that the mini model was not trained on, drawn larger.

python -m train.demo_clip workflows/assets

The world of the corpus (`train/scenes`) is the only one that the mini model knows, so the examples are from its test
split: a film without sound, a recording of the same speaker saying something else, and the film's own background; and,
for the templates of several shots and voices, a film of three clips one after the other, with a second voice.
"""

import argparse
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import soundfile

from dualdub_core.errors import DualDubError
from dualdub_core.files import replacing
from train.scenes.clip import Clip, FloatArray, make_clip
from train.scenes.config import CorpusConfig, Kind, Split
from train.scenes.video import encode_film

INDEX = 33
"""Of the joint clips of the test split: a bouncing ball, and six digits spoken by a face."""
SHOTS = (4, 17, 10)
"""Of the same clips: a hammer, a ball and a door, each beside a face that speaks."""
SECOND_VOICE = 1914
"""Of the test split's recordings: the first of three seconds by the speaker of the second shot."""
_SIZE, _FILM_SIZE = 384, 256
_VOICE_SECONDS = 3.0


def make_example(config: CorpusConfig) -> tuple[Clip, FloatArray]:
    """The clip, and a recording (N,) of its speaker with other words.

    Raises:
        InputError: flite is not installed.
    """
    clip = _draw(config, INDEX, _SIZE)
    others = (make_clip(config, Kind.TTS, Split.TEST, index) for index in count())
    same = (other for other in others if other.speaker == clip.speaker and other.text != clip.text)
    voice = next(other.speech for other in same if other.duration >= _VOICE_SECONDS)
    assert voice is not None
    return clip, voice


def make_film(config: CorpusConfig) -> tuple[list[Clip], FloatArray]:
    """The shots of the longer film, and a recording (N,) of the second one's speaker with other words.

    Raises:
        InputError: flite is not installed.
    """
    shots = [_draw(config, index, _FILM_SIZE) for index in SHOTS]
    other = make_clip(config, Kind.TTS, Split.TEST, SECOND_VOICE)
    assert other.speech is not None
    assert other.speaker == shots[1].speaker
    return shots, other.speech


def write_example(folder: Path, config: CorpusConfig) -> str:
    """Write both films, both voices and the bed, each whole or not at all; returns the first film's script."""
    clip, voice = make_example(config)
    shots, second_voice = make_film(config)
    assert clip.background is not None
    for name, clips in (("demo.mp4", [clip]), ("film.mp4", shots)):
        pictures = np.concatenate([shot.pictures for shot in clips if shot.pictures is not None])
        with replacing(folder / name) as temporary:
            temporary.write_bytes(encode_film(pictures, fps=config.fps))
    sounds = {"voice.wav": voice, "second_voice.flac": second_voice, "bed.flac": clip.background}
    for name, sound in sounds.items():
        with replacing(folder / name) as temporary:
            soundfile.write(temporary, sound, config.sample_rate, subtype="PCM_16")
    return clip.text


def _draw(config: CorpusConfig, index: int, size: int) -> Clip:
    return make_clip(replace(config, frame_size=size), Kind.JOINT, Split.TEST, index)


def main() -> None:
    """Write the files to the folder given, and say what is spoken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    try:
        print(write_example(parser.parse_args().folder, CorpusConfig.mini(0)))
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
