"""Options that commands share, and what they mean."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from ..engine.precision import PRECISIONS
from ..errors import InputError
from ..flow import SOLVERS
from ..media.muxing import CONTAINERS
from ..sampling import SamplingConfig, Seeds
from ..scripts.formats import detect_format, parse_script, read_text
from ..scripts.rerolls import parse_rerolls
from ..scripts.script import Script
from ..scripts.vocabulary import vocabulary_warning
from ..system import BUILTIN, System, load_system
from ..types import Stream
from .console import note

SCRIPT = "what is said, as words, words with cues, SRT or VTT; or @FILE to read it there"


def add_words(parser: argparse.ArgumentParser, *, script: str = SCRIPT) -> None:
    """What is said and by whom; `script` is the help of that option."""
    add = parser.add_argument
    add("--script", default="", help=script)
    add("--voice", type=Path, help="a recording of the speaker, 3 to 10 s, or a voice saved by --save-voice")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The networks, and the seeds that they are sampled with."""
    add = parser.add_argument
    add("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint; the built-in mini model")
    add("--decoder", choices=["flow", "codec"], help="final quality, or a fast draft; by default the model's choice")
    add("--steps", type=int, default=10, help="of the flow decoder's solver; more is slower")
    add("--solver", choices=list(SOLVERS), default="euler", help="of the flow decoder")
    add("--seed", type=int, default=0, help="of both streams")
    add("--speech-seed", type=int, help="of speech alone")
    add("--background-seed", type=int, help="of the background alone")


def add_part(parser: argparse.ArgumentParser) -> None:
    """Which part of the video is used."""
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the video where the clip starts")
    parser.add_argument("--length", type=float, help="seconds of the video to use")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How daring the choice of codes is."""
    sampling = parser.add_argument_group("sampling", "what is not given is as the model prefers")
    for stream in Stream:
        name, more = stream.value, sampling.add_argument
        more(f"--{name}-temperature", type=float, help="0 takes the likeliest always")
        more(f"--{name}-top-k", type=int, help="choose among so many likeliest; 0 means all")
        more(f"--{name}-top-p", type=float, help="and among those that hold this share")
    sampling.add_argument("--cfg", type=float, help="guidance, 1.0 = off")


def add_lines(parser: argparse.ArgumentParser) -> Callable[..., Any]:
    """Settings of single lines; gives what adds more of them."""
    add = parser.add_argument_group("lines", "for a script with times or names").add_argument
    add("--speaker", action="append", default=[], metavar="NAME=FILE", help="the voice of a name; may be repeated")
    add("--reroll", action="append", default=[], metavar="LINE:SEED", help="seed of one line alone; may be repeated")
    add("--fit-background", action="store_true", help="sample the background to fit what is spoken")
    return add


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where and how the models run."""
    add = parser.add_argument
    add("--device", default="cpu", help="where the models run: cpu, cuda, mps ...")
    add("--precision", choices=PRECISIONS, default="auto", help="of the language model and the flow decoder")
    add("-q", "--quiet", action="store_true", help="no progress bars")


def script_of(options: argparse.Namespace) -> str | Script:
    """Words as they are; anything with times or names as lines on the clip's clock.

    Raises:
        InputError: no such file, broken captions, or no line in this part of the clip.
    """
    given: str = options.script
    text = read_text(given[1:]) if given.startswith("@") else given
    return text if detect_format(text) == "plain" else parse_script(text).part(options.start, options.length)


def sampling_of(options: argparse.Namespace, preferred: SamplingConfig | None = None) -> SamplingConfig:
    """What is given; the rest as the model prefers, or as usual before one is loaded."""
    names = [f"{stream.value}_{name}" for stream in Stream for name in ("temperature", "top_k", "top_p")]
    given = {name: getattr(options, name) for name in names}
    return (preferred or SamplingConfig()).but(**given, cfg_scale=options.cfg)


def seeds_of(options: argparse.Namespace) -> Seeds:
    """One a stream."""
    own = {s.value: getattr(options, f"{s.value}_seed") for s in Stream}
    return Seeds(**{name: options.seed if seed is None else seed for name, seed in own.items()})


def rerolls_of(options: argparse.Namespace) -> dict[int, int]:
    """Seeds of single lines, by number."""
    return parse_rerolls(",".join(options.reroll))


def background_of(options: argparse.Namespace) -> Literal["on its own", "hears the speech"]:
    """How the background of a script with lines is sampled."""
    return "hears the speech" if options.fit_background else "on its own"


def speakers_of(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Names and files of voices.

    Raises:
        InputError: something else than NAME=FILE.
    """
    pairs = [text.partition("=") for text in options.speaker]
    for name, sign, file in pairs:
        if not (name.strip() and sign and file):
            raise InputError(f"speaker: got '{name}{sign}{file}', expected NAME=FILE, such as Anna=anna.wav")
    return [(name.strip(), Path(file)) for name, _, file in pairs]


def device_of(name: str) -> torch.device:
    """The device of this name.

    Raises:
        InputError: it is none, or not usable here.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # how torch says so differs from device to device
        reason = str(error).split("\n", maxsplit=1)[0]
        raise InputError(f"device: '{name}' cannot be used here ({reason}); try 'cpu'") from error


def load_model(options: argparse.Namespace) -> System:
    """The model that is named; a decoder that is not becomes the one that it prefers."""
    system = load_system(options.model, device=device_of(options.device), precision=options.precision)
    options.decoder = options.decoder or system.preferred_decoder
    if not system.header.is_trained:
        note(
            f"the weights '{system.header.info['name']}' are untrained: what you hear is noise of the right length, "
            "not a soundtrack"
        )
    return system


def note_unknown_words(script: Script | str, system: System) -> None:
    """Say which words a model was not taught."""
    lines = [script] if isinstance(script, str) else [line.text for line in script.lines]
    unknown = vocabulary_warning(lines, system.header.info)
    if unknown:
        note(unknown)


def target_of(options: argparse.Namespace) -> Path:
    """The dubbed video: named as the source, in Matroska where its own kind of file cannot be written."""
    name: str = options.video.name if options.video.suffix.lower() in CONTAINERS else f"{options.video.stem}.mkv"
    return Path(options.out / name)


def check_files(options: argparse.Namespace, *others: Path | None) -> None:
    """Refuse files that are not there, and results that cannot be written or would replace the video.

    Raises:
        InputError: which, and why.
    """
    speakers = [path for _, path in speakers_of(options)]
    for path in (options.video, options.voice, *others, *speakers):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results")
    if options.video is not None and target_of(options).resolve() == options.video.resolve():
        raise InputError(f"{out}: the video lies there and would be replaced; choose another folder")
