"""Which takes pass: thresholds over the figures of `dualbench.scoring`, and how far a take is from meeting them.

A figure belongs to the stream that can mend it, where that is known (`rolling` samples only that one anew). A rank is
minus the sum of what failed, each in steps that a listener might call one notch (our choice), so 0 passes and the
least bad take is the highest.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..dualbench.judge_levels import GATE_LUFS
from ..dualbench.judge_speech import WordsJudge
from ..dualbench.judge_sync import SyncJudge
from ..dualbench.scoring import ROTATED, Judges
from ..dualbench.systems import MIX
from ..errors import ConfigError, InputError
from ..types import Stream, Task

_SPEECH, _BACKGROUND = (Stream.SPEECH,), (Stream.BACKGROUND,)
_UNKNOWN = 10.0  # steps by which a figure fails that could not be measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """What a take must reach; None is not asked. Takes are judged as decoded, before they are mixed.

    Attributes:
        sync: AV-Align of the background, at least. It depends on the clip, and perfect sync is far below 1.
        sync_margin: AV-Align above that of the same background turned round the clip, at least; 0 is chance.
        quietest: LUFS of both stems together, at least; silence counts as -70.
        loudest: LUFS, at most.
        clipped: share of the samples at full scale, at most.
        speech_level: dBFS of the speech's energy, at least; the paper keeps clips from -40.
        background_level: dBFS of the background's, at least.
        leak: share of the background's energy that follows the speech, at most.
        wrong_words: WER, at most; 1 is as many errors as words.
        similarity: cosine between the speech's speaker and the recording's, at least.
    """

    sync: float | None = None
    sync_margin: float | None = None
    quietest: float | None = None
    loudest: float | None = None
    clipped: float | None = None
    speech_level: float | None = None
    background_level: float | None = None
    leak: float | None = None
    wrong_words: float | None = None
    similarity: float | None = None

    def __post_init__(self) -> None:
        for name, limit in self.asked.items():
            if not math.isfinite(limit):
                raise ConfigError(f"quality gate: {name}: got {limit}, expected a number")
        if self.quietest is not None and self.loudest is not None and self.quietest > self.loudest:
            raise ConfigError(
                f"quality gate: no take is at least {self.quietest:g} and at most {self.loudest:g} LUFS; "
                "lower quietest or raise loudest"
            )

    @property
    def asked(self) -> dict[str, float]:
        """The limits by name."""
        limits = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Figure:
    """Where a threshold's figure stands in the scores.

    Attributes:
        path: of keys.
        at_least: whether more is better.
        step: how much is one notch.
        unit: "" where it has none.
        streams: whom a new seed may help.
        minus: path of what is taken off.
        silence: what null counts as; None where it is not known.
    """

    path: tuple[str, ...]
    at_least: bool
    step: float
    unit: str = ""
    streams: tuple[Stream, ...] = tuple(Stream)
    minus: tuple[str, ...] = ()
    silence: float | None = None

    @property
    def bound(self) -> str:
        """How a limit is read."""
        return "at least" if self.at_least else "at most"


_SYNC = ("sync", "av_align", "background")
FIGURES: dict[str, Figure] = {
    "sync": Figure(_SYNC, True, 0.1, streams=_BACKGROUND),
    "sync_margin": Figure(_SYNC, True, 0.1, streams=_BACKGROUND, minus=("sync", ROTATED, "background")),
    "quietest": Figure(("levels", MIX, "lufs"), True, 6.0, "LUFS", silence=GATE_LUFS),
    "loudest": Figure(("levels", MIX, "lufs"), False, 6.0, "LUFS", silence=GATE_LUFS),
    "clipped": Figure(("levels", MIX, "clipped_share"), False, 0.01),
    "speech_level": Figure(("levels", "speech", "rms_dbfs"), True, 6.0, "dBFS", _SPEECH),
    "background_level": Figure(("levels", "background", "rms_dbfs"), True, 6.0, "dBFS", _BACKGROUND),
    "leak": Figure(("leak", "background"), False, 0.1, streams=_BACKGROUND),
    "wrong_words": Figure(("words", "wer"), False, 0.1, streams=_SPEECH),
    "similarity": Figure(("voice", "sim_ref"), True, 0.1, streams=_SPEECH),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A threshold that a take does not meet.

    Attributes:
        name: of the threshold.
        value: the take's figure; None where it could not be measured.
        limit: what was asked.
        steps: how far off, in notches.
        streams: whom a new seed may help.
    """

    name: str
    value: float | None
    limit: float
    steps: float
    streams: tuple[Stream, ...]

    def __str__(self) -> str:
        figure = FIGURES[self.name]
        unit = f" {figure.unit}" if figure.unit else ""
        got = "not measured" if self.value is None else f"{self.value:.3g}{unit}"
        return f"{self.name.replace('_', ' ')} {got}, asked {figure.bound} {self.limit:.3g}{unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a take came to.

    Attributes:
        scores: its figures, as `scoring.Score.values`.
        failures: what it does not meet.
    """

    scores: Mapping[str, Any]
    failures: tuple[Failure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it meets all that was asked."""
        return not self.failures

    @property
    def rank(self) -> float:
        """0 for a take that passes, and the lower the worse."""
        return 0.0 - sum(failure.steps for failure in self.failures)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Those that a new seed may help."""
        blamed = {stream for failure in self.failures for stream in failure.streams}
        return tuple(stream for stream in Stream if stream in blamed)


def applicable(
    thresholds: Thresholds,
    task: Task,
    *,
    has_video: bool = False,
    has_script: bool = False,
    has_voice: bool = False,
    judges: Judges | None = None,
) -> Thresholds:
    """The thresholds that a task's takes can be held to, found out before anything is sampled.

    The level of a stream that the task does not write is left out; what cannot be answered is refused.

    Args:
        thresholds: what is asked.
        task: what is written.
        has_video: whether there is a clip to watch.
        has_script: whether there are words.
        has_voice: whether there is a recording of the speaker.
        judges: networks for words and voice.

    Raises:
        InputError: a figure is asked for that nothing here can tell.
        ConfigError: a package that it needs is not installed.
    """
    judges, asked = judges or Judges(), thresholds.asked
    kept = {name: limit for name, limit in asked.items() if name not in _other_levels(task)}
    needs = {
        "sync": ("background", {"video": has_video}),
        "sync_margin": ("background", {"video": has_video}),
        "wrong_words": ("speech", {"recogniser (word_judge)": judges.transcriber is not None, "script": has_script}),
        "similarity": (
            "speech",
            {"speaker network (voice_judge)": judges.speakers is not None, "recording of the speaker": has_voice},
        ),
    }
    for name in filter(kept.__contains__, needs):
        stream, things = needs[name]
        if Stream(stream) not in task.streams:
            raise InputError(f"quality gate: {name}: task '{task.value}' writes no {stream}; do not ask for {name}")
        for what in (what for what, is_there in things.items() if not is_there):
            raise InputError(f"quality gate: {name}: is asked for, but there is no {what}; give one, or do not ask")
    if {"sync", "sync_margin"} & kept.keys():
        SyncJudge().check()
    if "wrong_words" in kept and (transcriber := judges.transcriber) is not None:
        WordsJudge(lambda: transcriber, name="", normaliser=judges.normaliser).check()
    return Thresholds(**kept)


def judged(scores: Mapping[str, Any], thresholds: Thresholds) -> Verdict:
    """Hold the figures of one take against the thresholds.

    Args:
        scores: as `scoring.score_soundtrack` gives them; a figure that is null or missing fails what asks for it.
        thresholds: what is asked.
    """
    failures = []
    for name, limit in thresholds.asked.items():
        figure, value = FIGURES[name], reading(scores, name)
        short = _short(figure, value, limit)
        if short > 0:
            failures.append(Failure(name, value, limit, short, _blamed(figure, scores, limit)))
    return Verdict(scores, tuple(failures))


def reading(scores: Mapping[str, Any], name: str) -> float | None:
    """The figure that a threshold asks for, or None where it could not be measured."""
    figure = FIGURES[name]
    value = _at(scores, figure.path)
    if value is None:
        return figure.silence
    less = _at(scores, figure.minus) if figure.minus else 0.0
    return None if less is None else value - less


def _other_levels(task: Task) -> set[str]:
    return {f"{stream.value}_level" for stream in Stream if stream not in task.streams}


def _at(scores: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = scores
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def _short(figure: Figure, value: float | None, limit: float) -> float:
    """Notches that are missing; 0 or less where the limit is met."""
    if value is None:
        return _UNKNOWN
    return (limit - value if figure.at_least else value - limit) / figure.step


def _blamed(figure: Figure, scores: Mapping[str, Any], limit: float) -> tuple[Stream, ...]:
    """Whom a new seed may help. Of a mix that is a stem which fails by itself, if only one does."""
    if MIX not in figure.path:
        return figure.streams
    stems = {stream: _at(scores, ("levels", stream.value, figure.path[-1])) for stream in Stream}
    values = {stream: figure.silence if value is None else value for stream, value in stems.items()}
    failing = tuple(stream for stream, value in values.items() if _short(figure, value, limit) > 0)
    return failing or figure.streams
