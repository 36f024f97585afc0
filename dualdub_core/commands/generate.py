"""`dualdub generate`: the soundtrack of one video."""

import argparse
from collections.abc import Callable
from pathlib import Path

from ..artifacts import load_codes, save_voice
from ..errors import InputError
from ..flow import evaluation_times
from ..gate.rolling import Roll
from ..media.sound import MediaInfo, probe, read_audio
from ..media.video import read_frames
from ..pipeline import Lock, encode_stem, retake_locks
from ..progress import Progress
from ..scripts.rerolls import line_seeds
from ..scripts.script import Script
from ..system import System, Take, generate
from ..text import normalise
from ..types import Audio, Stream, Task, VideoFrames
from . import origin
from .console import Bars, note, say
from .gate import add_gate, gated, is_gated, thresholds_of
from .mix import add_mix, mix_config
from .results import write_take
from .settings import (
    add_lines,
    add_machine,
    add_model,
    add_part,
    add_sampling,
    add_words,
    background_of,
    check_files,
    load_model,
    note_unknown_words,
    rerolls_of,
    sampling_of,
    script_of,
    seeds_of,
    target_of,
)
from .sheet import add_sheet
from .voices import voice_of, voices_of

Make = Callable[[argparse.Namespace, Path], None]


def add_generate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "generate", help="make the soundtrack of a video", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("video", type=Path, nargs="?", help="the silent video; not needed for --task speech")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    add_settings(parser)
    parser.set_defaults(run=_generate)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Every option but the video and the folder; a batch has them too."""
    add = parser.add_argument
    add_words(parser)
    add("--task", choices=[t.value for t in Task], default=Task.JOINT.value, help="which streams are written")
    add_model(parser)
    add("--lock-speech", type=Path, metavar="FILE", help="a recording that is the speech; the rest fits it")
    add("--lock-background", type=Path, metavar="FILE", help="a recording that is the background; the rest fits it")
    add("--retake", metavar="FROM:TO", help="seconds to sample anew; the rest is kept from --codes")
    add("--retake-stream", choices=["both", "speech", "background"], default="both")
    add("--codes", type=Path, help="codes of an earlier take (default: codes.safetensors in the output folder)")
    add("--duration", type=float, help="seconds, for --task speech; it ends on its own without")
    add_part(parser)
    add_sampling(parser)
    add_lines(parser)(
        "--captions",
        choices=["lines", "words"],
        default="lines",
        help="whose times are written: of lines, which are measured, or of words too, which are estimated",
    )
    add_gate(parser)
    add_mix(parser)
    add_sheet(parser)
    add("--save-voice", type=Path, metavar="FILE", help="keep the voice for later")
    origin.add_origin(parser)
    add_machine(parser)


def maker(options: argparse.Namespace) -> Make:
    """Load a model once; gives what makes one soundtrack with it in an empty folder."""
    system = load_model(options)

    def make(one: argparse.Namespace, folder: Path) -> None:
        one.out = folder
        _check(one)
        _make(one, system)

    return make


def _generate(options: argparse.Namespace) -> None:
    _check(options)
    for file in _make(options, load_model(options)):
        say(file)


def _check(options: argparse.Namespace) -> None:
    """Refuse what can be known to be wrong before a model is loaded."""
    task = Task(options.task)
    if options.video is None and task is not Task.SPEECH:
        raise InputError(f"video: task '{task.value}' needs a video file")
    evaluation_times(options.steps, options.solver)
    for settings in (sampling_of, seeds_of, mix_config, thresholds_of):
        settings(options)
    if task is not Task.BACKGROUND:
        _check_script(options)
    if options.retake is not None:
        _range(options.retake)
        if not _kept_codes(options).is_file():
            raise InputError(
                f"retake: {_kept_codes(options)}: no such file; make a first take into this folder, or give --codes"
            )
    check_files(options, options.lock_speech, options.lock_background)
    origin.signing_of(options, None if options.video is None else target_of(options))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{options.out}: the folder cannot be made ({error.strerror}); choose another") from error


def _check_script(options: argparse.Namespace) -> None:
    script = script_of(options)
    normalise(script.text if isinstance(script, Script) else script)
    rerolls = rerolls_of(options)
    if isinstance(script, Script):
        line_seeds(script, 0, rerolls)
    elif rerolls or options.speaker:
        raise InputError("reroll, speaker: the script has no lines with times or names; use --speech-seed and --voice")


def _make(options: argparse.Namespace, system: System) -> list[Path]:
    bars = Bars(quiet=options.quiet)
    try:
        return _take(options, system, bars)
    finally:
        bars.close()


def _take(options: argparse.Namespace, system: System, progress: Progress) -> list[Path]:
    """Watch, sample, decode, mix and write; the files."""
    task, script = Task(options.task), script_of(options)
    seeds, sampling = seeds_of(options), sampling_of(options, system.preferred_sampling)
    if task is not Task.BACKGROUND:
        note_unknown_words(script, system)
    voice = None if task is Task.BACKGROUND else voice_of(options, system)
    if voice is not None and options.save_voice is not None:
        save_voice(options.save_voice, voice)
    voices = voices_of(options, system)
    info, frames = _watch(options, system, task, progress)
    recordings = _recordings(options)
    locks = _locks(options, system, recordings, frames.duration if frames else options.duration)

    def make(roll: Roll) -> Take:
        return generate(
            system,
            task=task,
            frames=frames,
            script=script,
            voice=voice,
            voices=voices,
            rerolls=rerolls_of(options),
            background=background_of(options),
            duration=options.duration,
            sampling=sampling,
            seeds=roll.seeds,
            # Lines do not depend on the background's seed, nor a background on its own on theirs.
            locks=locks if isinstance(script, Script) else [*locks, *roll.locks],
            recordings=recordings,
            decoder=options.decoder,
            num_steps=options.steps,
            solver=options.solver,
            mixing=mix_config(options),
            progress=progress,
        )

    if is_gated(options):
        words = script.text if isinstance(script, Script) else script
        outcome = gated(options, make, seeds=seeds, sampling=sampling, locks=locks, words=words, progress=progress)
        note(f"gate: {outcome.text()}")
        take, seeds = outcome.take, outcome.best.roll.seeds
    else:
        take = make(Roll(1, seeds, task.streams))
    heard = [] if task is Task.BACKGROUND else [one for one in (voice, *voices.values()) if one is not None]
    return write_take(options, system, take, seeds=seeds, info=info, voices=heard, progress=progress)


def _watch(
    options: argparse.Namespace, system: System, task: Task, progress: Progress
) -> tuple[MediaInfo | None, VideoFrames | None]:
    if options.video is None:
        return None, None
    info = probe(options.video)
    if task is Task.SPEECH:
        return info, None
    assert system.video_encoder is not None
    size = system.video_encoder.config.image_size
    frames = read_frames(options.video, size=size, start=options.start, duration=options.length, progress=progress)
    return info, frames


def _kept_codes(options: argparse.Namespace) -> Path:
    return Path(options.codes or options.out / "codes.safetensors")


def _recordings(options: argparse.Namespace) -> dict[Stream, Audio]:
    files = {Stream.SPEECH: options.lock_speech, Stream.BACKGROUND: options.lock_background}
    return {stream: read_audio(path) for stream, path in files.items() if path is not None}


def _locks(
    options: argparse.Namespace, system: System, recordings: dict[Stream, Audio], duration: float | None
) -> list[Lock]:
    locks: list[Lock] = []
    for stream, recording in recordings.items():
        if duration is None:
            raise InputError("lock: give --duration, the length that the locked recording is fitted to")
        if system.codec is None:
            raise InputError("lock: this checkpoint has no codec to encode the recording with")
        locks.append(Lock(stream, encode_stem(system.codec, recording, duration=duration)))
    if options.retake is not None:
        start, end = _range(options.retake)
        streams = tuple(Stream) if options.retake_stream == "both" else (Stream(options.retake_stream),)
        codes = load_codes(_kept_codes(options))
        streams = tuple(s for s in streams if codes.stream(s) is not None)
        # A recording given for a stream counts more than the earlier take of it.
        given = {lock.stream for lock in locks}
        locks = [k for k in retake_locks(codes, start=start, end=end, streams=streams) if k.stream not in given] + locks
    return locks


def _range(text: str) -> tuple[float, float]:
    try:
        start, end = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise InputError(f"retake: got '{text}', expected FROM:TO in seconds, such as 2.0:3.5") from error
    return start, end
