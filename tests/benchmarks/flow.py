"""The flow decoder's steps: what is computed once beforehand against what the same loop costs when it is not.

    python tests/benchmarks/flow.py [--size mini|slice|paper] [--rounds 7] [--steps 10] [--json FILE]

`slice` is the paper's width with two of its eight layers. Condition of the run: both give the same latents.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from rounds import keep, machine, measure, ratios, table
from torch import Tensor

from dualdub_core.flow import evaluation_times, guide, solve
from dualdub_core.models.dit import FlowDecoder, FlowDecoderConfig, decode_codes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("mini", "slice", "paper"), default="mini")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the clip")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--cfg", type=float, default=1.0, help="other than 1 doubles the rows")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    decoder = _decoder(options.size, device)
    config = decoder.config
    codes = torch.randint(config.codebook_size, (2, config.code_clock.num_frames(options.seconds)), device=device)
    settings = {"num_latent_frames": config.latent_clock.num_frames(options.seconds), "num_steps": options.steps}
    settings["cfg_scale"] = options.cfg

    def once() -> Tensor:
        return decode_codes(decoder, codes, **settings)

    def again() -> Tensor:
        return _recomputed(decoder, codes, **settings)

    with torch.inference_mode():
        torch.testing.assert_close(once(), again(), rtol=1e-3, atol=1e-3)
        seconds = measure({"all at every step": again, "once beforehand": once}, rounds=options.rounds, device=device)
        shares = measure(_parts(decoder, codes, settings), rounds=options.rounds, device=device)
    found = ratios(seconds, "all at every step")
    parts = {name: ratios(shares, name)[name]["ms"] for name in shares}
    print(table(f"flow, {options.size}, {options.steps} steps, cfg {options.cfg:g}", found, "all at every step"))
    print("\n".join(f"{name}: {ms:.2f} ms" for name, ms in parts.items()))
    values = {"options": vars(options) | {"json": None}, "machine": machine(device), "ratios": found, "parts": parts}
    keep(options.json, values)


def _decoder(size: str, device: str) -> FlowDecoder:
    torch.manual_seed(0)
    config = FlowDecoderConfig.mini() if size == "mini" else FlowDecoderConfig.paper()
    if size == "slice":
        config = replace(config, num_layers=2)
    decoder = FlowDecoder(replace(config, token_condition=True)).to(device).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return decoder.bfloat16() if device == "cuda" else decoder


def _recomputed(
    decoder: FlowDecoder, codes: Tensor, *, num_latent_frames: int, num_steps: int, cfg_scale: float
) -> Tensor:
    """The loop as it is often written: time vectors, condition and rotary embedding at every step."""

    def velocity(z: Tensor, t: float) -> Tensor:
        condition = decoder.condition(codes, num_latent_frames)
        assert condition is not None
        if cfg_scale == 1.0:
            return decoder(z, torch.full((len(z),), t, device=z.device), condition).float()
        condition = torch.cat((condition, decoder.uncondition(condition)))
        times = torch.full((2 * len(z),), t, device=z.device)
        with_codes, without = decoder(torch.cat((z, z)), times, condition).float().chunk(2)
        return guide(with_codes, without, cfg_scale)

    z_0 = decoder.source(codes, num_latent_frames)
    return decoder.denormalise(solve(velocity, z_0.float(), num_steps=num_steps))


def _parts(decoder: FlowDecoder, codes: Tensor, settings: dict) -> dict:
    frames = settings["num_latent_frames"]
    times = torch.tensor(evaluation_times(settings["num_steps"], "euler"), device=codes.device)
    modulation, turns = decoder.modulations(times).row(0), decoder.turns(frames, codes.device)
    condition = decoder.condition(codes, frames)
    z = decoder.source(codes, frames)
    return {
        "time vectors of all steps": lambda: decoder.modulations(times),
        "condition": lambda: decoder.condition(codes, frames),
        "rotary embedding": lambda: decoder.turns(frames, codes.device),
        "one evaluation without guidance": lambda: decoder(z, modulation, condition, turns=turns),
    }


if __name__ == "__main__":
    main()
