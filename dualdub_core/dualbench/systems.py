"""Who is judged: our model, a folder of anyone's recordings, or the real stems; all leave files of the same names.

A take is `<id>.speech.wav`, `<id>.background.wav` and `<id>.mix.wav`, or what of these the system makes; `.flac` where
that was given. The mix is written last, so where it lies the take is whole.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import soundfile
import torch

from ..audio import fit_length, to_mono, with_rate
from ..checkpoint import read_header
from ..errors import CheckpointError, InputError
from ..files import replacing
from ..flow import evaluation_times
from ..media.sound import read_audio, write_wav
from ..media.video import read_frames
from ..mixing.mixing import MixConfig, Mixed, mix
from ..progress import Progress, silent
from ..sampling import SamplingConfig, Seeds
from ..system import BUILTIN, Decoder, System, generate, load_system
from ..types import Audio, Soundtrack, Stream, Task
from ..voice import encode_voice
from .testset import BenchClip, sha256_of

SUFFIXES = (".wav", ".flac")
MIX = "mix"


class BenchSystem(Protocol):
    """Makes soundtracks of clips."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Plain values that tell its takes from all others."""

    @property
    def streams(self) -> Sequence[Stream]:
        """The stems it leaves beside the mix; none where only the mix is known."""

    def check(self, clips: Sequence[BenchClip]) -> None:
        """Refuse what can be known to be wrong before any work.

        Raises:
            InputError: takes are missing, or settings contradict each other.
            CheckpointError: the model cannot be read.
        """

    def has(self, clip: BenchClip) -> bool:
        """Whether there is, or can be made, a take of the clip; the others are left out and counted."""

    def write(self, clip: BenchClip, folder: Path, progress: Progress = silent) -> None:
        """Leave the take of a clip in a folder, the mix last."""


def take_file(folder: Path, clip_id: str, what: str) -> Path | None:
    """The "speech", "background" or "mix" of a take, or None."""
    paths = [folder / f"{clip_id}.{what}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def stems_sum(stems: Sequence[Audio]) -> Audio:
    """Stems of any rates, channels and lengths added: at the best rate, as long as the longest."""
    rate = max(stem.sample_rate for stem in stems)
    at_rate = [with_rate(stem, rate) for stem in stems]
    length = max(stem.num_samples for stem in at_rate)
    if len({stem.waveform.shape[1] for stem in at_rate}) > 1:
        at_rate = [to_mono(stem) for stem in at_rate]
    return Audio(torch.stack([fit_length(stem, length).waveform for stem in at_rate]).sum(dim=0), rate)


@dataclass(frozen=True)
class Generated:
    """Takes of a DualDub checkpoint.

    Attributes:
        model: its file.
        decoder: "flow", or "codec" for table 4's row without the flow decoder.
        num_steps: of the flow's solver.
        sampling: of both streams.
        seed: with the clip's id it gives the seeds of a take, so neither order nor a restart matters.
        separately: background without hearing the speech and speech without the video, then added: table 5's baseline.
        device: where the models run.
        dtype: of language model and flow decoder.
    """

    model: Path = BUILTIN
    decoder: Decoder = "flow"
    num_steps: int = 10
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    seed: int = 0
    separately: bool = False
    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    streams = (Stream.SPEECH, Stream.BACKGROUND)

    @property
    def name(self) -> str:
        """The checkpoint's own name, whether it was trained, and how it is used."""
        header = read_header(self.model)
        more = [] if header.is_trained else ["UNTRAINED"]
        more += ["codec decoder"] if self.decoder == "codec" else []
        more += ["made separately and added"] if self.separately else []
        name = str(header.info.get("name", self.model.name))
        return f"{name} ({', '.join(more)})" if more else name

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """With the file's hash; the device is left out, as it changes nothing that is meant to be judged."""
        return {
            "kind": "dualdub",
            "sha256": sha256_of(self.model),
            "decoder": self.decoder,
            "steps": self.num_steps if self.decoder == "flow" else 0,
            "sampling": asdict(self.sampling),
            "seed": self.seed,
            "separately": self.separately,
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def check(self, clips: Sequence[BenchClip]) -> None:  # noqa: ARG002
        """The checkpoint is there and has the parts; the solver takes the steps."""
        evaluation_times(self.num_steps, "euler")
        header = read_header(self.model)
        needed = ("model", "video_encoder", *(("codec",) if self.decoder == "codec" else ("decoder", "vae")))
        missing = [name for name in needed if name not in header.configs]
        if missing:
            raise CheckpointError(f"{self.model.name}: has no {' and no '.join(missing)}; give a complete checkpoint")

    def has(self, clip: BenchClip) -> bool:  # noqa: ARG002
        """Of every clip."""
        return True

    def write(self, clip: BenchClip, folder: Path, progress: Progress = silent) -> None:
        """Generate."""
        mixed = self._mixed(clip, progress)
        for name, audio in (("speech", mixed.speech), ("background", mixed.background), (MIX, mixed.mix)):
            write_wav(folder / f"{clip.id}.{name}.wav", audio)

    def _mixed(self, clip: BenchClip, progress: Progress) -> Mixed:
        system = self._system
        assert system.model is not None
        assert system.video_encoder is not None
        common = {
            "sampling": self.sampling,
            "seeds": seeds_of(clip.id, self.seed),
            "decoder": self.decoder,
            "num_steps": self.num_steps,
            "progress": progress,
        }
        frames = read_frames(clip.video, size=system.video_encoder.config.image_size)
        voice = encode_voice(system.model, read_audio(clip.voice), name=clip.speaker)
        if not self.separately:
            return generate(system, frames=frames, script=clip.script, voice=voice, **common).mixed  # type: ignore[arg-type]
        background = generate(system, task=Task.BACKGROUND, frames=frames, **common).soundtrack.background  # type: ignore[arg-type]
        speech = generate(
            system,
            task=Task.SPEECH,
            script=clip.script,
            voice=voice,
            duration=frames.duration,
            **common,  # type: ignore[arg-type]
        ).soundtrack.speech
        return mix(Soundtrack(speech, background), MixConfig())

    @cached_property
    def _system(self) -> System:
        return load_system(self.model, device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class Recorded:
    """A folder of anyone's takes: `<id>.speech.wav`, `<id>.background.wav`, `<id>.mix.wav` or `<id>.wav`.

    Stems that every clip has are judged as stems; where there are none, all is judged on the mix.

    Attributes:
        folder: where they lie.
        title: for people; the folder's name when "".
        allow_missing: judge the clips that are there, and say how many are not.
    """

    folder: Path
    title: str = ""
    allow_missing: bool = False

    @property
    def name(self) -> str:
        """As given."""
        return self.title or self.folder.resolve().name

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The hash of all its sounds by name: a folder that moved is still the same."""
        found = {path.name: sha256_of(path) for path in _sounds(self.folder)}
        return {"kind": "folder", "sha256": hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()}

    @cached_property
    def streams(self) -> Sequence[Stream]:
        """Those that any clip has; `check` sees to it that all have them."""
        names = [path.stem for path in _sounds(self.folder)]
        return tuple(stream for stream in Stream if any(name.endswith(f".{stream.value}") for name in names))

    def check(self, clips: Sequence[BenchClip]) -> None:
        """Every clip has every stem, or a mix where there are no stems."""
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; expected 'dualdub', 'ground-truth' or a folder of sounds")
        missing = [f"{clip.id}{what}" for clip in clips for what in self._lacking(clip)]
        if len({name.partition(".")[0] for name in missing}) == len(clips):
            raise InputError(
                f"{self.folder}: no take of any clip; expected <id>.speech.wav and <id>.background.wav, or <id>.wav, "
                f"such as {clips[0].id}.wav"
            )
        if missing and not self.allow_missing:
            raise InputError(
                f"{self.folder}: {len(missing)} sounds are missing, such as {', '.join(missing[:3])}; add them, or "
                "give --allow-missing to judge the other clips"
            )

    def has(self, clip: BenchClip) -> bool:
        """Whether the clip's take is whole."""
        return not self._lacking(clip)

    def write(self, clip: BenchClip, folder: Path, progress: Progress = silent) -> None:  # noqa: ARG002
        """Copy the files bit by bit; a mix that is not given is the sum of the stems."""
        stems = [path for stream in self.streams if (path := take_file(self.folder, clip.id, stream.value))]
        for path in stems:
            _copy(path, folder / path.name)
        given = self._mix(clip)
        if given is not None:
            _copy(given, folder / f"{clip.id}.{MIX}{given.suffix}")
        else:
            # In floating point: a sum beyond full scale is to be found there, not cut here.
            sums = stems_sum([read_audio(path) for path in stems])
            write_wav(folder / f"{clip.id}.{MIX}.wav", sums, subtype="FLOAT")

    def _mix(self, clip: BenchClip) -> Path | None:
        plain = (self.folder / f"{clip.id}{suffix}" for suffix in SUFFIXES)
        return take_file(self.folder, clip.id, MIX) or next((path for path in plain if path.is_file()), None)

    def _lacking(self, clip: BenchClip) -> list[str]:
        if not self.streams:
            return [] if self._mix(clip) else [".wav"]
        return [f".{s.value}.wav" for s in self.streams if take_file(self.folder, clip.id, s.value) is None]


@dataclass(frozen=True)
class GroundTruth:
    """The set's own stems, judged like any system: the paper's first row."""

    name = "ground truth"
    settings: Mapping[str, Any] = field(default_factory=lambda: {"kind": "ground-truth"})
    streams = (Stream.SPEECH, Stream.BACKGROUND)

    def check(self, clips: Sequence[BenchClip]) -> None:
        """Nothing to refuse: the set was checked."""

    def has(self, clip: BenchClip) -> bool:  # noqa: ARG002
        """Of every clip."""
        return True

    def write(self, clip: BenchClip, folder: Path, progress: Progress = silent) -> None:  # noqa: ARG002
        """Copy the stems and add them."""
        stems = {"speech": clip.speech, "background": clip.background}
        for name, path in stems.items():
            _copy(path, folder / f"{clip.id}.{name}{path.suffix}")
        sums = stems_sum([read_audio(path) for path in stems.values()])
        write_wav(folder / f"{clip.id}.{MIX}.wav", sums, subtype="FLOAT")


def seeds_of(clip_id: str, seed: int) -> Seeds:
    """Seeds of a clip's take."""
    digest = hashlib.sha256(f"{seed} {clip_id}".encode()).digest()
    return Seeds(speech=int.from_bytes(digest[:4], "big"), background=int.from_bytes(digest[4:8], "big"))


def check_sounds(folder: Path, clip_id: str) -> None:
    """Refuse a take that cannot be opened, by its headers alone.

    Raises:
        InputError: it is no sound file.
    """
    for what in ("speech", "background", MIX):
        path = take_file(folder, clip_id, what)
        if path is None:
            continue
        try:
            soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise InputError(f"{path.name}: is no sound file that can be read ({error}); export it again") from error


def _sounds(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES) if folder.is_dir() else []


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
