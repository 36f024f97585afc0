"""What made a sound, on its way through a graph: beside the codes, then beside the waveform, then in the file.

An AUDIO value is a dictionary; one more key goes along with it through nodes of ours. A node of another pack may drop
it: the file then still has the graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io

from ..dualdub_core.errors import InputError
from ..dualdub_core.pipeline import Lock
from ..dualdub_core.provenance.credentials import SIGNABLE, Signing, check_signing, sign
from ..dualdub_core.provenance.provenance import Provenance, VoiceNote, merged, script_hash
from ..dualdub_core.sampling import SamplingConfig
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.types import Codes, Task, Voice
from . import adapters as a

KEY = "dualdub_made_by"
FOLDER = "credentials"
CredentialsSocket = io.Custom("DUALDUB_CREDENTIALS")


def sampled(
    codes: Codes,
    model: a.Managed,
    *,
    task: Task,
    seeds: Mapping[str, int],
    script: str | Script,
    voices: Sequence[Voice],
    locks: Sequence[Lock],
    sampling: SamplingConfig | None,
) -> Codes:
    """The codes with what wrote them."""
    streams = {stream.value for stream in task.streams}
    record = Provenance(
        model=model.name,
        fingerprint=model.fingerprint,
        task=task.value,
        seeds={name: seed for name, seed in seeds.items() if name in streams},
        script_sha256="" if task is Task.BACKGROUND else script_hash(script),
        voices=()
        if task is Task.BACKGROUND
        else tuple(dict.fromkeys(VoiceNote(name=voice.name, consent=voice.consent) for voice in voices)),
        recorded=tuple(dict.fromkeys(lock.stream.value for lock in locks)),
        settings={"sampling": asdict(sampling or SamplingConfig()), "takes": codes.batch_size},
    )
    return replace(codes, made_by=record)


def told(sound: Mapping[str, Any] | None) -> Provenance | None:
    """What an AUDIO value says of its making."""
    return None if sound is None else sound.get(KEY)


def tell(sound: dict[str, Any], record: Provenance | None) -> dict[str, Any]:
    """An AUDIO value that says what made it."""
    return sound if record is None else {**sound, KEY: record}


def mixed(
    speech: Mapping[str, Any] | None,
    background: Mapping[str, Any] | None,
    /,
    **settings: Any,  # noqa: ANN401
) -> Provenance | None:
    """What made a mix of two AUDIO values."""
    record = merged({"speech": told(speech), "background": told(background)})
    return None if record is None else record.with_settings(mix=settings)


def of_file(node: type[io.ComfyNode], **sounds: Mapping[str, Any] | None) -> Provenance:
    """What a node that saves sounds writes into their files, with the graph unless ComfyUI was told to keep none."""
    known = {name: told(sound) for name, sound in sounds.items() if sound is not None}
    # A mix knows more than the stems that it is made of.
    record = known.get("mix") or merged(known) or Provenance()
    return replace(record, graph=None if args.disable_metadata else node.hidden.prompt)


def of_take(record: Provenance, take: int, count: int) -> Provenance:
    """The record of one of several takes, counted from 1."""
    return record if count == 1 else record.with_settings(take=take)


def certificate_names() -> list[str]:
    """Pairs `NAME.pem` and `NAME.key` in models/dualdub/credentials."""
    return sorted({path.stem for home in _homes() for path in home.glob("*.pem") if path.with_suffix(".key").is_file()})


def signing_of(name: str, author: str) -> Signing:
    """Who signs, by a listed name; keys lie nowhere else, so no graph can name another file.

    Raises:
        InputError: there is no such pair.
    """
    for home in _homes():
        if name in certificate_names() and (home / f"{name}.pem").is_file():
            return Signing(certificate=home / f"{name}.pem", key=home / f"{name}.key", author=author.strip())
    raise InputError(
        f"content credentials: no {name or 'NAME'}.pem and {name or 'NAME'}.key in {_homes()[0]}; put your certificate "
        "chain and its key there and press R"
    )


def check(signing: Signing | None, *suffixes: str) -> None:
    """Refuse what could not be signed, before anything is made."""
    if signing is not None:
        check_signing(signing, *suffixes)


def sign_all(paths: Sequence[Path], signing: Signing | None, record: Provenance) -> str:
    """Sign files, where that is asked for; a line for people."""
    if signing is None:
        return ""
    signed = [path for path in paths if path.suffix.lower() in SIGNABLE]
    for path in signed:
        sign(path, signing, record)
    return f"\n{len(signed)} signed with Content Credentials"


def _homes() -> list[Path]:
    return [Path(home) / FOLDER for home in folder_paths.get_folder_paths("dualdub")]
