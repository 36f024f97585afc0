"""The run behind Gated Sampler: sampling, decoding and judging one take after another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comfy_api.latest import io

from ..dualdub_core.dualbench.scoring import Judges, Watched, score_soundtrack, watch_clip
from ..dualdub_core.errors import InputError
from ..dualdub_core.gate.gate import Thresholds, Verdict, applicable, judged
from ..dualdub_core.gate.rolling import Outcome, Roll, first_that_passes, free_streams
from ..dualdub_core.pipeline import Lock, decode_codec, decode_flow, sample_codes
from ..dualdub_core.sampling import SamplingConfig, Seeds
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.scripts.scripted import sample_script
from ..dualdub_core.types import Audio, Codes, Soundtrack, Task, VideoFeatures, Voice
from . import adapters as a
from . import origin


@dataclass(frozen=True, slots=True)
class Take:
    """One try, decoded to be judged."""

    number: int
    codes: Codes
    soundtrack: Soundtrack


@dataclass(frozen=True, kw_only=True)
class GatedRun:
    """What all takes of one run share: the node's inputs."""

    node: type[io.ComfyNode]
    model: a.Managed
    codec: a.Managed
    task: Task
    judges: Judges
    duration: float
    recording: Audio | None = None
    watched: Watched | None = None
    features: VideoFeatures | None = None
    script: str = ""
    lines: Script | None = None
    voice: Voice | None = None
    voices: Mapping[str, Voice] = field(default_factory=dict)
    sampling: SamplingConfig | None = None
    locks: Sequence[Lock] = ()
    decoder: a.Managed | None = None
    vae: a.Managed | None = None
    steps: int = 10

    def __post_init__(self) -> None:
        if (self.decoder is None) != (self.vae is None):
            raise InputError("gated sampler: got one of decoder and vae, expected both, or none to judge drafts")
        if self.lines is None:
            return
        if self.script.strip():
            raise InputError("gated sampler: got a script and lines, expected one of them; disconnect the other")
        if self.task is Task.BACKGROUND:
            raise InputError("gated sampler: got lines for a background only; choose another task or disconnect them")
        if self.task is Task.JOINT and self.features is None:
            raise InputError("gated sampler: both streams need the video's features, got none; connect Encode Video")

    @property
    def words(self) -> str:
        """What is said."""
        return self.script if self.lines is None else self.lines.text

    @property
    def cast(self) -> dict[str, Voice]:
        """Who says it, by name; the empty name is everyone else."""
        return {**({} if self.voice is None else {"": self.voice}), **self.voices}

    def applicable(self, asked: Mapping[str, float], *, has_video: bool) -> Thresholds:
        """What is asked, if it can be told."""
        given = {"has_script": bool(self.words.strip()), "has_voice": self.recording is not None}
        return applicable(Thresholds(**asked), self.task, has_video=has_video, judges=self.judges, **given)

    def outcome(self, thresholds: Thresholds, seeds: Seeds, limit: int) -> Outcome[Take]:
        """The take to go on with."""

        def judge(take: Take) -> Verdict:
            verdict = judged(self.scores(take), thresholds)
            failed = "; ".join(map(str, verdict.failures))
            a.said(self.node, f"take {take.number} of {limit}: {failed or 'passed'}")
            return verdict

        streams = free_streams(self.task, locks=self.locks, sampling=self.sampling)
        progress = a.comfy_progress()
        return first_that_passes(self.make, judge, seeds=seeds, streams=streams, limit=limit, progress=progress)

    def make(self, roll: Roll) -> Take:
        """Sample and decode."""
        codes, progress = roll.kept(self.sample(roll)), a.comfy_progress()
        if self.decoder is None:
            (codec,) = a.on_device(codec=self.codec)
            return Take(roll.number, codes, decode_codec(codec, codes, progress=progress))
        networks = a.on_device(decoder=self.decoder, vae=self.vae)
        return Take(roll.number, codes, decode_flow(*networks, codes, num_steps=self.steps, progress=progress))

    def sample(self, roll: Roll) -> Codes:
        """Write the codes, line by line where the script has times."""
        shared: dict[str, Any] = {
            "duration": self.duration or None,
            "sampling": self.sampling,
            "seeds": roll.seeds,
            "locks": (*self.locks, *roll.locks),
            "progress": a.comfy_progress(),
        }
        tokenizer, features = self.model.tokenizer, self.features
        if self.lines is None:
            (model,) = a.on_device(model=self.model)
            told = {"script": self.script, "voice": self.voice, "features": features}
            return sample_codes(model, tokenizer, task=self.task, **told, **shared)
        model, codec = a.on_device(model=self.model, codec=self.codec)
        seen = None if self.task is Task.SPEECH else features
        return sample_script(model, tokenizer, codec, script=self.lines, voices=self.cast, features=seen, **shared)

    def scores(self, take: Take) -> dict[str, Any]:
        """Its figures."""
        watched = self.watched or Watched(duration=take.codes.duration)
        told = {"script": self.words, "voice": self.recording, "judges": self.judges}
        return score_soundtrack(take.soundtrack, watched, **told).values

    def signed(self, outcome: Outcome[Take]) -> Codes:
        """The codes with what made them."""
        seeds = outcome.best.roll.seeds
        codes = origin.sampled(
            outcome.take.codes,
            self.model,
            task=self.task,
            seeds={"speech": seeds.speech, "background": seeds.background},
            script=self.script if self.lines is None else self.lines,
            voices=list(self.cast.values()),
            locks=self.locks,
            sampling=self.sampling,
        )
        assert codes.made_by is not None
        first = outcome.attempts[0].roll.seeds
        gate = {"take": outcome.best.roll.number, "speech_seed": first.speech, "background_seed": first.background}
        return replace(codes, made_by=codes.made_by.with_settings(gate=gate))


def watched(video: object) -> Watched:
    """What is seen in a video, once for all takes."""
    clip = a.to_clip(video)
    return watch_clip(clip.source, start=clip.start, duration=clip.duration, progress=a.comfy_progress())
