"""Corpus rows to prepared rows: codes, latents and video features, by stage functions in a plain loop.

python -m train.precompute --corpus CORPUS/train --out PREPARED/train --codec codec.safetensors ...

Every row that is left out stands in `left_out.jsonl` with the reason. Shards that are done are kept, so a run
that stopped is continued, and a shard is written whole or not at all. Rows that were prepared before may be the
corpus: they keep what they have, so that features can be added to codes later.
Letters: N samples, F video frames, T frames of a stream, Z latent channels.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from dualdub_core import checkpoint
from dualdub_core.audio import resample
from dualdub_core.errors import DualDubError, InputError
from dualdub_core.files import replacing
from dualdub_core.models.clip import ClipVideoEncoder
from dualdub_core.models.oobleck import Oobleck
from dualdub_core.models.wavtokenizer import WavTokenizer
from dualdub_core.timing import num_samples, video_feature_times
from dualdub_core.types import Stream, Task

from .rows import PREPARED, Row, flac, halves, pictures, shards, sound

LEVEL_DB = -40.0
"""Full-scale level below which a stem counts as silent (paper, section 4.2)."""

_MARK = b"dualdub_prepared"
_ROWS_TOGETHER = 50
_VOICE_FLOOR_DB, _VOICE_MARGIN = -40.0, 0.05

Stage = Callable[["Item"], "Item"]


class LeftOut(Exception):  # noqa: N818, it is no error
    """A row that training shall not see; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Item:
    """A row on its way.

    Attributes:
        row: as read.
        stems: mono sounds (N,) by stream, those that the row's task has.
        sample_rate: of the stems, Hz.
        made: columns of PREPARED so far.
    """

    row: Row
    stems: Mapping[Stream, Tensor]
    sample_rate: int
    made: dict[str, Any]

    @property
    def task(self) -> Task:
        """What the row is for."""
        return Task(self.row["task"])

    def having(self, **made: Any) -> "Item":  # noqa: ANN401
        """The item with further columns."""
        return replace(self, made=self.made | made)


def read(row: Row) -> Item:
    """Decode a row's stems and keep what was prepared before."""
    made = {name: row[name] for name in PREPARED.names if row.get(name) is not None}
    if "frames" in made:
        made["feature_times"] = video_feature_times(row["duration"])[: row["frames_shape"][0]].tolist()
    stems, rate = {}, 0
    for stream in Task(row["task"]).streams:
        if row.get(f"{stream.value}_flac") is not None:
            stems[stream], rate = sound(row[f"{stream.value}_flac"])
    return Item(row, stems, rate, made)


def check(item: Item) -> Item:
    """Leave out rows that lack what their task needs, or have a silent stem."""
    for stream in item.task.streams:
        if stream not in item.stems:
            if f"codes_{stream.value}" in item.made:
                continue
            raise LeftOut(f"no {stream.value}")
        level = level_db(item.stems[stream])
        if level < LEVEL_DB:
            raise LeftOut(f"{stream.value} is at {level:.1f} dB, below {LEVEL_DB:.0f} dB")
    if item.task is not Task.BACKGROUND and not (item.row.get("text") or "").strip():
        raise LeftOut("no text")
    return item


@dataclass(frozen=True, slots=True)
class Cut:
    """Keep at most so many seconds; only background may be cut, since words and sound would part otherwise."""

    max_seconds: float

    def __call__(self, item: Item) -> Item:
        if item.row["duration"] <= self.max_seconds:
            return item
        if item.task is not Task.BACKGROUND:
            raise LeftOut(f"{item.row['duration']:.2f} s, longer than {self.max_seconds:g} s")
        keep = num_samples(self.max_seconds, item.sample_rate)
        stems = {stream: stem[:keep] for stream, stem in item.stems.items()}
        return replace(item, stems=stems).having(duration=self.max_seconds)


@dataclass(frozen=True, slots=True)
class EncodeCodes:
    """Codes of each stem, exactly as many as cover the row's duration; and the voice.

    Attributes:
        codec: its encoder and codebook.
    """

    codec: WavTokenizer

    @torch.inference_mode()
    def __call__(self, item: Item) -> Item:
        config = self.codec.config
        samples = num_samples(item.made["duration"], config.sample_rate)
        made: dict[str, Any] = {"num_frames": config.clock.num_frames_of_samples(samples)}
        for stream, stem in item.stems.items():
            waveform = _fitted(resample(stem, item.sample_rate, config.sample_rate), samples)
            codes = self.codec.encode(_like(waveform[None, None], self.codec))
            made[f"codes_{stream.value}"] = codes[0].cpu().tolist()
        return item.having(**made)


@dataclass(frozen=True, slots=True)
class EncodeLatents:
    """The VAE's means for each stem."""

    vae: Oobleck

    @torch.inference_mode()
    def __call__(self, item: Item) -> Item:
        config = self.vae.config
        samples = num_samples(item.made["duration"], config.sample_rate)
        made: dict[str, Any] = {"latent_channels": config.latent_channels}
        for stream, stem in item.stems.items():
            waveform = _fitted(resample(stem, item.sample_rate, config.sample_rate), samples)
            latents = self.vae.encode(_like(waveform.expand(1, config.audio_channels, -1), self.vae))
            made[f"latents_{stream.value}"] = halves(latents[0])
        return item.having(**made)


@dataclass(frozen=True, slots=True)
class EncodePictures:
    """What the video encoder sees in each picture."""

    encoder: ClipVideoEncoder

    @torch.inference_mode()
    def __call__(self, item: Item) -> Item:
        pixels = pictures(item.row)
        if item.task is Task.SPEECH:
            return item
        if pixels is None:
            raise LeftOut("no pictures")
        size = self.encoder.config.image_size
        if tuple(pixels.shape[-2:]) != (size, size):
            raise InputError(f"pictures are {tuple(pixels.shape[-2:])}, the video encoder expects {size} x {size}")
        device = next(self.encoder.parameters()).device
        return item.having(features=halves(self.encoder(pixels.to(device))))


def cut_voice(item: Item) -> Item:
    """The speech without the silence before and after it, as a reference for other rows of the speaker."""
    speech = item.stems.get(Stream.SPEECH)
    if speech is None:
        return item
    step = item.sample_rate // 100
    blocks = speech[: len(speech) // step * step].view(-1, step).square().mean(1).sqrt()
    loud = (blocks > blocks.max() * 10 ** (_VOICE_FLOOR_DB / 20)).nonzero()[:, 0]
    margin = round(_VOICE_MARGIN * item.sample_rate)
    start, end = max(0, int(loud[0]) * step - margin), (int(loud[-1]) + 1) * step + margin
    return item.having(voice_flac=flac(speech[start:end], item.sample_rate))


def drop_pictures(item: Item) -> Item:
    """Forget the pictures: only training the video encoder reads them."""
    return replace(item, made={name: v for name, v in item.made.items() if name not in ("frames", "frames_shape")})


def level_db(stem: Tensor) -> float:
    """Root mean square of a sound (N,) in dB of full scale; -inf for silence."""
    return float(10 * stem.double().square().mean().log10())


def prepare(rows: Iterator[Row], stages: Sequence[Stage]) -> Iterator[tuple[dict[str, Any] | None, str, str]]:
    """Take rows through the stages: (columns or None, id, reason why not)."""
    for row in rows:
        try:
            item = read(row)
            for stage in stages:
                item = stage(item)
        except LeftOut as reason:
            yield None, row["id"], str(reason)
        else:
            yield item.made, row["id"], ""


def run(
    source: Path, target: Path, stages: Sequence[Stage], *, mark: Mapping[str, Any], every: int = 1
) -> dict[str, int]:
    """Prepare the shards of a folder that were not prepared with this mark; the counts of kept and left-out rows.

    `every` takes each so many-th shard, where a share of the corpus is enough.
    """
    kept, left_out = 0, []
    for path in tqdm(shards(source)[::every], unit="shard"):
        out = target / path.relative_to(source)
        wanted = {**mark, "source": hashlib.sha256(path.read_bytes()).hexdigest()}
        found = _mark_of(out)
        if found is None or found["mark"] != wanted:
            found = _prepare_shard(path, out, stages, wanted)
        kept += found["kept"]
        left_out += found["left_out"]
    with replacing(target / "left_out.jsonl") as temporary, temporary.open("w", encoding="utf-8") as report:
        report.writelines(json.dumps({"id": i, "reason": r}) + "\n" for i, r in left_out)
    return {"kept": kept, "left_out": len(left_out)}


def _prepare_shard(path: Path, out: Path, stages: Sequence[Stage], mark: Mapping[str, Any]) -> dict[str, Any]:
    kept, left_out = [], []
    with pq.ParquetFile(path) as file:
        rows = (row for batch in file.iter_batches(batch_size=_ROWS_TOGETHER) for row in batch.to_pylist())
        for made, identity, reason in prepare(rows, stages):
            if made is None:
                left_out.append((identity, reason))
            else:
                kept.append(made)
    found = {"mark": dict(mark), "kept": len(kept), "left_out": left_out}
    table = pa.Table.from_pylist(kept, schema=PREPARED.with_metadata({_MARK: json.dumps(found).encode()}))
    with replacing(out) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROWS_TOGETHER)
    return found


def _mark_of(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    metadata = pq.read_schema(path).metadata or {}
    found: dict[str, Any] | None = json.loads(metadata[_MARK]) if _MARK in metadata else None
    return found


def _fitted(waveform: Tensor, samples: int) -> Tensor:
    return F.pad(waveform[:samples], (0, max(0, samples - waveform.shape[0])))


def _like(waveform: Tensor, module: torch.nn.Module) -> Tensor:
    return waveform.to(next(module.parameters()))


def stages_of(
    files: Mapping[str, Path | None], *, max_seconds: float, keep_pictures: bool, device: str
) -> tuple[list[Stage], dict[str, Any]]:
    """The stages for the parts whose checkpoints are given, and the mark of what they make."""
    stages: list[Stage] = [check, Cut(max_seconds)]
    mark: dict[str, Any] = {"max_seconds": max_seconds, "keep_pictures": keep_pictures}
    for component, path in files.items():
        if path is None:
            continue
        mark[component] = hashlib.sha256(path.read_bytes()).hexdigest()
        module = checkpoint.load(path, components=[component], dtype=torch.float32, device=device).modules[component]
        if isinstance(module, WavTokenizer):
            stages += [EncodeCodes(module), cut_voice]
        elif isinstance(module, Oobleck):
            stages.append(EncodeLatents(module))
        elif isinstance(module, ClipVideoEncoder):
            stages.append(EncodePictures(module))
    if not keep_pictures:
        stages.append(drop_pictures)
    return stages, mark


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare a folder of a corpus."""
    parser = argparse.ArgumentParser(
        prog="python -m train.precompute",
        description="Turn corpus rows into prepared rows: codes, latents, video features.",
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of Parquet shards")
    parser.add_argument("--out", type=Path, required=True, help="folder for the prepared shards")
    parser.add_argument("--codec", type=Path, help="checkpoint with the codec: codes and voices")
    parser.add_argument("--vae", type=Path, help="checkpoint with the VAE: latents")
    parser.add_argument("--video-encoder", type=Path, help="checkpoint with the video encoder: features")
    parser.add_argument("--keep-pictures", action="store_true", help="for training the video encoder")
    parser.add_argument("--max-seconds", type=float, default=10.0, help="longest clip (default 10)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth shard (default: all)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    files = {"codec": options.codec, "vae": options.vae, "video_encoder": options.video_encoder}
    try:
        stages, mark = stages_of(
            files,
            max_seconds=options.max_seconds,
            keep_pictures=options.keep_pictures,
            device=options.device,
        )
        counts = run(options.corpus, options.out, stages, mark=mark, every=max(1, options.every))
    except DualDubError as error:
        parser.exit(2, f"{error}\n")
    print(f"{options.out}: {counts['kept']} rows, {counts['left_out']} left out (see left_out.jsonl)")


if __name__ == "__main__":
    main()
