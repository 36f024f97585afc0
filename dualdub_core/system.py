"""All parts of a DualDub loaded together, and the whole job in one call."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from . import checkpoint
from .audio import fit_length, to_mono, with_rate
from .config import from_dict
from .engine.int8 import to_int8
from .engine.precision import choose
from .errors import CheckpointError, InputError
from .flow import Solver
from .media.video import encode_frames
from .mixing.mixing import MixConfig, Mixed, mix
from .models.clip import ClipVideoEncoder
from .models.dit import FlowDecoder
from .models.dualdub import DualDub
from .models.oobleck import Oobleck
from .models.wavtokenizer import WavTokenizer
from .pipeline import Lock, decode_codec, decode_flow, sample_codes
from .progress import Progress, silent
from .sampling import SamplingConfig, Seeds
from .scripts.script import Script
from .scripts.scripted import Background, sample_script
from .text import TextConfig, TextTokenizer
from .types import Audio, Codes, Soundtrack, Stream, Task, VideoFrames, Voice, check_finite

BUILTIN = Path(__file__).parent / "weights" / "mini.safetensors"
"""The mini model that ships with the package."""

P = TypeVar("P")
Decoder = Literal["flow", "codec"]


@dataclass(frozen=True, slots=True)
class System:
    """What one checkpoint holds; a part it lacks is None and can come from elsewhere (`dataclasses.replace`)."""

    header: checkpoint.Header
    model: DualDub | None = None
    tokenizer: TextTokenizer | None = None
    video_encoder: ClipVideoEncoder | None = None
    codec: WavTokenizer | None = None
    decoder: FlowDecoder | None = None
    vae: Oobleck | None = None

    @property
    def preferred_decoder(self) -> Decoder:
        """What decodes unless someone chooses."""
        return preferred_decoder(self.header)

    @property
    def preferred_sampling(self) -> SamplingConfig:
        """How both streams are sampled unless someone chooses."""
        return preferred_sampling(self.header.info)


@dataclass(frozen=True, slots=True)
class Take:
    """One result, from codes to mix.

    Attributes:
        codes: as sampled.
        soundtrack: the stems as decoded.
        mixed: the stems and their sum as they leave.
        seconds: wall time of each stage.
    """

    codes: Codes
    soundtrack: Soundtrack
    mixed: Mixed
    seconds: dict[str, float] = field(default_factory=dict)


def load_system(
    path: Path | str = BUILTIN,
    *,
    components: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
    runs_on: torch.device | str | None = None,
) -> System:
    """Load a checkpoint's parts.

    Args:
        path: a DualDub checkpoint; the built-in mini model by default.
        components: names from `checkpoint.COMPONENTS`; all that the file has when None.
        device: where they go.
        dtype: of the language model and the flow decoder. The others stay in float32: lower precision changes the
            codec's codes, and in a VAE it is heard as hiss.
        precision: instead of `dtype`, one of `engine.precision.PRECISIONS`, chosen for where the model runs.
        runs_on: where that is, if not `device`, as with a host that moves models about.

    Raises:
        CheckpointError: the file or its text ranks are missing or do not fit.
        ConfigError: there is no such precision there.
    """
    dtypes = dict.fromkeys(checkpoint.COMPONENTS, torch.float32) | {"model": dtype, "decoder": dtype}
    header, chosen = checkpoint.read_header(path), None
    if precision is not None:
        chosen = choose(precision, runs_on or device, header.num_weights("model"))
        dtypes |= {"model": chosen.model, "decoder": chosen.decoder}
    others = sorted(set(header.configs) - set(checkpoint.COMPONENTS))
    if components is None and others:
        raise CheckpointError(f"{Path(path).name}: holds {', '.join(others)}, a judge of the benchmark and no model")
    loaded = checkpoint.load(path, components=components, device=device, dtype=dtypes)
    model = loaded.modules.get("model")
    tokenizer = None
    if model is not None:
        assert isinstance(model, DualDub)
        tokenizer = load_tokenizer(model.config.text, Path(path).parent)
        if tokenizer.vocab_size > model.config.text_vocab_size:
            raise CheckpointError(
                f"{Path(path).name}: its text table has {model.config.text_vocab_size} rows, encoding "
                f"'{model.config.text.encoding}' has {tokenizer.vocab_size} ids"
            )
        if chosen is not None and chosen.is_int8:
            to_int8(model)
    return System(header=loaded.header, tokenizer=tokenizer, **loaded.modules)  # type: ignore[arg-type]


def preferred_decoder(header: checkpoint.Header) -> Decoder:
    """Which decoder's sound a checkpoint was measured to be better with; the flow where it does not say."""
    preferred: Decoder = "codec" if header.info.get("preferred_decoder") == "codec" else "flow"
    return preferred


def preferred_sampling(info: Mapping[str, Any]) -> SamplingConfig:
    """The settings that a checkpoint was measured to be best with; the usual ones where it does not say.

    Args:
        info: of the checkpoint.

    Raises:
        ConfigError: they are not such settings.
    """
    config: SamplingConfig = from_dict(SamplingConfig, info.get("preferred_sampling", {}), "preferred_sampling")
    return config


def load_tokenizer(config: TextConfig, folder: Path) -> TextTokenizer:
    """The tokenizer a model names: shipped ranks, or a public encoding's ranks file beside the checkpoint."""
    if config.encoding == "mini":
        return TextTokenizer.mini()
    return TextTokenizer.public(config.encoding, folder / f"{config.encoding}.tiktoken")


def generate(
    system: System,
    *,
    task: Task = Task.JOINT,
    frames: VideoFrames | None = None,
    script: str | Script = "",
    voice: Voice | None = None,
    voices: Mapping[str, Voice] | None = None,
    duration: float | None = None,
    sampling: SamplingConfig | None = None,
    seeds: Seeds | None = None,
    rerolls: Mapping[int, int] | None = None,
    background: Background = "on its own",
    locks: Sequence[Lock] = (),
    recordings: Mapping[Stream, Audio] | None = None,
    decoder: Decoder | None = None,
    num_steps: int = 10,
    solver: Solver = "euler",
    mixing: MixConfig | None = None,
    progress: Progress = silent,
) -> Take:
    """Video, script and voice in, a mixed soundtrack out: every stage in order.

    Args:
        system: loaded parts; those the task does not need may be None.
        task: joint, background only or speech only.
        frames: from `video.read_frames`, at the encoder's size.
        script: what is said; as a `Script`, each line is sampled in its own slot (`scripted.sample_script`).
        voice: from `encode_voice` or `load_voice`; with a `Script`, of everyone without a voice of their own.
        voices: by speaker's name, for a `Script`.
        duration: seconds, for speech only; ends on its own when None.
        sampling: settings of both streams; what the checkpoint prefers when None.
        seeds: one a stream; the background's also draws the source noise of a flow decoder that has it.
        rerolls: seeds of single lines of a `Script`, by number from 1.
        background: with a `Script`, whether the background is sampled to fit the speech.
        locks: codes to hold streams to.
        recordings: what locked streams were encoded from; they are the stems, since decoding their codes again would
            only lose quality.
        decoder: "flow" (section 3.5), or "codec" for a fast draft; the one that the checkpoint prefers when None.
        num_steps: of the flow's solver.
        solver: "euler" or "midpoint".
        mixing: gains, ducking, loudness and ceiling.
        progress: told of every stage; raising from it cancels.

    Raises:
        InputError: inputs do not fit the task or each other.
        CheckpointError: the system lacks a part that the task needs.
    """
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[stage], clock = now - clock, now

    features = None
    if frames is not None and task is not Task.SPEECH:
        features = encode_frames(_part(system.video_encoder, "video encoder"), frames, progress=progress)
        lap("watch")
    model, tokenizer = _part(system.model, "model"), _part(system.tokenizer, "tokenizer")
    shared: dict[str, Any] = {
        "sampling": sampling or system.preferred_sampling,
        "seeds": seeds,
        "locks": locks,
        "progress": progress,
    }
    shared |= {"features": features, "duration": duration}
    if isinstance(script, Script) and task is not Task.BACKGROUND:
        everyone = {} if voice is None else {"": voice}
        codes = sample_script(
            model,
            tokenizer,
            _part(system.codec, "codec"),
            script=script,
            voices=everyone | dict(voices or {}),
            rerolls=rerolls,
            background=background,
            **shared,
        )
    else:
        text = script.text if isinstance(script, Script) else script
        codes = sample_codes(model, tokenizer, task=task, script=text, voice=voice, **shared)
    lap("generate")
    if (decoder or system.preferred_decoder) == "codec":
        soundtrack = decode_codec(_part(system.codec, "codec"), codes, progress=progress)
    else:
        soundtrack = decode_flow(
            _part(system.decoder, "flow decoder"),
            _part(system.vae, "VAE"),
            codes,
            num_steps=num_steps,
            solver=solver,
            seed=(seeds or Seeds()).background,
            progress=progress,
        )
    soundtrack = with_recordings(soundtrack, recordings or {})
    lap("decode")
    mixed = mix(soundtrack, mixing or MixConfig(), spoken=[codes.spoken])
    lap("mix")
    return Take(codes=codes, soundtrack=soundtrack, mixed=mixed, seconds=seconds)


def with_recordings(soundtrack: Soundtrack, recordings: Mapping[Stream, Audio]) -> Soundtrack:
    """The soundtrack with recordings in place of decoded stems, at its rate, as long as it is and as many channels."""
    stems = {Stream.SPEECH: soundtrack.speech, Stream.BACKGROUND: soundtrack.background}
    for stream, recording in recordings.items():
        check_finite(recording, f"locked {stream.value}")
        if len(recording.waveform) not in (1, len(stems[stream].waveform)):
            raise InputError(
                f"locked {stream.value}: got {len(recording.waveform)} recordings, expected 1 or as many as takes, "
                f"{len(stems[stream].waveform)}"
            )
        fitted = fit_length(with_rate(to_mono(recording), soundtrack.sample_rate), soundtrack.num_samples)
        stems[stream] = Audio(fitted.waveform.expand_as(stems[stream].waveform), soundtrack.sample_rate)
    return Soundtrack(stems[Stream.SPEECH], stems[Stream.BACKGROUND])


def _part(part: P | None, what: str) -> P:
    if part is None:
        raise CheckpointError(f"this checkpoint has no {what}; load one that has it or give the part separately")
    return part
