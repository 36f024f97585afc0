"""Joins trained parts into the one checkpoint that the package loads.

python -m train.assemble --out mini.safetensors --name "DualDub mini" --model runs/mini/language_3 ...
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dualdub_core import checkpoint
from dualdub_core.checkpoint import COMPONENTS
from dualdub_core.config import to_dict
from dualdub_core.errors import CheckpointError, DualDubError
from dualdub_core.models.wavtokenizer import WavTokenizer
from dualdub_core.sampling import SamplingConfig

from .scenes.words import VOCABULARY


def assemble(
    files: Mapping[str, Path], *, name: str, provenance: Mapping[str, Any]
) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Load each component from its file and say where it came from.

    Returns:
        the modules and the checkpoint's info.

    Raises:
        CheckpointError: a part is untrained, or parts do not fit together.
    """
    modules: dict[str, nn.Module] = {}
    origins: dict[str, Any] = {}
    for component, path in files.items():
        loaded = checkpoint.load(path, components=[component], dtype=torch.float32)
        if not loaded.header.is_trained:
            raise CheckpointError(f"{path}: its {component} is not trained; train it, or leave it out")
        modules[component] = loaded.modules[component]
        origins[component] = dict(loaded.header.info)
    check_fit(modules)
    info = {"name": name, "status": checkpoint.TRAINED, "parts": origins, "provenance": dict(provenance)}
    return modules, info


def check_fit(modules: Mapping[str, nn.Module]) -> None:
    """Refuse parts that would not understand each other's codes, features or latents.

    Raises:
        CheckpointError: they differ in clock, codebook or width.
    """
    configs: dict[str, Any] = {component: module.config for component, module in modules.items()}
    facts: dict[str, dict[str, Any]] = {"codes": {}, "codebook": {}, "latents": {}, "features": {}}
    if "model" in configs:
        facts["codes"]["model"] = configs["model"].clock
        facts["codebook"]["model"] = configs["model"].codebook_size
        facts["features"]["model"] = configs["model"].video_width
    if "codec" in configs:
        facts["codes"]["codec"] = configs["codec"].clock
        facts["codebook"]["codec"] = configs["codec"].codebook_size
    if "decoder" in configs:
        facts["codes"]["decoder"] = configs["decoder"].code_clock
        facts["codebook"]["decoder"] = configs["decoder"].codebook_size
        facts["latents"]["decoder"] = (configs["decoder"].latent_clock, configs["decoder"].latent_channels)
    if "vae" in configs:
        facts["latents"]["vae"] = (configs["vae"].clock, configs["vae"].latent_channels)
    if "video_encoder" in configs:
        facts["features"]["video encoder"] = configs["video_encoder"].projection_dim
    for what, by_part in facts.items():
        if len(set(by_part.values())) > 1:
            raise CheckpointError(f"parts do not fit: {what} differ, {by_part}; take parts of one training")


def write(path: Path, modules: Mapping[str, nn.Module], info: Mapping[str, Any], *, dtype: torch.dtype) -> None:
    """Write parameters in `dtype`, except what decides codes: the codebook and statistics stay in float32.

    Raises:
        CheckpointError: a weight is too large for the dtype.
    """
    for component, module in modules.items():
        exact = module.codebook.weight if isinstance(module, WavTokenizer) else None
        for parameter_name, parameter in module.named_parameters():
            if parameter is exact:
                continue
            parameter.data = parameter.data.to(dtype)
            if not torch.isfinite(parameter).all():
                raise CheckpointError(f"{component}.{parameter_name}: not finite in {dtype}; use --dtype float32")
    checkpoint.save(path, dict(modules), info=info)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file given."""
    parser = argparse.ArgumentParser(prog="python -m train.assemble", description="Join trained parts into one file.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16")
    parser.add_argument("--prefer", choices=["flow", "codec"], help="the decoder that was measured to sound better")
    parser.add_argument(
        "--vocabulary", action="store_true", help="it can say the procedural corpus' words and no others"
    )
    for stream in ("speech", "background"):
        parser.add_argument(
            f"--{stream}-sampling", nargs=2, type=_number, metavar=("T", "K"), help="measured best: temperature, top-k"
        )
    parser.add_argument("--guidance", type=float, help="measured best, likewise")
    parser.add_argument("--note", action="append", default=[], metavar="KEY=VALUE", help="provenance, e.g. hours=2.5")
    for component in COMPONENTS:
        parser.add_argument(f"--{component.replace('_', '-')}", type=Path, help="run folder or checkpoint")
    options = parser.parse_args(arguments)
    files = {c: _file(getattr(options, c)) for c in COMPONENTS if getattr(options, c) is not None}
    provenance = dict(note.split("=", 1) for note in options.note)
    try:
        modules, info = assemble(files, name=options.name, provenance=provenance)
        if options.prefer is not None:
            info = {**info, "preferred_decoder": options.prefer}
        if options.vocabulary:
            info = {**info, "vocabulary": list(VOCABULARY)}
        streams = {"speech": options.speech_sampling, "background": options.background_sampling}
        chosen = {
            f"{stream}_{name}": value
            for stream, values in streams.items()
            for name, value in zip(("temperature", "top_k"), values or (), strict=False)
        }
        if options.guidance is not None:
            chosen["cfg_scale"] = options.guidance
        if chosen:
            info = {**info, "preferred_sampling": to_dict(SamplingConfig().but(**chosen))}
        write(options.out, modules, info, dtype=getattr(torch, options.dtype))
    except DualDubError as error:
        parser.exit(2, f"{error}\n")
    print(f"{options.out}: {', '.join(modules)}, {options.out.stat().st_size / 1e6:.1f} MB")


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def _file(path: Path) -> Path:
    return path / "checkpoint.safetensors" if path.is_dir() else path


if __name__ == "__main__":
    main()
