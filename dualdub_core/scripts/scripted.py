"""Codes of a script with times: every line is sampled in its own slot, and outside of slots nobody speaks.

A line is a run of its own: its words alone as the text, its voice, the pictures of its slot, its seed. So it starts
afresh at its cue, needs no other line, and is the same again whenever these are. What it says is laid into a stream
of silence (the codec's codes of digital silence), moved so that the first sound lies on the cue. The background is a
run of its own too; neither stream depends on the other's seed.

Letters: B takes, T frames of the clip, n frames of a slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..errors import InputError
from ..generation import FREE, Watch
from ..models.dualdub import STREAMS, DualDub
from ..models.wavtokenizer import WavTokenizer
from ..pipeline import Lock, decode_codec, encode_stem, forced_codes, sample_codes
from ..progress import Progress, silent
from ..sampling import SamplingConfig, Seeds
from ..text import TextTokenizer
from ..timing import FrameClock
from ..types import Audio, Codes, Stream, Task, VideoFeatures, Voice
from .measured import heard_span, power_of
from .plan import Plan, PlannedLine, plan_script
from .rerolls import line_seeds
from .script import Script

Background = Literal["on its own", "hears the speech"]

_LATEST = 0.5  # seconds after its cue at which a line may begin to speak without losing its end
_SILENCE = 8.0  # seconds of silence that are encoded; more would cost memory and repeat itself
_SPEECH = STREAMS.index(Stream.SPEECH)


@torch.inference_mode()
def sample_script(
    model: DualDub,
    tokenizer: TextTokenizer,
    codec: WavTokenizer,
    *,
    script: Script,
    voices: Mapping[str, Voice] | None = None,
    features: VideoFeatures | None = None,
    duration: float | None = None,
    sampling: SamplingConfig | None = None,
    seeds: Seeds | None = None,
    rerolls: Mapping[int, int] | None = None,
    locks: Sequence[Lock] = (),
    background: Background = "on its own",
    batch_size: int = 1,
    progress: Progress = silent,
    watch: Watch | None = None,
) -> Codes:
    """Write both streams of a clip, or the speech alone where there is no video.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        codec: the model's; it says which codes are silence and where a line is first heard.
        script: the lines.
        voices: who speaks, by name in any case; the empty name is everyone else's. The model chooses when None.
        features: of the video; they set the duration.
        duration: seconds of the clip without a video; where the last slot ends when None.
        sampling: settings of both streams.
        seeds: one a stream, see `line_seeds`; take b of the batch uses seed + b.
        rerolls: seeds of single lines, by number from 1.
        locks: codes to hold streams to. Lines hear a locked background; a line locked all over is not sampled.
        background: sampled from the pictures alone, so that no seed of the speech changes it, or to fit the speech.
        batch_size: B takes in one run.
        progress: reports "generate"; raising from it cancels.
        watch: sees the codes of the whole clip once all lines are written, with the background as it comes.

    Raises:
        InputError: the script does not fit the clip, a speaker has no voice, or another input does not fit.
    """
    seeds = seeds or Seeds()
    plan = plan_script(script, features.duration if features is not None else duration)
    _check_codec(model, codec)
    speakers = [voice_of(line, voices) for line in plan.lines]
    clock, task = model.config.clock, Task.SPEECH if features is None else Task.JOINT
    num_frames = clock.num_frames(plan.duration)
    held = forced_codes(model, task, locks, num_frames, batch_size)
    speech = silence_codes(codec, plan.duration).expand(batch_size, -1).clone()
    slots = [_frames(clock, line, num_frames) for line in plan.lines]
    steps = _Steps(progress, sum(slot.stop - slot.start for slot in slots) + (num_frames if features else 0))
    run = _LineRun(model, tokenizer, codec, features, sampling, held, batch_size, _hum(codec))
    own_seeds = line_seeds(script, seeds.speech, rerolls)
    for line, slot, voice, seed in zip(plan.lines, slots, speakers, own_seeds, strict=True):
        if not bool((held[:, _SPEECH, slot] != FREE).all()):
            rows = run.sample(line, slot, voice, seed, steps.share(slot.stop - slot.start))
            speech[:, slot] = _laid(rows, speech[:, slot])
        steps.done(slot.stop - slot.start)
    speech = torch.where(held[:, _SPEECH] == FREE, speech, held[:, _SPEECH])
    alone = Codes(
        speech=speech,
        background=None,
        duration=plan.duration,
        clock=clock,
        codebook_size=model.config.codebook_size,
        spoken=_spoken(plan, held[:, _SPEECH], clock),
    )
    if features is None:
        return alone
    hears = background == "hears the speech"
    beds = [lock for lock in locks if lock.stream is Stream.BACKGROUND]
    written = sample_codes(
        model,
        tokenizer,
        task=Task.JOINT if hears else Task.BACKGROUND,
        features=features,
        script=script.text if hears else "",
        voice=speakers[0] if hears else None,
        sampling=sampling,
        seeds=seeds,
        locks=[*beds, Lock(Stream.SPEECH, speech)] if hears else beds,
        batch_size=batch_size,
        progress=steps.share(num_frames),
        watch=None if watch is None else _with_speech(watch, speech),
    )
    return replace(alone, background=written.background)


def _with_speech(watch: Watch, speech: Tensor) -> Watch:
    """A watch of the background's run that sees the speech (B, T) with it."""

    def told(codes: Tensor, done: int) -> None:
        both = codes.clone()
        both[:, _SPEECH, :done] = speech[:, :done].to(codes.device)
        watch(both, done)

    return told


def silence_codes(codec: WavTokenizer, duration: float) -> Tensor:
    """The codec's codes (1, T) of digital silence; those from its middle are repeated in a long clip."""
    num_frames = codec.config.clock.num_frames(duration)
    silence = Audio(torch.zeros(1, 1, 1), codec.config.sample_rate)
    codes = encode_stem(codec, silence, duration=min(duration, _SILENCE))
    edge = codes.shape[1] // 4
    if num_frames == codes.shape[1]:
        return codes
    middle = codes[:, edge:-edge]
    index = torch.arange(num_frames - edge) % middle.shape[1]
    return torch.cat((codes[:, :edge], middle[:, index]), dim=1)


def voice_of(line: PlannedLine, voices: Mapping[str, Voice] | None) -> Voice | None:
    """Who speaks a line.

    Raises:
        InputError: there are voices, but none for it.
    """
    if not voices:
        return None
    by_name = {name.casefold(): voice for name, voice in voices.items()}
    if not line.speaker and len(by_name) == 1:
        return next(iter(by_name.values()))
    voice = by_name.get(line.speaker.casefold(), by_name.get(""))
    if voice is None:
        who = f"is spoken by '{line.speaker}'" if line.speaker else "has no speaker"
        raise InputError(
            f"script: line {line.number} {who}, but the voices are {', '.join(voices)}; correct the name in the "
            "script, or add a voice of that name, or one without a name for everyone else"
        )
    return voice


@dataclass(frozen=True, slots=True)
class _LineRun:
    """What all lines share."""

    model: DualDub
    tokenizer: TextTokenizer
    codec: WavTokenizer
    features: VideoFeatures | None
    sampling: SamplingConfig | None
    held: Tensor
    batch_size: int
    hum: float

    def sample(
        self, line: PlannedLine, slot: slice, voice: Voice | None, seed: int, progress: Progress
    ) -> list[Tensor]:
        """The codes of each take (n,), from the first that is heard where the line has a cue."""
        clock = self.model.config.clock
        if self.features is None:
            seconds, features, locks = None, None, []  # speech without pictures knows its own end
        else:
            length = slot.stop - slot.start + clock.frame_at(_LATEST)
            seconds = clock.duration(length)
            times = self.features.times - clock.duration(slot.start)
            features = replace(self.features, times=times, duration=seconds)
            locks = _bed(self.held[:, STREAMS.index(Stream.BACKGROUND), slot], length, clock)
        codes = sample_codes(
            self.model,
            self.tokenizer,
            task=Task.SPEECH if features is None else Task.JOINT,
            features=features,
            script=line.text,
            voice=voice,
            duration=seconds,
            sampling=self.sampling,
            # The background of this run is not kept, and shall not make the line depend on another seed.
            seeds=Seeds(speech=seed, background=seed),
            locks=locks,
            batch_size=self.batch_size,
            progress=progress,
        )
        rows = [self._row(codes, take) for take in range(self.batch_size)]
        return [self._from_first_sound(row) if line.is_cued else row for row in rows]

    def _row(self, codes: Codes, take: int) -> Tensor:
        assert codes.speech is not None
        return codes.speech[take, : None if codes.lengths is None else codes.lengths[take]]

    def _from_first_sound(self, row: Tensor) -> Tensor:
        span = heard_span(_drafted(self.codec, row), self.codec.config.sample_rate, floor=self.hum)
        return row if span is None else row[int(span[0] * self.codec.config.clock.frame_rate) :]


def _drafted(codec: WavTokenizer, row: Tensor) -> Tensor:
    """How codes (T,) sound, (N,)."""
    config = codec.config
    seconds = config.clock.duration(len(row))
    codes = Codes(
        speech=row[None], background=None, duration=seconds, clock=config.clock, codebook_size=config.codebook_size
    )
    return decode_codec(codec, codes).speech.waveform[0, 0]


def _hum(codec: WavTokenizer) -> float:
    """Twice the power, 3 dB above the loudest 10 ms, that the codec gives back for silence; ideally next to none."""
    return 2 * float(power_of(_drafted(codec, silence_codes(codec, 1.0)[0]), codec.config.sample_rate).max())


def _bed(held: Tensor, length: int, clock: FrameClock) -> list[Lock]:
    """Locks (B, n + more) of a line's run that hold its background to what is held of the clip's (B, n)."""
    known = (held != FREE).all(0).tolist()
    codes = torch.nn.functional.pad(held.clamp(min=0), (0, length - held.shape[1]))
    return [Lock(Stream.BACKGROUND, codes, start, end) for start, end in _spans(known, clock)]


def _spoken(plan: Plan, held: Tensor, clock: FrameClock) -> tuple[tuple[float, float], ...]:
    """Where speech may be heard: in the slots, and where codes (B, T) are held to a recording."""
    slots = [(line.start, line.end) for line in plan.lines]
    return (*slots, *_spans((held != FREE).any(0).tolist(), clock))


def _spans(flags: list[bool], clock: FrameClock) -> list[tuple[float, float]]:
    """Seconds of the frames that are flagged, one pair a run."""
    padded = [False, *flags, False]
    edges = [i for i in range(len(flags) + 1) if padded[i] != padded[i + 1]]
    return [(clock.duration(first), clock.duration(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _laid(rows: Sequence[Tensor], silence: Tensor) -> Tensor:
    """Silence (B, n) with rows of any lengths at its start."""
    laid = silence.clone()
    for place, row in zip(laid, rows, strict=True):
        count = min(len(place), len(row))
        place[:count] = row[:count]
    return laid


def _frames(clock: FrameClock, line: PlannedLine, num_frames: int) -> slice:
    first = min(clock.frame_at(line.start), num_frames - 1)
    return slice(first, max(first + 1, min(clock.frame_at(line.end), num_frames)))


def _check_codec(model: DualDub, codec: WavTokenizer) -> None:
    config = codec.config
    if (config.clock, config.codebook_size) != (model.config.clock, model.config.codebook_size):
        raise InputError(
            f"script: the codec has {config.codebook_size} codes at {config.clock.frame_rate:g} Hz, the model writes "
            f"{model.config.codebook_size} at {model.config.clock.frame_rate:g} Hz; load the codec that belongs to it"
        )


class _Steps:
    """Several runs as one stage."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._before = progress, total, 0
        progress("generate", 0, total)

    def share(self, frames: int) -> Progress:
        """What the run reports that is worth so many frames."""

        def report(stage: str, done: int, total: int) -> None:
            self._progress(stage, self._before + round(frames * done / max(1, total)), self._total)

        return report

    def done(self, frames: int) -> None:
        self._before += frames
        self._progress("generate", self._before, self._total)
