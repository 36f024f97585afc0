"""Writes a complete mini checkpoint that nobody trained, so that the whole path runs before training has.

python -m train.untrained --out dualdub_core/weights/mini.safetensors
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dualdub_core import checkpoint
from dualdub_core.models.clip import ClipConfig, ClipVideoEncoder
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig
from dualdub_core.models.dualdub import DualDub, DualDubConfig, init_dualdub
from dualdub_core.models.oobleck import Oobleck, OobleckConfig
from dualdub_core.models.wavtokenizer import WavTokenizer, WavTokenizerConfig

NAME = "DualDub mini, untrained"


def untrained_mini(seed: int) -> dict[str, nn.Module]:
    """All five parts in float32, a function of the seed alone; torch's global generator is left as it was.

    The flow decoder starts as the identity and the VAE's last layer is small, so stems are finite and quiet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DualDub(DualDubConfig.mini())
        init_dualdub(model)
        return {
            "model": model,
            "video_encoder": ClipVideoEncoder(ClipConfig.mini()),
            "codec": WavTokenizer(WavTokenizerConfig.mini()),
            "decoder": FlowDecoder(FlowDecoderConfig.mini()),
            "vae": Oobleck(OobleckConfig.mini()),
        }


def write_untrained(path: Path, *, seed: int = 0) -> None:
    """Write the parts in float16; buffers stay in float32."""
    modules = untrained_mini(seed)
    for module in modules.values():
        for parameter in module.parameters():
            parameter.data = parameter.data.half()
    info = {"name": NAME, "status": checkpoint.UNTRAINED, "seed": seed}
    checkpoint.save(path, modules, info=info)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write_untrained(options.out, seed=options.seed)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
