"""What can be said of any soundtrack without a network: its length, loudness, clipping, silence, and leaks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ..types import Stream
from .figures import TRUTH, Better, Figure, mean_figure
from .judges import Facts, Subject
from .leak import joint_loudness, leaked_share
from .levels import KEPT_FROM_DBFS, levels
from .systems import MIX
from .testset import BenchClip

GATE_LUFS = -70.0
"""Loudness that silence counts as: BS.1770's absolute gate."""

_REAL = "real "
_STANDARD = "BS.1770-4 (pyloudnorm)"
_COHERENCE = "power-weighted coherence, 32 ms Hann windows at 16 kHz"


class LevelsJudge:
    """Measures the mix, each stem, and how one sounds in the other."""

    key = "levels"
    settings: Mapping[str, Any] = {"version": 1}

    def check(self) -> None:
        """Needs nothing."""

    def hear(self, subject: Subject) -> Facts:
        """Levels of take and real sound; leaks where both stems are known."""
        duration = subject.clip.duration
        speech, background = (subject.stem(stream) if subject.streams else None for stream in Stream)
        real = {stream: subject.real_stem(stream) for stream in Stream}
        sounds = {
            MIX: subject.mix,
            Stream.SPEECH.value: speech,
            Stream.BACKGROUND.value: background,
            _REAL + MIX: subject.real_mix,
            **{_REAL + stream.value: sound for stream, sound in real.items()},
        }
        values: dict[str, Any] = {
            name: asdict(levels(sound, duration)) for name, sound in sounds.items() if sound is not None
        }
        if speech is not None and background is not None:
            pairs = {"": (speech, background), _REAL: (real[Stream.SPEECH], real[Stream.BACKGROUND])}
            for prefix, (first, second) in pairs.items():
                values[f"{prefix}leak"] = {
                    "background": leaked_share(first, second),
                    "speech": leaked_share(second, first),
                    "joint_loudness": joint_loudness(first, second),
                }
        return Facts(values)

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """Means over clips."""

        def figure(
            key: str, title: str, unit: str, better: Better, tool: str, of: Callable[[Facts, str], float]
        ) -> None:
            values = {clip.id: of(fact, "") for clip, fact in zip(clips, facts, strict=True)}
            controls = {TRUTH: [of(fact, _REAL) for fact in facts]}
            figures.append(
                mean_figure(values, controls=controls, key=key, title=title, unit=unit, better=better, tool=tool)
            )

        figures: list[Figure] = []
        figure("length.error", "length off the video's", "ms", "lower", "samples over rate", _length_error)
        figure("loudness.mix", "loudness of the mix", "LUFS", "neither", _STANDARD, _loudness)
        figure("loudness.gap", "loudness off the real mix's", "LU", "lower", _STANDARD, _loudness_gap)
        figure("clipped", "samples at full scale, mix", "%", "lower", "|sample| >= 1 - 2^-15", _clipped)
        figure("over", "clips above 0 dBTP, mix", "%", "lower", _STANDARD, _over)
        for stream in Stream:
            if stream.value in facts[0].values:
                title, tool = f"clips with silent {stream.value}", f"below {KEPT_FROM_DBFS:g} dBFS RMS"
                figure(f"silent.{stream.value}", title, "%", "lower", tool, _silent(stream))
        if "leak" in facts[0].values:
            for name, other in (("background", "speech"), ("speech", "background")):
                title = f"energy of the {name} that follows the {other}"
                figure(f"leak.{name}", title, "%", "lower", _COHERENCE, _leak(name, 100.0))
            title, tool = "stems loud together", "correlation of levels, 20 ms"
            figure("leak.joint_loudness", title, "", "neither", tool, _leak("joint_loudness", 1.0))
        return figures


def _length_error(fact: Facts, prefix: str) -> float:
    return float(abs(fact.values[f"{prefix}{MIX}"]["excess_seconds"]) * 1000)


def _loudness(fact: Facts, prefix: str) -> float:
    return float(max(GATE_LUFS, fact.values[f"{prefix}{MIX}"]["lufs"]))


def _loudness_gap(fact: Facts, prefix: str) -> float:
    return abs(_loudness(fact, prefix) - _loudness(fact, _REAL))


def _clipped(fact: Facts, prefix: str) -> float:
    return float(fact.values[f"{prefix}{MIX}"]["clipped_share"] * 100)


def _over(fact: Facts, prefix: str) -> float:
    return 100.0 * bool(fact.values[f"{prefix}{MIX}"]["true_peak_db"] > 0)


def _silent(stream: Stream) -> Callable[[Facts, str], float]:
    return lambda fact, prefix: 100.0 * bool(fact.values[f"{prefix}{stream.value}"]["rms_dbfs"] < KEPT_FROM_DBFS)


def _leak(name: str, scale: float) -> Callable[[Facts, str], float]:
    return lambda fact, prefix: float(fact.values[f"{prefix}leak"][name] * scale)
