"""The example clip of the templates: one that the mini model was not trained on, drawn larger.

python -m train.demo_clip workflows/assets

The world of the corpus (`train/scenes`) is the only one that the mini model knows, so the example is from its test
split: a film without sound, a recording of the same speaker saying something else, and the film's own background.
"""

import argparse
from dataclasses import replace
from itertools import count
from pathlib import Path

import soundfile

from dualdub_core.errors import DualDubError
from dualdub_core.files import replacing
from train.scenes.clip import Clip, FloatArray, make_clip
from train.scenes.config import CorpusConfig, Kind, Split
from train.scenes.video import encode_film

INDEX = 33
"""Of the joint clips of the test split: a bouncing ball, and six digits spoken by a face."""
_SIZE = 384
_VOICE_SECONDS = 3.0


def make_example(config: CorpusConfig) -> tuple[Clip, FloatArray]:
    """The clip, and a recording (N,) of its speaker with other words.

    Raises:
        InputError: flite is not installed.
    """
    clip = make_clip(replace(config, frame_size=_SIZE), Kind.JOINT, Split.TEST, INDEX)
    others = (make_clip(config, Kind.TTS, Split.TEST, index) for index in count())
    same = (other for other in others if other.speaker == clip.speaker and other.text != clip.text)
    voice = next(other.speech for other in same if other.duration >= _VOICE_SECONDS)
    assert voice is not None
    return clip, voice


def write_example(folder: Path, config: CorpusConfig) -> str:
    """Write demo.mp4, voice.wav and bed.flac, each whole or not at all; returns the script."""
    clip, voice = make_example(config)
    assert clip.pictures is not None
    assert clip.background is not None
    with replacing(folder / "demo.mp4") as temporary:
        temporary.write_bytes(encode_film(clip.pictures, fps=config.fps))
    for name, sound in (("voice.wav", voice), ("bed.flac", clip.background)):
        with replacing(folder / name) as temporary:
            soundfile.write(temporary, sound, config.sample_rate, subtype="PCM_16")
    return clip.text


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
