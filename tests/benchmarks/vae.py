"""The VAE: snakes in pieces against whole ones, chunks against the whole clip, and memory over the clip's length.

    python tests/benchmarks/vae.py [--size mini|narrow|paper] [--seconds 10 20 40] [--rounds 7] [--json FILE]

`narrow` is the paper's geometry with a quarter of its width. Each length is decoded in a process of its own, whose
peak memory above the loaded weights is read from the system (Linux); 10 minutes of stereo is `--seconds 600`. The
sound itself (4 bytes a sample, channel and row) is part of the peak and stated beside it.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peak import forget, peak
from rounds import keep, machine, measure, ratios, table

from dualdub_core.models.oobleck import Oobleck, OobleckConfig, Snake, decode_in_chunks

ROWS = 2
"""Both stems."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("mini", "narrow", "paper"), default="mini")
    parser.add_argument("--seconds", type=float, nargs="*", default=[10.0, 20.0, 40.0])
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--chunk", type=int, help="latent frames at a time; as the model chooses when left out")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child is not None:
        print(json.dumps(_decode_and_look(options)))
        return
    values: dict[str, Any] = {"machine": machine(), "size": options.size, "bf16": options.bf16, "rows": ROWS}
    values["memory"] = [_in_a_process(seconds) for seconds in options.seconds]
    for row in values["memory"]:
        print(
            "{seconds:g} s: {extra_mb:.0f} MB above the weights ({weights_mb:.0f}), sound {sound_mb:.0f}".format(**row)
        )
    if options.rounds:
        values |= _times(options)
        print(table("snake", values["snake"], "whole"))
        print(table("10 s", values["chunks"], "whole"), f"largest difference {values['difference']:.1e}", sep="\n")
    keep(options.json, values)


def _vae(options: argparse.Namespace) -> Oobleck:
    torch.manual_seed(0)
    config = OobleckConfig.mini() if options.size == "mini" else OobleckConfig.paper()
    if options.size == "narrow":
        config = replace(config, channels=config.channels // 4)
    vae = Oobleck(config).eval().requires_grad_(False)
    del vae.encoder  # half of the weights, and the decoding needs none of them
    return vae.bfloat16() if options.bf16 else vae


def _decode_and_look(options: argparse.Namespace) -> dict[str, float]:
    vae = _vae(options)
    config, frames = vae.config, vae.config.clock.num_frames(options.child)
    latents = torch.randn(ROWS, config.latent_channels, frames)
    weights = sum(p.nbytes for p in vae.parameters())
    forget()
    before = peak()
    sound = decode_in_chunks(vae, latents, chunk_frames=options.chunk)
    found = {"seconds": options.child, "weights_mb": weights / 1e6, "sound_mb": sound.nbytes / 1e6}
    return found | {"extra_mb": (peak() - before) / 1e6}


def _in_a_process(seconds: float) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--child", str(seconds)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


@torch.inference_mode()
def _times(options: argparse.Namespace) -> dict[str, Any]:
    vae = _vae(options)
    config, frames = vae.config, vae.config.clock.num_frames(10)
    width = config.channels
    snake = Snake(width).requires_grad_(False).to(vae.decoder.conv1.weight.dtype)
    x = torch.randn(1, width, min(1 << 19, (1 << 25) // width)).to(snake.alpha.dtype)

    def whole() -> None:
        with torch.inference_mode(mode=False), torch.enable_grad():
            snake(x)

    snakes = {"whole": whole, "in pieces": lambda: snake(x), "in pieces and in place": lambda: snake(x, is_spent=True)}
    latents = torch.randn(1, config.latent_channels, frames).to(vae.decoder.conv1.weight.dtype)
    sizes = [size for size in (32, 64, 128, 256) if size < frames]
    chunked = {
        f"{size} frames": (lambda size=size: decode_in_chunks(vae, latents, chunk_frames=size)) for size in sizes
    }
    decoding = {"whole": lambda: vae.decode(latents), **chunked}
    difference = max(float((vae.decode(latents).float() - work()).abs().max()) for work in chunked.values())
    return {
        "snake": ratios(measure(snakes, rounds=options.rounds), "whole"),
        "chunks": ratios(measure(decoding, rounds=options.rounds), "whole"),
        "difference": difference,
    }


if __name__ == "__main__":
    main()
