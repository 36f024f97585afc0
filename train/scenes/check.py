"""Is a corpus what it claims to be? `python -m train.scenes.check DIR`: each figure beside its control.

Letters: N samples, F video frames, T frames of 5 ms.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dualdub_core.errors import DualDubError, InputError
from dualdub_core.scripts.measured import heard_span
from dualdub_core.scripts.words import place_words
from dualdub_core.timing import VIDEO_FEATURE_RATE

from .config import Kind, Split
from .face import envelope
from .shards import Row, frames_of, read_rows, stem_of
from .splits import held_out_pairs
from .voices import HELD_OUT_VOICES

FloatArray = NDArray[np.float32]

_HOP = 0.005
_TOLERANCE = 0.05


def overlaps(rows: Sequence[Row]) -> list[str]:
    """Everything that one split has in common with another and must not; empty is good.

    Phrases and layouts belong to one split; held-out word pairs and voices belong to the test split.
    """
    found = []
    phrases = {split: {p for row in rows if row["split"] == split for p in _phrases(row)} for split in _names()}
    layouts = {split: {r["layout"] for r in rows if r["split"] == split and r["layout"]} for split in _names()}
    for one, other in combinations(_names(), 2):
        found += [f"phrase {p!r} in {one} and {other}" for p in sorted(phrases[one] & phrases[other])]
        found += [f"layout {v!r} in {one} and {other}" for v in sorted(layouts[one] & layouts[other])]
    held_out = {speaker.name for speaker in HELD_OUT_VOICES}
    for row in rows:
        if row["split"] != Split.TEST.value:
            found += [f"{row['id']}: held-out pair {' '.join(pair)!r}" for pair in held_out_pairs(row["words"])]
            if row["speaker"] in held_out:
                found.append(f"{row['id']}: held-out voice {row['speaker']}")
    return found


def detect_onsets(waveform: FloatArray, sample_rate: int) -> NDArray[np.float64]:
    """Seconds at which something begins to sound in (N,), heard blindly: peaks of the spectrum's rise."""
    size, hop = 512, round(_HOP * sample_rate)
    padded = np.pad(waveform, (size, size))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectrum = np.log(np.abs(np.fft.rfft(windows * np.hanning(size)))[:, 4:] + 0.01)
    rise = np.maximum(spectrum[2:] - spectrum[:-2], 0).mean(axis=1)
    reach = round(0.06 / _HOP)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(rise, reach, mode="edge"), 2 * reach + 1)
    is_peak = (rise == around.max(axis=1)) & (rise > around.mean(axis=1) + 0.12)
    # The rise is steepest when the attack stands in the middle of the later of the two windows.
    return np.asarray((np.flatnonzero(is_peak) + 1.5) * _HOP - size / 2 / sample_rate, dtype=np.float64)


def match(truth: Sequence[float], found: Sequence[float]) -> list[float]:
    """The errors found - truth in seconds of the pairs within 50 ms, each time used once."""
    free, errors = sorted(found), []
    for time in truth:
        near = [f for f in free if abs(f - time) <= _TOLERANCE]
        if near:
            best = min(near, key=lambda f: abs(f - time))
            free.remove(best)
            errors.append(best - time)
    return errors


def visible_opening(row: Row) -> NDArray[np.float64]:
    """How much of the mouth's place in the pictures is dark (F,)."""
    frames = frames_of(row)
    assert frames is not None
    left, top, right, bottom = (round(value * frames.shape[2]) for value in row["mouth_box"])
    mouth = frames[:, top:bottom, left:right].astype(np.float64).mean(axis=-1)
    share: NDArray[np.float64] = (mouth < 60).mean(axis=(1, 2))
    return share


def heard_opening(row: Row, *, late: float = 0.0) -> NDArray[np.float64]:
    """The loudness of a row's speech at the times of its pictures (F,)."""
    speech = stem_of(row, "speech")
    assert speech is not None
    loudness = envelope(speech, sample_rate=row["sample_rate"])
    times = np.arange(row["frames_shape"][0]) / float(VIDEO_FEATURE_RATE)
    return np.interp(times - late, np.arange(len(loudness)) * _HOP, loudness)


def rms_dbfs(waveform: FloatArray) -> float:
    """Loudness of (N,) over its whole length, as DualBench's filter measures it (paper, section 4.2)."""
    return float(10 * np.log10((waveform.astype(np.float64) ** 2).mean() + 1e-12))


def report_events(rows: Sequence[Row]) -> None:
    """Print how well the background sounds when the events happen."""
    with_events = [row for row in rows if row["event_times"]]
    if not with_events:
        return
    found = []
    for row in with_events:
        background = stem_of(row, "background")
        assert background is not None
        found.append(detect_onsets(background, row["sample_rate"]).tolist())
    truths = [row["event_times"] for row in with_events]
    print(f"events against onsets heard in the background, {len(with_events)} clips, within 50 ms")
    late = [[time + 0.2 for time in times] for times in truths]
    for name, wanted in (
        ("true events", truths),
        ("another clip's", truths[1:] + truths[:1]),
        ("0.2 s late", late),
    ):
        errors = [match(one, other) for one, other in zip(wanted, found, strict=True)]
        hits = sum(map(len, errors))
        recall, precision = hits / sum(map(len, wanted)), hits / max(sum(map(len, found)), 1)
        mean = 1000 * np.mean(np.abs(np.concatenate(errors))) if hits else float("nan")
        print(f"  {name:15} recall {recall:.3f}  precision {precision:.3f}  mean |error| {mean:.1f} ms")


def report_mouths(rows: Sequence[Row]) -> None:
    """Print how well the mouth in the pictures follows the speech."""
    spoken = [row for row in rows if row["mouth_onsets"] and row["mouth_box"]]
    if not spoken:
        return
    seen = [visible_opening(row) for row in spoken]
    heard = [heard_opening(row) for row in spoken]
    late = [heard_opening(row, late=0.24) for row in spoken]
    print(f"mouth in the pictures against the speech, {len(spoken)} clips, mean correlation")
    for name, others in (
        ("its own speech", heard),
        ("another clip's", heard[1:] + heard[:1]),
        ("0.24 s late", late),
    ):
        figures = [_correlation(one, other) for one, other in zip(seen, others, strict=True)]
        print(f"  {name:15} {np.mean(figures):.3f}")
    step = 1 / float(VIDEO_FEATURE_RATE)
    errors = [
        np.argmax(opening > 0.1) * step - step / 2 - row["mouth_onsets"][0]
        for opening, row in zip(seen, spoken, strict=True)
    ]
    mean, spread = 1000 * np.mean(errors), 1000 * np.mean(np.abs(errors))
    print(f"  first open picture, less half a step of {1000 * step:.0f} ms, against the onset: ", end="")
    print(f"mean {mean:+.0f} ms, mean |error| {spread:.0f} ms")


def report_words(rows: Sequence[Row]) -> None:
    """Print how far the words of captions, which know each clip as one line, are from where they are said."""
    spoken = [row for row in rows if len(row["words"]) > 1]
    if not spoken:
        return
    errors: dict[str, list[float]] = {"estimated": [], "evenly": []}
    for row in spoken:
        stem = stem_of(row, "speech")
        assert stem is not None
        waveform, rate = torch.from_numpy(stem), row["sample_rate"]
        span = heard_span(waveform, rate)
        assert span is not None
        part = waveform[round(span[0] * rate) : round(span[1] * rate)]
        starts = {
            "estimated": [word.start for word in place_words(row["text"], part, rate, begin=span[0])],
            "evenly": np.linspace(*span, len(row["words"]), endpoint=False).tolist(),
        }
        # The first word begins with its line, however it is found.
        for name, found in starts.items():
            errors[name] += [abs(one - true) for one, true in zip(found[1:], row["word_starts"][1:], strict=True)]
    print(f"starts of words within a line, {len(errors['evenly'])} in {len(spoken)} clips, mean and median |error|")
    for name, found in errors.items():
        mean, median = 1000 * np.mean(found), 1000 * np.median(found)
        print(f"  {name:15} {mean:.0f} ms, {median:.0f} ms; within 100 ms {np.mean(np.array(found) < 0.1):.2f}")


def report_levels(rows: Sequence[Row]) -> None:
    """Print how many clips DualBench's -40 dB filter keeps."""
    for stream in ("speech", "background"):
        levels = [rms_dbfs(stem) for row in rows if (stem := stem_of(row, stream)) is not None]
        if levels:
            kept = np.mean([level >= -40 for level in levels])
            print(f"{stream}: {np.mean(levels):.1f} dBFS, lowest {min(levels):.1f}; {kept:.1%} at -40 or more")


def report_harmony(rows: Sequence[Row]) -> None:
    """Print how far the loudness of one stem tells that of the other: they share a room and a level."""
    stems = [(stem_of(row, "speech"), stem_of(row, "background")) for row in rows if row["kind"] == "joint"]
    levels = np.array([[rms_dbfs(stem) for stem in pair if stem is not None] for pair in stems])
    if len(levels) > 2:
        own, other = _correlation(*levels.T), _correlation(levels[:, 0], np.roll(levels[:, 1], 1))
        print(f"loudness of both stems over {len(levels)} clips: correlation {own:.2f}, another clip's {other:.2f}")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.scenes.check", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=100, help="of each split and kind to look at and listen to")
    parser.add_argument("--sheet", type=Path, help="also paint clips with their waveforms into this PNG")
    arguments = parser.parse_args(argv)
    columns = ["id", "split", "kind", "text", "words", "speaker", "layout", "duration"]
    try:
        rows = list(read_rows(arguments.folder, columns=columns))
        if not rows:
            raise InputError(f"{arguments.folder}: no shards found; make some with python -m train.scenes")
        found = overlaps(rows)
        hours = sum(row["duration"] for row in rows) / 3600
        print(f"{len(rows)} clips, {hours:.2f} h, {len(found)} overlaps of splits")
        for line in found[:10]:
            print(" ", line)
        if found:
            parser.exit(1)
        for split in _names():
            heard = _some(arguments.folder / split, arguments.clips)
            if heard:
                print(f"\n{split}")
                report_events(heard)
                report_mouths(heard)
                report_words(heard)
                report_levels(heard)
                report_harmony(heard)
        if arguments.sheet:
            from .sheet import paint_sheet

            paint_sheet(arguments.sheet, _some(arguments.folder, 4))
    except DualDubError as error:
        parser.exit(2, f"{error}\n")


def _names() -> list[str]:
    return [split.value for split in Split]


def _phrases(row: Row) -> list[str]:
    return [phrase for phrase in row["text"].split(", ") if phrase]


def _some(folder: Path, count: int) -> list[Row]:
    """The first rows of each kind."""
    return [row for kind in Kind for row in islice(read_rows(folder, kind=kind.value), count)]


def _correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Over the frames that both have; 0 where one never moves."""
    length = min(len(one), len(other))
    one, other = one[:length] - one[:length].mean(), other[:length] - other[:length].mean()
    return float((one * other).sum() / max(np.sqrt((one**2).sum() * (other**2).sum()), 1e-12))


if __name__ == "__main__":
    main()
