"""Quality of the flow decoder against the number of solver steps, on recordings it was not trained on.

    python tests/benchmarks/flow_quality.py [--checkpoint FILE] [--clips 50] [--json FILE]

Stems of the built-in benchmark set become codes, those become sound again with each solver and number of steps.
Columns: `solver error`, how far the latents are from those of 64 midpoint steps, as a share of how far these are from
the source; `mel` and `stft`, distances of the sound to the recording; `mel - 64`, the first against the same of 64
steps, clip by clip, with a bootstrap 95 % interval. Rows of control: no step at all (the source is heard), and the VAE
alone (latents of the recording), which no solver can pass.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import keep, machine
from torch import Tensor

from dualdub_core.audio import MelConfig, fit_length, log_mel, to_mono, with_rate
from dualdub_core.flow import evaluation_times
from dualdub_core.media.sound import read_audio
from dualdub_core.models.dit import decode_codes
from dualdub_core.models.oobleck import decode_in_chunks
from dualdub_core.system import BUILTIN, System, load_system

SET = Path(__file__).parents[2] / "dualdub_core/dualbench/sets/dualbench-mini/clips"
STEPS = {"euler": (1, 2, 3, 4, 6, 8, 10, 16, 25, 32), "midpoint": (1, 2, 3, 4, 5, 8, 16)}
REFERENCE = ("midpoint", 64)
WINDOWS = (512, 1024, 2048)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN)
    parser.add_argument("--clips", type=int, default=50, help="of the set; each has two stems")
    parser.add_argument("--cfg", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    system = load_system(options.checkpoint, components=("codec", "decoder", "vae"), device=device)
    stems = [p for i in range(options.clips) for p in sorted(SET.glob(f"*-{i:06d}.[sb][pa]*.flac"))]
    with torch.inference_mode():
        clips = [_clip(system, path, options.cfg) for path in stems]
    rows = _rows(clips)
    print(_table(rows))
    print(_said(rows))
    keep(options.json, {"machine": machine(device), "stems": len(stems), "cfg": options.cfg, "rows": rows})


def _clip(system: System, path: Path, cfg_scale: float) -> dict[str, dict[str, float]]:
    """Distances of one stem by row."""
    codec, decoder, vae = system.codec, system.decoder, system.vae
    assert codec is not None
    assert decoder is not None
    assert vae is not None
    place = decoder.latent_mean.device
    audio = to_mono(read_audio(path))
    codes = codec.encode(with_rate(audio, codec.config.sample_rate).waveform.to(place))
    recording = with_rate(audio, vae.config.sample_rate)
    num_frames = vae.config.num_frames(recording.num_samples)

    def solved(solver: str, num_steps: int) -> Tensor:
        return decode_codes(
            decoder,
            codes,
            num_latent_frames=num_frames,
            num_steps=num_steps,
            solver=solver,  # type: ignore[arg-type]
            cfg_scale=cfg_scale,
            generator=torch.Generator().manual_seed(0),
        )

    def heard(latents: Tensor) -> dict[str, float]:
        sound = decode_in_chunks(vae, latents)[0, :1, : recording.num_samples]
        return _distances(sound, recording.waveform[0, :1, : sound.shape[-1]].cpu(), vae.config.sample_rate)

    noise = torch.randn(1, num_frames, vae.config.latent_channels, generator=torch.Generator().manual_seed(0))
    source = decoder.denormalise(decoder.source(codes, num_frames, noise.to(place)))
    reference = solved(*REFERENCE)
    way = float((reference - source).norm())

    def row(latents: Tensor) -> dict[str, float]:
        return {"solver error": float((latents - reference).norm()) / way, **heard(latents)}

    found = {"source": row(source)}
    for solver, counts in STEPS.items():
        for count in counts:
            found[f"{solver} {count}"] = row(solved(solver, count))
    found["64 steps"] = row(reference)
    stereo = fit_length(recording, vae.config.num_samples(num_frames)).waveform
    stereo = stereo.expand(1, vae.config.audio_channels, -1).to(place)
    found["VAE alone"] = heard(vae.encode(stereo))
    return found


def _distances(sound: Tensor, recording: Tensor, sample_rate: int) -> dict[str, float]:
    """Mean absolute differences of log-mel bands and of log magnitudes at three resolutions, both in nepers."""
    config = MelConfig(sample_rate=sample_rate, n_fft=1024, hop_length=256, n_mels=80, floor=1e-3)
    mel = (log_mel(sound, config) - log_mel(recording, config)).abs().mean()
    stft = torch.stack([(_log_stft(sound, size) - _log_stft(recording, size)).abs().mean() for size in WINDOWS])
    return {"mel": float(mel), "stft": float(stft.mean())}


def _log_stft(sound: Tensor, size: int) -> Tensor:
    spectrum = torch.stft(sound, size, size // 4, window=torch.hann_window(size), return_complex=True)
    return spectrum.abs().clamp(min=1e-3).log()


def _rows(clips: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    draws = np.random.default_rng(0).integers(len(clips), size=(2000, len(clips)))
    rows = []
    for name in clips[0]:
        solver, _, count = name.partition(" ")
        evaluations = len(evaluation_times(int(count), solver)) if solver in STEPS else None  # type: ignore[arg-type]
        row: dict[str, Any] = {"name": name, "evaluations": evaluations}
        for column in clips[0][name]:
            row[column] = float(np.mean([clip[name][column] for clip in clips]))
        paired = np.array([clip[name]["mel"] - clip["64 steps"]["mel"] for clip in clips])
        low, high = np.quantile(paired[draws].mean(1), (0.025, 0.975))
        row |= {"mel - 64": float(paired.mean()), "low": float(low), "high": float(high)}
        rows.append(row)
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| | evaluations | solver error | mel | stft | mel - 64 [95 %] |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        error = f"{row['solver error']:.4f}" if "solver error" in row else "-"
        paired = f"{row['mel - 64']:+.4f} [{row['low']:+.4f}..{row['high']:+.4f}]"
        distances = f"{row['mel']:.4f} | {row['stft']:.4f} | {paired}"
        lines.append(f"| {row['name']} | {row['evaluations'] or '-'} | {error} | {distances} |")
    return "\n".join(lines)


def _said(rows: list[dict[str, Any]], margin: float = 0.01) -> str:
    """The fewest evaluations that are as good as 64 steps, and those whose solution is as exact as a hundredth."""
    by_cost: Callable[[dict[str, Any]], Any] = lambda row: (row["evaluations"], row["name"])  # noqa: E731
    solved = sorted((row for row in rows if row["evaluations"]), key=by_cost)
    good = next((row["name"] for row in solved if row["high"] <= margin), "none")
    exact = next((row["name"] for row in solved if row["solver error"] <= margin), "none")
    return (
        f"fewest evaluations with a mel distance at most {margin} above that of 64 steps, 95 % sure: {good}\n"
        f"fewest whose solution is within {margin:.0%} of the way from that of 64 steps: {exact}"
    )


if __name__ == "__main__":
    main()
