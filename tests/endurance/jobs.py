"""What is killed: commands that write, with small inputs of their own, and which of their files grow while they run."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "workflows" / "assets"
MINI = ROOT / "dualdub_core" / "weights" / "mini.safetensors"
CLI = "dualdub_core.cli:main"
RATE = 24_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A command.

    Attributes:
        name: of the row in the table.
        words: of the command, from the folders of inputs and of results; the first is what `doomed.py` runs.
        growing: files that are written anew while the command runs, so that at a kill they need only be whole.
        ignored: files that are nobody's result.
        needs: makes the inputs.
        over: the job whose results lie in the folder already and are to be replaced.
    """

    name: str
    words: Callable[[Path, Path], Sequence[object]]
    growing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    needs: Callable[[Path], None] = lambda _: None
    over: str = ""

    def command(self, inputs: Path, out: Path, at: int = 0) -> list[str]:
        """To be started in the repository's root; `at` is the change of a file at which it dies."""
        doomed = Path(__file__).with_name("doomed.py")
        return [sys.executable, str(doomed), str(at), str(out), *map(str, self.words(inputs, out))]


def _lines(inputs: Path) -> None:
    (inputs / "lines.txt").write_text("[00:00.2] four seven\n[00:01.0] eight\n")


def _table(inputs: Path) -> None:
    shutil.copy(ASSETS / "demo.mp4", inputs / "clip.mp4")
    rows = ["name,video,script,start,length", "one,clip.mp4,four seven,0,1.0", "two,clip.mp4,eight,1,1.2"]
    (inputs / "table.csv").write_text("\n".join([*rows, "three,clip.mp4,nine,2,1.0"]) + "\n")


def _readings(inputs: Path) -> None:
    """A LibriTTS of four hums, one of them too quiet to be kept."""
    folder = inputs / "libritts" / "train-clean-100" / "19" / "198"
    folder.mkdir(parents=True, exist_ok=True)
    for number, (seconds, level) in enumerate([(1.0, 0.2), (1.2, 0.001), (0.8, 0.2), (1.1, 0.2)]):
        name = f"19_198_{number:06d}_000000"
        hum = level * np.sin(2 * np.pi * 150 * np.arange(round(seconds * RATE)) / RATE)
        soundfile.write(folder / f"{name}.wav", hum.astype(np.float32), RATE, subtype="PCM_16")
        (folder / f"{name}.normalized.txt").write_text(f"Words of number {number}.\n")


def _corpus(inputs: Path) -> None:
    """Four drawn clips in four shards."""
    sys.path.insert(0, str(ROOT))
    from train.scenes.build import Part, build
    from train.scenes.config import CorpusConfig, Kind, Split

    part = Part(kind=Kind("v2a"), split=Split("train"), num_clips=4, clips_per_shard=1)
    build(inputs / "corpus", CorpusConfig.mini(0), [part], num_workers=1)


_TRAINING = """name: endurance
folder: {out}
data: {{train: {inputs}/corpus/train, micro_batch: 2, seconds: 0.25}}
optimiser: {{max_lr: 1.0e-3, min_lr: 1.0e-5, warmup: 2, betas: [0.8, 0.99], ema: 0.999}}
num_updates: 16
log_every: 3
save_every: 2
global_batch: 2
vae:
  size: tiny
  kl: 1.0e-4
  loss: {{stft: 1.0, mel: 1.0, waveform: 10.0}}
"""


def _training(inputs: Path, out: Path) -> Sequence[object]:
    config = inputs / f"{out.parent.name}.yaml"
    config.write_text(_TRAINING.format(out=out, inputs=inputs))
    return ["train.run", config]


def _common(out: Path) -> Sequence[object]:
    return ["--voice", ASSETS / "voice.wav", "--decoder", "codec", "-q", "-o", out]


JOBS = (
    Job(
        name="generate",
        words=lambda i, o: [
            CLI, "generate", ASSETS / "demo.mp4", "--length", 1.6, "--script", f"@{i / 'lines.txt'}", "--sheet",
            *_common(o),
        ],
        needs=_lines,
    ),
    Job(
        name="retake",
        words=lambda i, o: [
            CLI, "generate", ASSETS / "demo.mp4", "--length", 1.6, "--script", f"@{i / 'lines.txt'}", "--sheet",
            "--seed", 7, "--retake", "0.4:1.0", *_common(o),
        ],
        needs=_lines,
        over="generate",
    ),
    Job(
        name="batch",
        words=lambda i, o: [CLI, "batch", i / "table.csv", *_common(o)],
        growing=("batch.json",),
        needs=_table,
    ),
    Job(
        name="batch anew",
        words=lambda i, o: [CLI, "batch", i / "table.csv", "--seed", 7, *_common(o)],
        growing=("batch.json",),
        needs=_table,
        over="batch",
    ),
    Job(
        name="long",
        words=lambda i, o: [
            CLI, "long", ASSETS / "demo.mp4", "--length", 3.0, "--window", 1.0, "--context", 0.5,
            "--script", f"@{i / 'lines.txt'}", *_common(o),
        ],
        needs=_lines,
    ),
    Job(
        name="bench",
        words=lambda i, o: [
            CLI, "bench", "--set", ROOT / "dualdub_core/dualbench/sets/dualbench-mini", "--limit", 3, "--draws", 20,
            "--decoder", "codec", "-q", "-o", o,
        ],
    ),
    Job(
        name="prepare",
        words=lambda i, o: [
            "train.prepare", "--layout", "libritts", "--root", i / "libritts", "--out", o, "--codec", MINI,
            "--rows-per-shard", 1, "--no-ray",
        ],
        needs=_readings,
    ),
    Job(
        name="precompute",
        words=lambda i, o: [
            "train.precompute", "--corpus", i / "corpus/train", "--out", o, "--codec", MINI, "--vae", MINI,
            "--video-encoder", MINI,
        ],
        needs=_corpus,
    ),
    Job(
        name="scenes",
        words=lambda i, o: ["train.scenes", "--out", o, "--clips", 4, "--clips-per-shard", 1, "--kind", "v2a"],
    ),
    Job(
        name="scenes, 2 workers",
        words=lambda i, o: [
            "train.scenes", "--out", o, "--clips", 4, "--clips-per-shard", 1, "--kind", "v2a", "--workers", 2,
        ],
    ),
    Job(
        name="train",
        words=_training,
        growing=("metrics.jsonl", "checkpoint.safetensors"),
        ignored=("state/*", "state.*/*", "log/*", "config.yaml"),
        needs=_corpus,
    ),
)  # fmt: skip
