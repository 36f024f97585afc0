"""Who speaks: the voices that a command line names, each with the consent that is written down for it."""

import argparse
from pathlib import Path

from ..artifacts import load_voice
from ..errors import CheckpointError
from ..media.sound import read_audio
from ..system import System
from ..types import Voice
from ..voice import encode_voice
from . import origin
from .console import note
from .settings import speakers_of


def voice_of(options: argparse.Namespace, system: System) -> Voice | None:
    """Whose voice it is where no name says otherwise; None where the model chooses.

    Raises:
        CheckpointError: the checkpoint cannot hear recordings.
    """
    if options.voice is None:
        return None
    return _noted(_heard(system, options.voice, options.voice.stem), options, "")


def voices_of(options: argparse.Namespace, system: System) -> dict[str, Voice]:
    """Voices by the speaker's name; raises as `voice_of`."""
    return {name: _noted(_heard(system, path, name), options, name) for name, path in speakers_of(options)}


def _heard(system: System, path: Path, name: str) -> Voice:
    if path.suffix == ".safetensors":
        return load_voice(path)
    if system.model is None:
        raise CheckpointError("this checkpoint has no language model to hear voices with; use a whole checkpoint")
    return encode_voice(system.model, read_audio(path), name=name)


def _noted(voice: Voice, options: argparse.Namespace, name: str) -> Voice:
    """The voice with the note of who agreed to its use; it is asked for where there is none."""
    written = origin.consents(options, [speaker for speaker, _ in speakers_of(options)]).get(name, "")
    voice = origin.with_consent(voice, written)
    if not voice.consent:
        note(
            f"nobody's consent is written down for the voice '{name or voice.name}'; --consent "
            f'"{f"{name}=" if name else ""}who agreed, and when" keeps it in every file'
        )
    return voice
