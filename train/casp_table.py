"""How well CASP finds partners: `python -m train.casp_table --checkpoint FILE --corpus corpus/test`.

The table that section 4.3 gives as three numbers, beside what they can be worth: chance k / N; what the clips'
durations alone would find, which is what a network sees that is shown padding; and what the stems' levels alone would
find, where a corpus gives both stems one level. CASP hears one window of equal length from the middle of every clip, so
that no length can be seen; then whole clips by DualScore's rule. Pairs that it was not trained on are those of another
split.

Letters: N pairs, E width of an embedding.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from dualdub_core import checkpoint
from dualdub_core.dualbench.casp import BUILTIN_CASP, Casp, StemEmbeddings, embed_stems, load_casp
from dualdub_core.dualbench.dualscore import paired_cosines
from dualdub_core.dualbench.frontends import BEATS_RATE
from dualdub_core.dualbench.intervals import Estimate, mean
from dualdub_core.dualbench.levels import rms_dbfs
from dualdub_core.errors import DualDubError, InputError
from dualdub_core.files import replacing
from dualdub_core.timing import num_samples
from dualdub_core.types import Audio

from .config import DataConfig
from .pairs import PairCorpus

KS = (1, 3, 5)
_TIE = 1e-9
_TO_AUDIO, _TO_SPEECH, _BOTH = "speech to background", "background to speech", "mean of both"

Hits = dict[int, Tensor]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Attributes:
        ranked_by: what decides which stems are near.
        direction: what is looked for by what.
        top: share of stems whose partner is among the k nearest, by k.
    """

    ranked_by: str
    direction: str
    top: dict[int, Estimate]


@dataclass(frozen=True, slots=True)
class Table:
    """What is known of one set of pairs.

    Attributes:
        corpus: folder.
        num_pairs: N, the size of the gallery.
        window: seconds that are heard of every clip.
        lines: of retrieval.
        dualscore: mean cosine of the pairs, whole clips.
        shuffled: the same of each clip's speech and the next one's background.
    """

    corpus: str
    num_pairs: int
    window: float
    lines: tuple[Line, ...]
    dualscore: Estimate
    shuffled: Estimate


@dataclass(frozen=True, slots=True)
class Pair:
    """What is kept of a clip: its length in seconds, its levels in dB, its embeddings."""

    duration: float
    speech_level: float
    background_level: float
    middle: StemEmbeddings
    whole: StemEmbeddings


def tabulate(casp: Casp, corpus: PairCorpus, name: str, *, limit: int = 0) -> Table:
    """The table of a corpus' pairs, or of the first `limit` of them.

    Raises:
        InputError: there are fewer than two.
    """
    count = min(len(corpus), limit or len(corpus))
    if count < 2:
        raise InputError(f"{name}: got {count} pairs, expected at least two; retrieval needs something to confuse")
    durations = [_seconds(corpus, index) for index in range(count)]
    window = min(casp.config.window, *durations)
    pairs = [_heard(casp, corpus, index, window) for index in range(count)]
    middle, whole = _stacked([pair.middle for pair in pairs]), _stacked([pair.whole for pair in pairs])
    length, speech_level, background_level = torch.tensor(
        [(pair.duration, pair.speech_level, pair.background_level) for pair in pairs], dtype=torch.float64
    ).T
    chance = {k: Estimate(min(1.0, k / count), min(1.0, k / count), min(1.0, k / count), count) for k in KS}
    lines = (
        Line("chance, k / N", _BOTH, chance),
        _lines("durations alone", -(length[:, None] - length).abs(), "chance")[_BOTH],
        _lines("levels alone", -(speech_level[:, None] - background_level).abs(), "chance")[_BOTH],
        *_lines(f"CASP, {window:g} s of every clip", middle.speech @ middle.audio.T, "worst").values(),
        *_lines("CASP, whole clips", whole.speech @ whole.audio.T, "worst").values(),
    )
    scores = paired_cosines(whole.speech, whole.audio)
    shuffled = paired_cosines(whole.speech, whole.audio.roll(-1, 0))
    return Table(name, count, window, lines, mean(scores.tolist()), mean(shuffled.tolist()))


def hits(similarity: Tensor, *, ties: Literal["worst", "chance"]) -> Hits:
    """Whether each row's partner, on the diagonal, is among its k nearest.

    Args:
        similarity: (N, N), larger is nearer.
        ties: "worst" puts equals before the partner, as `dualscore.retrieval` does, so that a network that answers
            the same to all finds nothing; "chance" gives the share of orders in which it is found, which does justice
            to a baseline of few values.

    Returns:
        by k, (N,) float64 in [0, 1].
    """
    own = similarity.diagonal()[:, None]
    nearer = (similarity > own + _TIE).sum(1)
    equal = ((similarity - own).abs() <= _TIE).sum(1) - 1
    if ties == "worst":
        return {k: (nearer + equal < k).double() for k in KS}
    return {k: ((k - nearer).double() / (equal + 1)).clamp(0, 1) for k in KS}


def render(tables: Sequence[Table], header: Mapping[str, Any]) -> str:
    """Markdown."""
    text = [f"CASP `{header['name']}` ({header['status']}). In brackets 95 % of draws of as many clips, one gallery."]
    for table in tables:
        text += ["", f"**{table.corpus}**: N = {table.num_pairs} pairs", ""]
        text += ["| ranked by | direction | " + " | ".join(f"top-{k}" for k in KS) + " |"]
        text += ["|---" * (2 + len(KS)) + "|"]
        for line in table.lines:
            text += [f"| {line.ranked_by} | {line.direction} | " + " | ".join(_share(line.top[k]) for k in KS) + " |"]
        score, other = (_interval(value, f"{value.value:.3f}", 1.0, 3) for value in (table.dualscore, table.shuffled))
        text += ["", f"DualScore of the pairs {score}, with another clip's background {other}."]
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the corpora given."""
    parser = argparse.ArgumentParser(prog="python -m train.casp_table", description="Retrieval table of a CASP.")
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN_CASP, help="file; the built-in one by default")
    parser.add_argument("--corpus", nargs="+", required=True, help="folders of Parquet shards with joint clips")
    parser.add_argument(
        "--limit", type=int, default=0, help="first pairs of each corpus; galleries of one size compare"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache", default=".cache/arrow", help="folder for the Arrow copies")
    options = parser.parse_args(arguments)
    try:
        header = checkpoint.read_header(options.checkpoint).info
        casp = load_casp(options.checkpoint, device=options.device)
        data = DataConfig(train="", micro_batch=1, seconds=casp.config.window, cache=options.cache)
        tables = [tabulate(casp, _pairs(folder, data), folder, limit=options.limit) for folder in options.corpus]
    except DualDubError as error:
        parser.exit(2, f"{error}\n")
    if options.json is not None:
        with replacing(options.json) as temporary:
            content = {"checkpoint": header, "tables": [asdict(table) for table in tables]}
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(render(tables, header))


def _pairs(folder: str, data: DataConfig) -> PairCorpus:
    return PairCorpus(folder, data, shortest=data.seconds, sample_rate=BEATS_RATE)


def _seconds(corpus: PairCorpus, index: int) -> float:
    speech, background, rate = corpus.pair(index)
    return min(speech.shape[0], background.shape[0]) / rate


def _heard(casp: Casp, corpus: PairCorpus, index: int, window: float) -> Pair:
    speech, background, rate = corpus.pair(index)
    length = min(speech.shape[0], background.shape[0])
    size = min(length, num_samples(window, rate))
    start = (length - size) // 2
    whole = [Audio(stem[None, None, :length], rate) for stem in (speech, background)]
    middle = [Audio(audio.waveform[..., start : start + size], rate) for audio in whole]
    return Pair(
        duration=length / rate,
        speech_level=float(rms_dbfs(whole[0])),
        background_level=float(rms_dbfs(whole[1])),
        middle=embed_stems(casp, *middle),
        whole=embed_stems(casp, *whole),
    )


def _stacked(embeddings: Sequence[StemEmbeddings]) -> StemEmbeddings:
    """All of a set, (N, E) float64."""
    return StemEmbeddings(
        speech=torch.stack([each.speech for each in embeddings]).double(),
        audio=torch.stack([each.audio for each in embeddings]).double(),
    )


def _lines(ranked_by: str, similarity: Tensor, ties: Literal["worst", "chance"]) -> dict[str, Line]:
    forth, back = hits(similarity, ties=ties), hits(similarity.T, ties=ties)
    both = {k: (forth[k] + back[k]) / 2 for k in KS}
    named = {_TO_AUDIO: forth, _TO_SPEECH: back, _BOTH: both}
    return {
        direction: Line(ranked_by, direction, {k: mean(found[k].tolist()) for k in KS})
        for direction, found in named.items()
    }


def _share(estimate: Estimate) -> str:
    return _interval(estimate, f"{100 * estimate.value:.1f} %", 100.0, 1)


def _interval(estimate: Estimate, value: str, factor: float, digits: int) -> str:
    if estimate.low == estimate.high:
        return value
    return f"{value} ({factor * estimate.low:.{digits}f} to {factor * estimate.high:.{digits}f})"


if __name__ == "__main__":
    main()
