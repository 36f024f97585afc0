"""One window of a long clip: what it depends on, and the run that writes its codes.

Letters: B takes, T frames of the clip, n frames of a window's run.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..config import to_dict
from ..generation import FREE
from ..models.dualdub import STREAMS, DualDub
from ..models.wavtokenizer import WavTokenizer
from ..pipeline import Lock, sample_codes
from ..progress import Progress
from ..sampling import SamplingConfig, Seeds
from ..scripts.rerolls import line_seeds
from ..scripts.script import Script
from ..scripts.scripted import Background, sample_script, silence_codes, voice_of
from ..text import TextTokenizer
from ..timing import FrameClock
from ..types import Stream, Task, VideoFeatures, Voice
from .plan import LongPlan, Piece
from .windows import Window

_BACKGROUND, _SPEECH = STREAMS.index(Stream.BACKGROUND), STREAMS.index(Stream.SPEECH)
_AHEAD = 0.6  # seconds: a line's run looks 0.5 further than its slot, see `scripted`, and to the nearest picture


def window_seeds(seeds: Seeds, window: Window) -> Seeds:
    """The seeds of a window: those given for the first, else with a number made of its first frame added.

    So a window that still starts where it did keeps its seeds, however the clip before it is divided.
    """
    if window.start == 0:
        return seeds
    number = int.from_bytes(hashlib.sha256(f"window {window.start}".encode()).digest()[:8], "big")
    return Seeds(speech=(seeds.speech + number) % 2**64, background=(seeds.background + number) % 2**64)


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowInputs:
    """All that the codes of a window depend on, but for the networks.

    Attributes:
        window: which; its number does not count.
        kind: "background", "words" or "lines".
        script: of the run, in its own times.
        seeds: of both streams.
        rerolls: of the lines of a `Script`.
        voices: by name; the empty name alone where the script is words.
        features: of the run's pictures.
        held: codes that are forced in the run (B, 2, n), context first; `FREE` elsewhere.
        settings: sampling and the like, for JSON.
    """

    window: Window
    kind: str
    script: str | Script
    seeds: Seeds
    rerolls: dict[int, int]
    voices: dict[str, Voice]
    features: VideoFeatures
    held: Tensor
    settings: dict[str, Any]

    def facts(self) -> dict[str, Any]:
        """For a key."""
        lines = self.script if isinstance(self.script, str) else [asdict(line) for line in self.script.lines]
        facts: dict[str, Any] = {
            "kind": self.kind,
            "script": lines,
            "seeds": asdict(self.seeds),
            "rerolls": sorted(self.rerolls.items()),
            "features": self.features.features,
            "times": self.features.times,
            "duration": self.features.duration,
            "held": self.held,
            "context": self.window.context,
            "settings": self.settings,
        }
        return facts | {f"voice {name}": voice.embedding for name, voice in self.voices.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowJob:
    """What all windows share; see `long.sample_long`, but for `held`: what locks force (B, 2, T)."""

    model: DualDub
    tokenizer: TextTokenizer
    codec: WavTokenizer | None
    plan: LongPlan
    features: VideoFeatures
    task: Task
    script: str | Script
    voice: Voice | None
    voices: dict[str, Voice]
    sampling: SamplingConfig
    seeds: Seeds
    rerolls: Mapping[int, int]
    background: Background
    batch_size: int
    held: Tensor

    def inputs(self, window: Window, written: Tensor) -> WindowInputs:
        """What a window depends on, once all before it are written (B, 2, T)."""
        kind, script, pieces = self._words(window)
        seeds = window_seeds(self.seeds, window)
        rerolls: dict[int, int] = {}
        voices: dict[str, Voice] = {}
        if kind == "background":
            seeds = replace(seeds, speech=0)  # it draws no speech
        if kind == "words" and self.voice is not None:
            voices = {"": self.voice}
        if kind == "lines":
            voices = self._voices(pieces)
            seeds = replace(seeds, speech=self.seeds.speech)
            rerolls = self._rerolls(script, pieces)
        held = torch.full((self.batch_size, len(STREAMS), window.end - window.first), FREE)
        held[..., window.context :] = self.held[..., window.start : window.end]
        hears_speech = kind == "words" or (kind == "lines" and self.background == "hears the speech")
        for stream in (_BACKGROUND, _SPEECH) if hears_speech else (_BACKGROUND,):
            held[:, stream, : window.context] = written[:, stream, window.first : window.start]
        settings = {"sampling": to_dict(self.sampling), "takes": self.batch_size, "task": self.task.value}
        return WindowInputs(
            window=window,
            kind=kind,
            script=script,
            seeds=seeds,
            rerolls=rerolls,
            voices=voices,
            features=self._seen(window),
            held=held,
            settings=settings | ({"background": self.background} if kind == "lines" else {}),
        )

    def run(self, inputs: WindowInputs, progress: Progress) -> Tensor:
        """The codes of a window (B, 2, n), without its context."""
        clock, window = self.model.config.clock, inputs.window
        shared: dict[str, Any] = {"sampling": self.sampling, "seeds": inputs.seeds, "features": inputs.features}
        shared |= {"batch_size": self.batch_size, "progress": progress}
        if inputs.kind == "lines":
            assert self.codec is not None
            assert isinstance(inputs.script, Script)
            codes = sample_script(
                self.model,
                self.tokenizer,
                self.codec,
                script=inputs.script,
                voices=inputs.voices,
                rerolls=inputs.rerolls,
                locks=_locks(inputs.held, clock),
                background=self.background,
                **shared,
            )
        elif inputs.kind == "words":
            assert isinstance(inputs.script, str)
            codes = sample_codes(
                self.model,
                self.tokenizer,
                task=Task.JOINT,
                script=inputs.script,
                voice=inputs.voices.get(""),
                locks=_locks(inputs.held, clock),
                **shared,
            )
        else:
            beds = [lock for lock in _locks(inputs.held, clock) if lock.stream is Stream.BACKGROUND]
            codes = sample_codes(self.model, self.tokenizer, task=Task.BACKGROUND, locks=beds, **shared)
        assert codes.background is not None
        speech = codes.speech if codes.speech is not None else self._nobody(inputs)
        both = (codes.background, speech) if STREAMS[0] is Stream.BACKGROUND else (speech, codes.background)
        return torch.stack(both, dim=1)[..., window.context :]

    def spoken(self) -> tuple[tuple[float, float], ...] | None:
        """Where speech may be heard; None where it may be everywhere."""
        kinds = [self._words(window)[0] for window in self.plan.windows]
        if self.task is not Task.JOINT or set(kinds) == {"words"}:
            return None
        clock, lines = self.model.config.clock, self.plan.lines
        held = _spans((self.held[:, _SPEECH] != FREE).any(0).tolist(), clock)
        if isinstance(self.script, Script):
            return (*((line.start, line.end) for line in lines.lines), *held) if lines is not None else tuple(held)
        windows = [w for w, kind in zip(self.plan.windows, kinds, strict=True) if kind == "words"]
        return (*((clock.duration(w.start), clock.duration(w.end)) for w in windows), *held)

    def _words(self, window: Window) -> tuple[str, str | Script, tuple[Piece, ...]]:
        """The kind of a window, its script, and the lines that this is made of."""
        own = self.plan.said(window.start, window.end) if self.task is Task.JOINT else ()
        if not own:
            return "background", "", ()
        if isinstance(self.script, Script):
            if len(self.plan.windows) == 1:
                return "lines", self.script, own
            origin = self.model.config.clock.duration(window.context)
            lines = (
                replace(p.said, start=(p.said.start or 0.0) + origin, end=(p.said.end or 0.0) + origin) for p in own
            )
            return "lines", Script(tuple(lines)), own
        if len(self.plan.windows) == 1:
            return "words", self.script, own
        # What is heard of the window before is said once more, so that words and sound go together.
        return "words", " ".join(p.said.text for p in self.plan.said(window.first, window.end)), own

    def _voices(self, pieces: Sequence[Piece]) -> dict[str, Voice]:
        """By name, in the case of the script, those who speak in a window."""
        found = ((piece.planned.speaker, voice_of(piece.planned, self.voices)) for piece in pieces)
        return {name: voice for name, voice in found if voice is not None}

    def _rerolls(self, script: str | Script, pieces: Sequence[Piece]) -> dict[int, int]:
        """Seeds by which the lines of a window's script have those that they have in the whole."""
        assert isinstance(script, Script)
        assert isinstance(self.script, Script)
        if len(self.plan.windows) == 1:
            return dict(self.rerolls)
        whole, local = line_seeds(self.script, self.seeds.speech, self.rerolls), line_seeds(script, 0)
        wanted = [whole[piece.planned.number - 1] for piece in pieces]
        return {n: (want - own) % 2**64 for n, (want, own) in enumerate(zip(wanted, local, strict=True), start=1)}

    def _seen(self, window: Window) -> VideoFeatures:
        """The pictures of a window's run.

        Where the shot goes on after it, a little more, for lines that begin late; other shots are not looked at, so
        that they do not matter.
        """
        if len(self.plan.windows) == 1:
            return self.features
        clock, times = self.model.config.clock, self.features.times
        start, end = clock.duration(window.first), clock.duration(window.end)
        after = self.plan.windows[window.index + 1 : window.index + 2]
        ahead = 0.0 if any(other.is_cut for other in after) else _AHEAD
        inside = ((times >= start) & (times < end + ahead)).nonzero()[:, 0]
        if not inside.numel():
            inside = (times - (start + end) / 2).abs().argmin()[None]
        first, last = int(inside[0]), int(inside[-1]) + 1
        return VideoFeatures(self.features.features[first:last], times[first:last] - start, end - start)

    def _nobody(self, inputs: WindowInputs) -> Tensor:
        """Speech codes (B, n) of a run in which nobody speaks, but for what is held."""
        held = inputs.held[:, _SPEECH]
        if self.task is not Task.JOINT:
            return torch.zeros_like(held)
        assert self.codec is not None
        silence = silence_codes(self.codec, self.model.config.clock.duration(held.shape[1]))
        return torch.where(held == FREE, silence.expand_as(held), held)


def _locks(held: Tensor, clock: FrameClock) -> list[Lock]:
    """Locks that force what is held (B, 2, n); all takes are held at the same frames."""
    locks = []
    for stream, codes in zip(STREAMS, held.unbind(1), strict=True):
        known = (codes != FREE).all(0).tolist()
        locks += [Lock(stream, codes.clamp(min=0), start, end) for start, end in _spans(known, clock)]
    return locks


def _spans(flags: Sequence[bool], clock: FrameClock) -> list[tuple[float, float]]:
    """Seconds of the frames that are flagged, one pair a run."""
    padded = [False, *flags, False]
    edges = [i for i in range(len(flags) + 1) if padded[i] != padded[i + 1]]
    return [(clock.duration(first), clock.duration(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]
