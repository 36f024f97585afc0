"""What a run is, as frozen dataclasses read from one yaml file by the core's strict reader."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import yaml

from dualdub_core.config import from_dict, to_dict
from dualdub_core.errors import ConfigError
from dualdub_core.files import replacing

Size = Literal["tiny", "mini", "paper"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the rows are and how they become batches.

    Attributes:
        train: folder of Parquet shards; a trainer of sound reads a corpus, the others what `precompute` made.
        shards: patterns of the shards' names that the language model trains on, e.g. `words-*`; all when empty.
        validation: likewise; no validation when None.
        cache: folder for the Arrow copies.
        micro_batch: rows a process takes through the network at once.
        max_frames: code frames a micro-batch may hold at most, rows times frames; 0 = no cap.
        seconds: length of the pieces that trainers of sound and of the flow cut from clips.
        pad_to: speech-only rows are padded to a multiple of this many code frames, texts to as many ids and voices to
            as many mel frames; 1 = exact buckets. A CPU prepares bfloat16 kernels for every new length, five times
            the work itself.
        num_workers: loader processes; 0 loads in the training process.
    """

    train: str
    shards: tuple[str, ...] = ()
    validation: str | None = None
    cache: str = ".cache/arrow"
    micro_batch: int
    max_frames: int = 0
    seconds: float = 1.0
    pad_to: int = 1
    num_workers: int = 0

    def __post_init__(self) -> None:
        if self.micro_batch < 1 or self.pad_to < 1 or self.seconds <= 0 or min(self.max_frames, self.num_workers) < 0:
            raise ConfigError(f"data: {self.micro_batch=}, {self.pad_to=} and {self.seconds=} must be positive")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserConfig:
    """Adam and its schedule: warm up from `min_lr` to `max_lr`, then a cosine back to `min_lr`.

    Attributes:
        max_lr: at the end of the warm-up.
        min_lr: at the first and at the last update.
        warmup: updates.
        betas: of Adam; the paper's by default, as is `eps` (section 5.2).
        weight_decay: decoupled; 0 = plain Adam.
        clip: largest gradient norm; 0 = no clipping.
        ema: decay of the averaged weights that are validated and saved; 0 = none.
    """

    max_lr: float
    min_lr: float
    warmup: int
    betas: tuple[float, ...] = (0.9, 0.98)
    eps: float = 1e-9
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_lr <= self.max_lr or self.warmup < 0:
            raise ConfigError(
                f"optimiser: {self.min_lr=} must not exceed {self.max_lr=}, {self.warmup=} not be negative"
            )
        if len(self.betas) != 2 or not 0 <= self.ema < 1:
            raise ConfigError(f"optimiser: got {self.betas=} and {self.ema=}, expected two betas and a decay below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectralConfig:
    """How much each distance between two sounds counts.

    Attributes:
        stft: multi-resolution STFT distance.
        mel: L1 of the log-mel spectrograms.
        waveform: L1 of the samples.
    """

    stft: float = 1.0
    mel: float = 1.0
    waveform: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class CodecTraining:
    """Training of the codec, in three runs (see `trainers/codec.py`).

    Attributes:
        phase: "decoder" learns to sound the k-means tokens of log-mel frames, "encoder" to find those frames in
            the waveform, "joint" trains both through the quantiser.
        size: of a new codec.
        init: checkpoint with a codec to start from; k-means is fitted when None.
        encoder_from: checkpoint whose encoder replaces that of `init`.
        kmeans_frames: log-mel frames that k-means sees.
        kmeans_rounds: of k-means.
        commitment: weight of the encoder's distance to its code.
        distillation: weight of the encoder's distance to the log-mel frame, in the joint phase.
        codebook_decay: of the codes' moving averages, in the joint phase.
        loss: distances of the sound.
    """

    phase: Literal["decoder", "encoder", "joint"]
    size: Size
    init: str | None = None
    encoder_from: str | None = None
    kmeans_frames: int = 100_000
    kmeans_rounds: int = 20
    commitment: float = 0.25
    distillation: float = 0.1
    codebook_decay: float = 0.99
    loss: SpectralConfig = field(default_factory=SpectralConfig)


@dataclass(frozen=True, kw_only=True, slots=True)
class VaeTraining:
    """Training of the VAE.

    Attributes:
        size: of a new VAE.
        init: checkpoint with a VAE to start from.
        kl: weight of the distance of the latents from a standard normal.
        loss: distances of the sound.
    """

    size: Size
    init: str | None = None
    kl: float = 1e-4
    loss: SpectralConfig = field(default_factory=lambda: SpectralConfig(waveform=1.0))


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowTraining:
    """Training of the flow decoder on codes and latents (section 3.5).

    Attributes:
        size: of a new decoder.
        init: checkpoint with a decoder to start from.
        source_noise: see FlowDecoderConfig; 0 = the paper.
        token_condition: see FlowDecoderConfig; false = the paper.
        condition_dropout: share of rows without their condition, with `token_condition` only.
    """

    size: Size
    init: str | None = None
    source_noise: float = 0.0
    token_condition: bool = False
    condition_dropout: float = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageTraining:
    """A stage of the curriculum (section 3.4), or the video encoder inside such a task.

    Attributes:
        size: of a new model.
        stage: 1, 2 or 3 of `stages.py`.
        init: checkpoint to start from; the stage before.
        passes: how often each task's rows are seen in an epoch, by task name in the order of the stage's tasks;
            once each when empty.
        condition_dropout: share of rows without speaker, words and video, so that guidance has a contrast.
        voice_seconds: of the reference (section 3.2).
        use_aligner: false zeroes the aligner's attention: the paper's ablation.
    """

    size: Size
    stage: int
    init: str | None = None
    passes: tuple[float, ...] = ()
    condition_dropout: float = 0.0
    voice_seconds: float = 3.0
    use_aligner: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoEncoderTraining:
    """Training of the video encoder from pictures and the codes that sound with them.

    Attributes:
        size: of a new video encoder.
        init: checkpoint with a video encoder to start from.
        rows: which ones, as a stage of the curriculum says it; speech without video has nothing to teach here.
    """

    size: Size
    init: str | None = None
    rows: LanguageTraining


@dataclass(frozen=True, kw_only=True, slots=True)
class CaspTraining:
    """Training of the benchmark's CASP (section 4.3).

    Attributes:
        size: of a new CASP.
        init: checkpoint with a CASP to start from.
        beats: published BEATs file that the audio branch starts from, as in the paper; from scratch when None.
        shortest: seconds; the pieces of an update have one random length between this and the data's `seconds`.
    """

    size: Size
    init: str | None = None
    beats: str | None = None
    shortest: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One run; exactly one of the last six fields says what is trained.

    Attributes:
        name: of the run and of what it makes.
        folder: for checkpoints, log and this configuration.
        seed: of everything random.
        num_updates: optimiser steps in all; needed unless `num_epochs` is given.
        num_epochs: passes over the data.
        global_batch: rows of one update, over all processes; accumulated as needed.
        bf16: autocast the network to bfloat16; weights and losses stay float32.
        compile: fuse the network's operations by torch.compile; a CPU then needs a C++ compiler.
        log_every: updates.
        save_every: updates.
        validate_every: updates.
        validation_batches: micro-batches of one validation.
        max_minutes: stop then, saved, to be continued by the same command; 0 = no limit.
    """

    name: str
    folder: str
    seed: int = 0
    data: DataConfig
    optimiser: OptimiserConfig
    num_updates: int = 0
    num_epochs: int = 0
    global_batch: int
    bf16: bool = False
    compile: bool = False
    log_every: int = 20
    save_every: int = 500
    validate_every: int = 500
    validation_batches: int = 16
    max_minutes: float = 0.0
    codec: CodecTraining | None = None
    vae: VaeTraining | None = None
    flow: FlowTraining | None = None
    video_encoder: VideoEncoderTraining | None = None
    language: LanguageTraining | None = None
    casp: CaspTraining | None = None

    def __post_init__(self) -> None:
        given = [name for name in PARTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(f"run: expected exactly one of {list(PARTS)}, got {given}")
        if (self.num_updates > 0) == (self.num_epochs > 0):
            raise ConfigError(f"run: expected num_updates or num_epochs, got {self.num_updates} and {self.num_epochs}")
        if self.global_batch < self.data.micro_batch:
            raise ConfigError(f"run: {self.global_batch=} is smaller than a micro-batch of {self.data.micro_batch}")
        if min(self.log_every, self.save_every, self.validate_every) < 1:
            raise ConfigError("run: log_every, save_every and validate_every must be at least 1")


PARTS = ("codec", "vae", "flow", "video_encoder", "language", "casp")


def read(path: Path) -> RunConfig:
    """A run from its yaml file.

    Raises:
        ConfigError: the file is missing, not yaml, or does not describe a run.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not yaml: {error}") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected keys and values; known keys are {[f.name for f in fields(RunConfig)]}")
    return from_dict(RunConfig, values, path.name)


def write(path: Path, config: RunConfig) -> None:
    """The run with every default spelled out; `read` gives it back."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(_plain(to_dict(config)), sort_keys=False), encoding="utf-8")


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
