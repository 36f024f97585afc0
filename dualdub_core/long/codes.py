"""Codes of a clip of any length, window by window.

Each window is a run of its own: the pictures it shows, the words that are said in it, its own seed, and before them
the codes of the moments that it hears of what was written already, which are forced. A finished window is kept under
a fingerprint of all of that, so the same again is taken from there.

What follows from it, when one line of a script is changed:

- a `Script` (lines with times or names), background on its own: its window alone, since neither the background nor
  another window hears speech;
- words alone, or a background that hears the speech: its window, and those after it that hear what it wrote, up to
  the next window that starts afresh at a cut.

Letters: B takes, T frames of the clip.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..errors import InputError
from ..generation import FREE
from ..models.dualdub import STREAMS, DualDub
from ..models.wavtokenizer import WavTokenizer
from ..pipeline import Lock, forced_codes
from ..progress import Progress, silent
from ..sampling import SamplingConfig, Seeds
from ..scripts.script import Script
from ..scripts.scripted import Background, voice_of
from ..text import TextTokenizer, normalise
from ..types import Codes, Stream, Task, VideoFeatures, Voice
from .plan import LongPlan
from .runs import WindowJob
from .store import MemoryStore, WindowStore, key_of, module_id
from .windows import Window

_BACKGROUND, _SPEECH = STREAMS.index(Stream.BACKGROUND), STREAMS.index(Stream.SPEECH)
_FORMAT = "1"  # changes with what a window's codes are made of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WindowRun:
    """One window of a take: its key in the store, and whether it was there already."""

    window: Window
    key: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class LongTake:
    """Codes of the whole clip, and how its windows came about."""

    codes: Codes
    runs: tuple[WindowRun, ...]

    @property
    def text(self) -> str:
        """For people, in one line."""
        anew = [str(run.window.index + 1) for run in self.runs if not run.is_kept]
        return f"{len(self.runs)} windows, written anew: {', '.join(anew) or 'none'}"


@torch.inference_mode()
def sample_long(
    model: DualDub,
    tokenizer: TextTokenizer,
    *,
    plan: LongPlan,
    features: VideoFeatures,
    codec: WavTokenizer | None = None,
    task: Task = Task.JOINT,
    script: str | Script = "",
    voice: Voice | None = None,
    voices: Mapping[str, Voice] | None = None,
    sampling: SamplingConfig | None = None,
    seeds: Seeds | None = None,
    rerolls: Mapping[int, int] | None = None,
    locks: Sequence[Lock] = (),
    background: Background = "on its own",
    batch_size: int = 1,
    store: WindowStore | None = None,
    progress: Progress = silent,
) -> LongTake:
    """Write both streams, or the background alone, of a clip of any length.

    A clip of one window comes out as `sample_codes` or, by a `Script`, `sample_script` write it.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        plan: from `plan_long`, of the same script.
        features: of the whole video.
        codec: the model's; needed where there is a `Script`, or a window in which nobody speaks.
        task: joint or background only.
        script: what is said; as a `Script`, each line is sampled in its own slot.
        voice: who speaks, in every window.
        voices: by speaker's name, for a `Script`.
        sampling: settings of both streams.
        seeds: one a stream; the first window has them as they are, others make theirs of them and their start.
        rerolls: seeds of single lines of a `Script`, by number from 1.
        locks: codes of the whole clip to hold streams to.
        background: with a `Script`, whether the background is sampled to fit the speech.
        batch_size: B takes in one run.
        store: finished windows; those of a run that was cancelled are there too.
        progress: reports "generate"; raising from it cancels.

    Raises:
        InputError: the inputs do not fit the task, the plan, the model or each other.
    """
    everyone = ({} if voice is None else {"": voice}) | dict(voices or {})
    _check(model, plan, features, task, script, codec, everyone)
    if not everyone and task is Task.JOINT and len(plan.windows) > 1:
        logger.warning("voice: none given, each window that hears none before it chooses one; give a voice")
    clock, num_frames = model.config.clock, plan.windows[-1].end
    job = WindowJob(
        model=model,
        tokenizer=tokenizer,
        codec=codec,
        plan=plan,
        features=features,
        task=task,
        script=script,
        voice=voice,
        voices=everyone,
        sampling=sampling or SamplingConfig(),
        seeds=seeds or Seeds(),
        rerolls=rerolls or {},
        background=background,
        batch_size=batch_size,
        held=forced_codes(model, task, locks, num_frames, batch_size),
    )
    ids = {name: module_id(part) for name, part in (("model", model), ("codec", codec)) if part is not None}
    store = store if store is not None else MemoryStore()
    written = torch.full((batch_size, len(STREAMS), num_frames), FREE)
    total, before = sum(window.end - window.first for window in plan.windows), 0
    progress("generate", 0, total)
    runs = []
    for window in plan.windows:
        inputs = job.inputs(window, written)
        key = key_of({**inputs.facts(), **ids, "format": _FORMAT})
        codes = store.get(key)
        is_kept = codes is not None
        if codes is None:
            codes = job.run(inputs, _share(progress, before, window.end - window.first, total))
            store.put(key, codes)
        written[..., window.start : window.end] = codes
        runs.append(WindowRun(window, key, is_kept))
        before += window.end - window.first
        progress("generate", before, total)
    take = Codes(
        speech=written[:, _SPEECH].clone() if task is Task.JOINT else None,
        background=written[:, _BACKGROUND].clone(),
        duration=plan.duration,
        clock=clock,
        codebook_size=model.config.codebook_size,
        spoken=job.spoken(),
    )
    return LongTake(take, tuple(runs))


def _check(
    model: DualDub,
    plan: LongPlan,
    features: VideoFeatures,
    task: Task,
    script: str | Script,
    codec: WavTokenizer | None,
    voices: Mapping[str, Voice],
) -> None:
    if task is Task.SPEECH:
        raise InputError(
            "long video: got task 'speech', expected 'joint' or 'background'; use Script Sampler for speech"
        )
    if plan.clock != model.config.clock:
        raise InputError(
            f"long video: the plan counts {plan.clock.frame_rate:g} frames a second, this model writes "
            f"{model.config.clock.frame_rate:g}; plan again with this model"
        )
    if abs(plan.duration - features.duration) > 1e-3:
        raise InputError(
            f"long video: the plan is for {plan.duration:.3f} s, the video's features for {features.duration:.3f} s; "
            "plan with the same clip"
        )
    if task is Task.BACKGROUND:
        return
    if plan.lines is None:
        raise InputError("long video: the plan has no script; plan with the script, or choose the task 'background'")
    words = script.text if isinstance(script, Script) else normalise(script)
    # Where sentences end without a space, the plan has put none either.
    if "".join("".join(line.text for line in plan.lines.lines).split()) != "".join(words.split()):
        raise InputError("long video: the plan was made for another script; plan again with this one")
    if isinstance(script, Script):
        for line in plan.lines.lines:
            voice_of(line, voices)
    quiet = any(not plan.said(window.start, window.end) for window in plan.windows)
    if codec is None and (quiet or isinstance(script, Script)):
        raise InputError("long video: windows without speech need the model's codec, got none; load it")


def _share(progress: Progress, before: int, frames: int, whole: int) -> Progress:
    """What a run reports that is worth so many frames of all."""

    def report(stage: str, done: int, total: int) -> None:
        progress(stage, before + round(frames * done / max(1, total)), whole)

    return report
