"""What a run would take, without data and without memory: parts on the meta device, counted."""

from dataclasses import replace

import torch
from torch import nn

from dualdub_core import checkpoint
from dualdub_core.dualbench.frontends import BEATS_RATE
from dualdub_core.models.dualdub import DualDubConfig
from dualdub_core.timing import FrameClock, num_samples

from .config import RunConfig
from .sizes import casp_config, codec_config, flow_config, language_config, vae_config, video_encoder_config
from .stages import stage_of
from .trainers.objective import train_only
from .trainers.video_encoder import SoundGuesser

_TEXT_SLOTS = 33  # speaker and a typical script
_ADAM_BYTES = 4 + 4 + 8  # weight, gradient, two moments


def estimate(config: RunConfig) -> str:
    """Lines of parameters, memory and work of a run."""
    parts, slots, width, layers = _parts(config)
    trained = sum(p.numel() for part in parts.values() for p in part.parameters() if p.requires_grad)
    frozen = sum(p.numel() for part in parts.values() for p in part.parameters() if not p.requires_grad)
    per_update = config.global_batch * slots
    # A trained weight costs a multiply-add forward and two backward for every slot.
    flops = 6 * trained * per_update
    # What a pre-norm block keeps for its backward: about 34 activations of its width a slot, at 2 or 4 bytes.
    activations = 34 * layers * width * config.data.micro_batch * slots * (2 if config.bf16 else 4)
    state = trained * (_ADAM_BYTES + (4 if config.optimiser.ema else 0)) + frozen * 4
    lines = [f"{config.name}"]
    lines += [f"  {name}: {sum(p.numel() for p in part.parameters()):,} parameters" for name, part in parts.items()]
    lines += [
        f"  trained {trained:,}, frozen {frozen:,}",
        f"  weights, gradients, Adam{' and average' if config.optimiser.ema else ''}: {state / 2**30:.2f} GiB a process"
        " (divided by the processes under FSDP)",
        f"  activations: about {activations / 2**30:.2f} GiB for {config.data.micro_batch} rows of {slots} slots",
        f"  an update: {config.global_batch} rows, {per_update:,} slots, about {flops / 1e12:,.2f} TFLOP",
        f"  length: {_length(config)}",
    ]
    return "\n".join(lines)


def _parts(config: RunConfig) -> tuple[dict[str, nn.Module], int, int, int]:
    """Modules on the meta device; slots of a row, width and layers of what costs most."""
    seconds = config.data.seconds
    if config.codec is not None:
        codec = codec_config(config.codec.size)
        slots = codec.clock.num_frames(seconds)
        return {"codec": checkpoint.build("codec", codec)}, slots, codec.backbone_width, codec.num_backbone_layers
    if config.vae is not None:
        vae = vae_config(config.vae.size)
        # Convolutions at the rate of the sound outweigh all else.
        return {"vae": checkpoint.build("vae", vae)}, round(seconds * vae.sample_rate), vae.channels, len(vae.strides)
    if config.flow is not None:
        flow = replace(
            flow_config(config.flow.size),
            source_noise=config.flow.source_noise,
            token_condition=config.flow.token_condition,
        )
        slots = flow.latent_clock.num_frames(seconds)
        return {"decoder": checkpoint.build("decoder", flow)}, slots, flow.width, flow.num_layers
    if config.casp is not None:
        casp = casp_config(config.casp.size)
        # Each branch sees only its own stem: all weights together see one piece's patches.
        slots = int(casp.beats.num_patches(torch.tensor(num_samples(seconds, BEATS_RATE))))
        return {"casp": checkpoint.build("casp", casp)}, slots, casp.beats.width, 2 * casp.beats.num_layers
    if config.video_encoder is not None:
        encoder, around = video_encoder_config(config.video_encoder.size), language_config(config.video_encoder.size)
        with torch.device("meta"):
            guesser = SoundGuesser(encoder.projection_dim, around.codebook_size + 1)
        seeing: dict[str, nn.Module] = {"video_encoder": checkpoint.build("video_encoder", encoder), "guesser": guesser}
        return seeing, _slots(around.clock, config), guesser.begin.out_features, len(guesser.layers)
    training = config.language
    assert training is not None
    language: DualDubConfig = language_config(training.size)
    parts: dict[str, nn.Module] = {"model": checkpoint.build("model", language)}
    train_only(parts["model"], stage_of(training.stage).trained)
    slots = _slots(language.clock, config) + _TEXT_SLOTS
    return parts, slots, language.llama.width, language.llama.num_layers


def _slots(clock: FrameClock, config: RunConfig) -> int:
    """Frames of a row: as many as the cap allows, or those of `seconds`."""
    if config.data.max_frames:
        return config.data.max_frames // config.data.micro_batch
    return clock.num_frames(config.data.seconds)


def _length(config: RunConfig) -> str:
    if config.num_updates:
        return f"{config.num_updates:,} updates"
    return f"{config.num_epochs} epochs (updates follow from the data)"
