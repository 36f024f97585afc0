"""Between ComfyUI and the core: sockets to types and back, models, progress, words on a node."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from comfy import model_management
from comfy.cli_args import args
from comfy.model_patcher import ModelPatcher
from comfy.ops import disable_weight_init
from comfy.utils import ProgressBar
from comfy_api.latest import InputImpl, Types, io, ui
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import nn

from ..dualdub_core import checkpoint
from ..dualdub_core.audio import fit_length, with_rate
from ..dualdub_core.checks.inspection import kind_of
from ..dualdub_core.engine.config import EngineConfig
from ..dualdub_core.errors import CheckpointError, InputError
from ..dualdub_core.long.watching import encode_film
from ..dualdub_core.media.sound import MediaInfo, probe
from ..dualdub_core.media.video import encode_frames, frames_from_images
from ..dualdub_core.mixing.mixing import Mixed
from ..dualdub_core.models.ops import host, settle
from ..dualdub_core.progress import TimeLeft, spell_seconds
from ..dualdub_core.provenance.provenance import fingerprint
from ..dualdub_core.sampling import SamplingConfig
from ..dualdub_core.scripts.vocabulary import vocabulary_warning
from ..dualdub_core.system import load_system, preferred_sampling
from ..dualdub_core.text import TextTokenizer
from ..dualdub_core.types import Audio, Codes, Soundtrack, Stream, VideoFeatures

Model = io.Custom("DUALDUB_MODEL")
VideoEncoder = io.Custom("DUALDUB_VIDEO_ENCODER")
Codec = io.Custom("DUALDUB_CODEC")
Decoder = io.Custom("DUALDUB_DECODER")
AudioVae = io.Custom("DUALDUB_VAE")
Features = io.Custom("DUALDUB_FEATURES")
VoiceSocket = io.Custom("DUALDUB_VOICE")
CodesSocket = io.Custom("DUALDUB_CODES")
LockSocket = io.Custom("DUALDUB_LOCK")
SamplingSocket = io.Custom("DUALDUB_SAMPLING")


# Sound and pictures


def to_audio(audio: dict[str, Any] | None, what: str) -> Audio:
    """An AUDIO socket's value; None is what ComfyUI sends for a video without sound."""
    if audio is None:
        raise InputError(f"{what}: no sound on this input; the source video may have no audio track")
    return Audio(audio["waveform"].float().cpu(), audio["sample_rate"])


def from_audio(audio: Audio) -> dict[str, Any]:
    """A value for an AUDIO socket."""
    return {"waveform": audio.waveform.cpu(), "sample_rate": audio.sample_rate}


def takes(audio: Audio) -> list[Audio]:
    """The items of a batch one by one."""
    return [Audio(waveform[None], audio.sample_rate) for waveform in audio.waveform]


def to_soundtrack(speech: dict[str, Any] | None, background: dict[str, Any] | None) -> Soundtrack:
    """Two AUDIO sockets together, at the better rate and channels of the two and as long as the speech.

    So a recording from elsewhere can be laid under generated speech.
    """
    first, second = to_audio(speech, "speech"), to_audio(background, "background")
    rate = max(first.sample_rate, second.sample_rate)
    first, second = with_rate(first, rate), fit_length(with_rate(second, rate), with_rate(first, rate).num_samples)
    batch, channels, _ = torch.broadcast_shapes(first.waveform.shape, second.waveform.shape)
    return Soundtrack(*(Audio(stem.waveform.expand(batch, channels, -1), rate) for stem in (first, second)))


def from_soundtrack(soundtrack: Soundtrack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values for the two AUDIO sockets speech and background."""
    return from_audio(soundtrack.speech), from_audio(soundtrack.background)


@dataclass(frozen=True, slots=True)
class Clip:
    """The part of a file or stream that a VIDEO socket stands for; duration None is to the end."""

    source: str | BytesIO
    start: float
    duration: float | None


def to_clip(video: Any) -> Clip:  # noqa: ANN401
    """Where a VIDEO's pictures are and which part of them is meant; those made of images are encoded first."""
    if isinstance(video, InputImpl.VideoFromComponents):
        # Left to itself, ComfyUI 0.14 cannot tell the format of a stream in memory.
        stream = BytesIO()
        video.save_to(stream, format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264)
        stream.seek(0)
        return Clip(stream, 0.0, None)
    if hasattr(video, "get_active_trim_window"):
        start, duration = video.get_active_trim_window()
    else:
        # ComfyUI 0.14 to 0.22 trim without telling; those releases are finished, so the names stay.
        start = getattr(video, "_VideoFromFile__start_time", 0.0)
        duration = getattr(video, "_VideoFromFile__duration", 0.0)
        start = start if start >= 0 else max(0.0, probe(video.get_stream_source()).duration + start)
    return Clip(video.get_stream_source(), float(start), float(duration) or None)


def to_features(encoder: Any, video: Any, images: Any, fps: float) -> VideoFeatures:  # noqa: ANN401
    """What an encoder sees of a VIDEO, or of IMAGE and its frame rate."""
    if (video is None) == (images is None):
        raise InputError("encode video: connect either a video or images, and not both")
    progress = comfy_progress()
    if images is None and isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        images, fps = parts.images, float(parts.frame_rate)
    if images is not None:
        frames = frames_from_images(images, fps=fps, size=encoder.config.image_size)
        return encode_frames(encoder, frames, progress=progress)
    clip = to_clip(video)
    return encode_film(encoder, clip.source, start=clip.start, duration=clip.duration, progress=progress)


def from_clip(path: Path, start: float = 0.0, duration: float | None = None) -> Any:  # noqa: ANN401
    """A value for a VIDEO socket."""
    return InputImpl.VideoFromFile(str(path), start_time=start, duration=duration or 0.0)


def clip_info(path: Path, start: float, duration: float) -> tuple[MediaInfo, float, str]:
    """What a file is, how many seconds the clip of it lasts (0 asked is to the end), and a line for people."""
    info = probe(path)
    left = info.duration - start
    if left <= 0:
        raise InputError(f"{path.name}: the clip starts at {start} s, but the video lasts only {info.duration:.3f} s")
    seconds = min(duration or left, left)
    rate = f"{float(info.fps):.3f} fps{' on average, variable' if info.is_vfr else ''}"
    sound = "with sound" if info.has_audio else "silent"
    return info, seconds, f"{path.name}: {seconds:.3f} s, {info.width}x{info.height}, {rate}, {sound}"


def metadata_of(node: type[io.ComfyNode]) -> dict[str, str]:
    """The workflow, to be kept in a file as ComfyUI's own save nodes do."""
    if args.disable_metadata:
        return {}
    found = dict(node.hidden.extra_pnginfo or {})
    if node.hidden.prompt is not None:
        found["prompt"] = node.hidden.prompt
    return {key: json.dumps(value) for key, value in found.items()}


def container_suffix(clip: Clip, chosen: str) -> str:
    """`.mp4` and the like: as chosen, or the source's own; Matroska for an unusual one."""
    if chosen != "auto":
        return f".{chosen}"
    own = Path(clip.source).suffix.lower() if isinstance(clip.source, str) else ".mp4"
    return own if own in {".mp4", ".mov", ".mkv", ".webm"} else ".mkv"


# Progress and words on the node


_DOING = {"watch": "watching", "generate": "sampling", "decode": "decoding", "render": "rendering"}
_FIRST_WORDS, _NEXT_WORDS = 1.0, 0.5  # seconds


def cancelled(*_: object) -> None:
    """End the run if the artist cancels it; takes whatever a hook or a callback is told."""
    model_management.throw_exception_if_processing_interrupted()


class ComfyProgress:
    """The core's progress on the node's bar, with the time left in words; ends the run when the artist cancels it.

    Attributes:
        picture: to be shown on the node with the next report.
    """

    def __init__(self) -> None:
        self.picture: Image.Image | None = None
        self._bar, self._left = ProgressBar(1), TimeLeft()
        context = get_executing_context()
        self._node = None if context is None else context.node_id
        self._told = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        cancelled()
        picture, self.picture = self.picture, None
        self._bar.update_absolute(done, total, None if picture is None else ("JPEG", picture, None))
        left, now = self._left(stage, done, total), time.monotonic()
        doing = _DOING.get(stage, stage)
        if done >= total and self._told:
            self._told = 0.0
            self._tell(f"{doing} took {spell_seconds(self._left.elapsed)}")
        elif left and self._left.elapsed >= _FIRST_WORDS and now - self._told >= _NEXT_WORDS:
            self._told = now
            self._tell(f"{doing}: {100 * done // total} %, {spell_seconds(left)} left")

    def _tell(self, text: str) -> None:
        server = PromptServer.instance
        if self._node is not None:
            server.send_progress_text(text, self._node, server.client_id)


def comfy_progress() -> ComfyProgress:
    """For one run of a node."""
    return ComfyProgress()


def said(node: type[io.ComfyNode], text: str) -> ui.PreviewText:
    """Show a line on the node, and keep it in the run's record."""
    server = PromptServer.instance
    # Only to the page that asked: without its id every open page shows the line, on whatever node has this number.
    server.send_progress_text(text, node.hidden.unique_id, server.client_id)
    return ui.PreviewText(text)


def codes_text(codes: Codes) -> str:
    """What a take is, in one line."""
    streams = " + ".join(stream.value for stream in Stream if codes.stream(stream) is not None)
    takes = f"{codes.batch_size} takes of " if codes.batch_size > 1 else ""
    return f"{takes}{codes.duration:.3f} s, {streams}, {codes.num_frames} frames"


def soundtrack_text(soundtrack: Soundtrack) -> str:
    """How long stems are, in one line."""
    return f"{soundtrack.num_samples} samples a stem at {soundtrack.sample_rate} Hz"


def mix_text(mixed: Mixed) -> str:
    """Loudness, peak and limiting, a line for each take."""
    values = zip(mixed.lufs.tolist(), mixed.true_peak_db.tolist(), mixed.gain_reduction_db.tolist(), strict=True)
    return "\n".join(
        f"{lufs:.1f} LUFS, true peak {peak:.1f} dBTP, limiter {'off' if not less else f'up to {less:.1f} dB'}"
        for lufs, peak, less in values
    )


# Models


@dataclass(frozen=True, slots=True)
class Managed:
    """A module whose place in memory ComfyUI decides.

    Attributes:
        patcher: holds it.
        name: of its file or checkpoint.
        is_trained: False where the file says that its weights are untrained.
        fingerprint: of its file.
        tokenizer: of the language model.
        info: of its checkpoint.
        codec: that came with a language model, for drafts of what it writes.
    """

    patcher: ModelPatcher
    name: str
    is_trained: bool = True
    tokenizer: TextTokenizer | None = None
    fingerprint: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    codec: "Managed | None" = None

    @property
    def config(self) -> Any:  # noqa: ANN401
        """The module's configuration."""
        return self.patcher.model.config

    @property
    def warning(self) -> str:
        """A line for people about weights that were never trained; empty for others."""
        if self.is_trained:
            return ""
        return f"\nUNTRAINED weights ({self.name}): what comes out is noise."

    @property
    def preferred_sampling(self) -> SamplingConfig:
        """How its checkpoint prefers to be sampled."""
        return preferred_sampling(self.info)

    def warning_about(self, *texts: str) -> str:
        """The same, or a line about words that the model was never taught; empty where all is well."""
        unknown = vocabulary_warning(texts, self.info)
        return self.warning or (f"\n{unknown}" if unknown else "")


def manage(module: nn.Module | None, **facts: Any) -> Managed | None:  # noqa: ANN401
    """Hand a module to ComfyUI's memory management; None, a part that a checkpoint lacks, stays None."""
    if module is None:
        return None
    # One call of a network can last longer than an artist waits for Cancel; one layer of it hardly can.
    for layer in module.modules():
        if next(layer.children(), None) is None:
            layer.register_forward_pre_hook(cancelled)
    device, offload = model_management.get_torch_device(), model_management.unet_offload_device()
    # ComfyUI's own layers, so that on a small card it may keep some of them elsewhere and stream their weights.
    module = host(module.to(offload), disable_weight_init)
    return Managed(ModelPatcher(module, load_device=device, offload_device=offload), **facts)


def on_device(**parts: Managed | None) -> tuple[Any, ...]:
    """The modules, all at once ready on the device where they run.

    ComfyUI loads them whole or, where memory is short, in part, and streams the rest; what it cannot stream is moved
    here.
    """
    missing = [name.replace("_", " ") for name, part in parts.items() if part is None]
    if missing:
        raise CheckpointError(f"no {missing[0]} on this input: the checkpoint has none; load one with its own loader")
    patchers = [part.patcher for part in parts.values() if part is not None]
    model_management.load_models_gpu(patchers)
    return tuple(settle(patcher.model, patcher.load_device) for patcher in patchers)


def load_checkpoint(path: Path, precision: str) -> tuple[list[Managed | None], str]:
    """The parts of a DualDub checkpoint in the order of `checkpoint.COMPONENTS`, and a line for people."""
    header = checkpoint.read_header(path)
    system = load_system(path, precision=precision, runs_on=model_management.get_torch_device())
    if system.model is not None:
        system.model.engine = EngineConfig(graphs=not getattr(args, "disable_cuda_graphs", False))  # not in 0.14
    facts: dict[str, Any] = {"name": str(header.info["name"]), "is_trained": header.is_trained}
    facts["fingerprint"] = fingerprint(path)
    facts |= {"tokenizer": system.tokenizer, "info": header.info}
    parts = {component: manage(getattr(system, component), **facts) for component in checkpoint.COMPONENTS}
    if parts["model"] is not None:
        parts["model"] = replace(parts["model"], codec=parts["codec"])
    held = ", ".join(name.replace("_", " ") for name in header.configs)
    warning = next((part.warning for part in parts.values() if part is not None), "")
    return list(parts.values()), f"{header.info['name']}{warning}\n{held}"


def load_part(component: str, path: Path, published: Any = None) -> Managed | None:  # noqa: ANN401
    """One part: of a checkpoint of ours or, read by `published`, of weights that others published."""
    if published is not None and (path.suffix != ".safetensors" or kind_of(path) == "other"):
        return manage(published(path), name=path.name, fingerprint=fingerprint(path))
    header = checkpoint.read_header(path)
    system = load_system(path, components=(component,))
    facts = {"name": str(header.info["name"]), "is_trained": header.is_trained, "fingerprint": fingerprint(path)}
    return manage(getattr(system, component), **facts)
