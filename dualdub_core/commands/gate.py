"""The quality gate of `dualdub generate --takes N --require NAME=LIMIT`."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from ..dualbench.local import WAVLM, WHISPER, local_folder
from ..dualbench.scoring import Judges, Watched, score_soundtrack, watch_clip
from ..dualbench.speakers import load_speaker_judge
from ..dualbench.transcripts import load_recogniser
from ..errors import InputError
from ..files import replacing
from ..gate.gate import FIGURES, Thresholds, Verdict, applicable, judged
from ..gate.picture import draw_gate
from ..gate.rolling import Outcome, Roll, first_that_passes, free_streams
from ..media.sound import read_audio
from ..pipeline import Lock
from ..progress import Progress
from ..sampling import SamplingConfig, Seeds
from ..system import Take
from ..types import Task

SCORES, PICTURE = "gate.json", "gate.png"


def add_gate(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("quality gate").add_argument
    add("--takes", type=int, default=1, metavar="N", help="keep the first take that passes, of at most so many")
    add(
        "--require",
        action="append",
        default=[],
        metavar="NAME=LIMIT",
        help=f"what a take must reach, may be repeated: {', '.join(FIGURES)}",
    )
    add("--word-judge", metavar="NAME", help=f"for wrong_words: folder of a Whisper, or a fetched one as {WHISPER}")
    add("--voice-judge", metavar="NAME", help=f"for similarity to --voice: folder of a WavLM, or such as {WAVLM}")


def is_gated(options: argparse.Namespace) -> bool:
    """Whether more than one take, or a threshold, is asked for."""
    return bool(options.takes != 1 or options.require)


def thresholds_of(options: argparse.Namespace) -> Thresholds:
    """What is asked.

    Raises:
        InputError: something else than NAME=LIMIT of a known name, or takes without any.
        ConfigError: the thresholds contradict each other.
    """
    asked = {}
    for entry in ",".join(options.require).split(",") if options.require else ():
        name, _, limit = entry.partition("=")
        try:
            asked[name.strip().replace("-", "_")] = float(limit)
        except ValueError as error:
            raise InputError(f"require: got '{entry}', expected NAME=LIMIT, such as leak=0.1") from error
    unknown = sorted(asked.keys() - FIGURES.keys())
    if unknown:
        raise InputError(f"require: got '{unknown[0]}', expected one of {', '.join(FIGURES)}")
    if options.takes > 1 and not asked:
        raise InputError(f"takes: got {options.takes}, but nothing that a take must reach; give --require NAME=LIMIT")
    return Thresholds(**asked)


def gated(
    options: argparse.Namespace,
    make_take: Callable[[Roll], Take],
    *,
    seeds: Seeds,
    sampling: SamplingConfig,
    locks: Sequence[Lock],
    words: str,
    progress: Progress,
) -> Outcome[Take]:
    """The take to go on with; its scores and the picture of all takes are written into the output folder.

    Args:
        options: of `dualdub generate`.
        make_take: generates with the roll's seeds and locks.
        seeds: of the first take.
        sampling: of both streams.
        locks: the artist's.
        words: what is said.
        progress: told of takes and of what they are made of.

    Raises:
        DualDubError: something is asked for that cannot be told.
    """
    task, video = Task(options.task), options.video if options.task != Task.SPEECH.value else None
    voice: Path | None = options.voice
    recording = None if voice is None or voice.suffix == ".safetensors" else read_audio(voice)
    judges = _judges(options)
    given = {"has_video": video is not None, "has_script": bool(words.strip()), "has_voice": recording is not None}
    thresholds = applicable(thresholds_of(options), task, judges=judges, **given)
    part = {"start": options.start, "duration": options.length}
    watched = None if video is None else watch_clip(video, **part, progress=progress)

    def judge(take: Take) -> Verdict:
        seen = watched or Watched(duration=take.codes.duration)
        return judged(
            score_soundtrack(take.soundtrack, seen, script=words, voice=recording, judges=judges).values, thresholds
        )

    streams = free_streams(task, locks=locks, sampling=sampling)
    outcome = first_that_passes(make_take, judge, seeds=seeds, streams=streams, limit=options.takes, progress=progress)
    with replacing(options.out / SCORES) as temporary:
        told = json.dumps(outcome.as_dict(thresholds), indent=2, ensure_ascii=False)
        temporary.write_text(told, encoding="utf-8")
    title, number = outcome.text().partition("\n")[0], outcome.best.roll.number
    with replacing(options.out / PICTURE) as temporary:
        draw_gate(outcome.attempts, thresholds, best=number, title=title).save(temporary, format="PNG")
    return outcome


def _judges(options: argparse.Namespace) -> Judges:
    words, voice = options.word_judge, options.voice_judge
    return Judges(
        transcriber=None if words is None else load_recogniser(local_folder(words, "WER")),
        speakers=None if voice is None else load_speaker_judge(local_folder(voice, "SIM")),
        names={"words": words or "", "voice": voice or ""},
    )
