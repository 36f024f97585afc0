"""What a take's files say of their making: the consent note and the signature that a command line asks for."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..provenance.credentials import SIGNABLE, Signing, check_signing, sign
from ..provenance.provenance import Provenance, VoiceNote, fingerprint, script_hash
from ..scripts.script import Script
from ..types import Stream, Task, Voice


def add_origin(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("origin, written into every file")
    group.add_argument(
        "--consent",
        action="append",
        default=[],
        metavar="NOTE",
        help="who agreed to the use of the voice, and when; NAME=NOTE for a --speaker; may be repeated",
    )
    group.add_argument(
        "--sign",
        type=Path,
        nargs=2,
        metavar=("CERTIFICATE", "KEY"),
        help="sign the files as synthetic (C2PA Content Credentials) with your certificate chain and key, PEM files",
    )


def consents(options: argparse.Namespace, speakers: Sequence[str]) -> dict[str, str]:
    """Notes by the speaker's name; the empty name is the --voice's."""
    names = {name.casefold(): name for name in speakers}
    found: dict[str, str] = {}
    for note in options.consent:
        name, sign_, text = note.partition("=")
        own = names.get(name.strip().casefold()) if sign_ else None
        found[own or ""] = (text if own else note).strip()
    return found


def with_consent(voice: Voice, note: str) -> Voice:
    """The voice with a note; the one that it has stays where there is no new one."""
    return replace(voice, consent=note) if note else voice


def signing_of(options: argparse.Namespace, video: Path | None) -> Signing | None:
    """Who signs; checked before any work.

    Raises:
        InputError: certificate, key or kind of file cannot be used.
        ConfigError: the package for it is not installed.
    """
    if options.sign is None:
        return None
    signing = Signing(certificate=options.sign[0], key=options.sign[1])
    check_signing(signing, ".wav", *([] if video is None else [video.suffix]))
    return signing


def sign_files(paths: Sequence[Path], signing: Signing | None, made_by: Provenance) -> None:
    """Sign those that can be; codes cannot."""
    for path in paths:
        if signing is not None and path.suffix.lower() in SIGNABLE:
            sign(path, signing, made_by)


def record(
    *,
    model: Path,
    name: str,
    task: Task,
    seeds: Mapping[str, int],
    script: str | Script,
    voices: Sequence[Voice],
    recorded: Sequence[Stream],
    settings: Mapping[str, Any],
) -> Provenance:
    """What made a take of the command line."""
    return Provenance(
        model=name,
        fingerprint=fingerprint(model),
        task=task.value,
        seeds=dict(seeds),
        script_sha256="" if task is Task.BACKGROUND else script_hash(script),
        voices=tuple(dict.fromkeys(VoiceNote(name=voice.name, consent=voice.consent) for voice in voices)),
        recorded=tuple(stream.value for stream in recorded),
        settings=dict(settings),
    )
