"""Does it sound when the picture moves? AV-Align of the background and of the mix, always beside its controls.

Where the maker of a set knows when things sound, onsets of the background are also compared with that (F1, 50
ms): made sets are small pictures, in which AV-Align sees little.

Sound that begins everywhere matches every motion: noise can score above the truth. So what a clip has above the next
clip's sound is a figure too, and the one to compare systems by.

Controls: the real sound, every clip's picture with the next clip's sound, and the same sound 0.2 s late. The flow is in
pixels, so the tool's name says the pictures' size, and figures of other sizes do not compare.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..media.sound import probe
from ..types import Stream
from .av_align import (
    CONTROL_DELAY,
    Moments,
    flow_trajectory,
    intersection_over_union,
    local_maxima,
    onset_times,
    read_pictures,
    summarise,
)
from .extras import optional
from .figures import CHANCE, SHUFFLED, TRUTH, Figure, mean_figure, ratio_figure
from .intervals import ratio
from .judges import Facts, Subject, next_one
from .systems import MIX
from .testset import BenchClip

LATE = f"{CONTROL_DELAY:g} s late"
EVENT_WINDOW = 0.05
"""Seconds by which an onset may miss the event it belongs to, as in mir_eval."""

_REAL = "real "


class SyncJudge:
    """Compares onsets with peaks of the optical flow."""

    key = "av_align"
    settings: Mapping[str, Any] = {"reference": "TempoTokens bf0b1e3"}

    def check(self) -> None:
        """Both packages are there.

        Raises:
            ConfigError: one is not.
        """
        optional("librosa", package="librosa", what="AV-Align")
        optional("cv2", package="opencv-python-headless", what="AV-Align")

    def hear(self, subject: Subject) -> Facts:
        """Peaks of the picture once, onsets of the take and of the real sound."""
        info = probe(subject.clip.video)
        flow = flow_trajectory(read_pictures(subject.clip.video))
        sounds = {MIX: subject.mix, _REAL + MIX: subject.real_mix}
        background = subject.stem(Stream.BACKGROUND) if subject.streams else None
        if background is not None:
            sounds |= {
                Stream.BACKGROUND.value: background,
                _REAL + Stream.BACKGROUND.value: subject.real(Stream.BACKGROUND),
            }
        return Facts(
            {
                "fps": float(info.fps),
                "duration": len(flow) / float(info.fps),
                "size": f"{info.width}x{info.height}",
                "video_peaks": local_maxima(flow, float(info.fps)),
                "audio_peaks": {name: onset_times(sound) for name, sound in sounds.items()},
            }
        )

    def figures(self, clips: Sequence[BenchClip], facts: Sequence[Facts], *, draws: int) -> list[Figure]:  # noqa: ARG002
        """AV-Align of each sound that is known."""
        sizes = sorted({fact.values["size"] for fact in facts})
        tool = f"TempoTokens bf0b1e3; pictures of {', '.join(sizes[:3])}{' and more' if len(sizes) > 3 else ''}"
        figures = []
        for sound in (Stream.BACKGROUND.value, MIX):
            if any(sound not in fact.values["audio_peaks"] for fact in facts):
                continue
            heard = [moments_of(fact, sound) for fact in facts]
            real = [moments_of(fact, _REAL + sound) for fact in facts]
            scores, others = [moments.score for moments in heard], shuffled_scores(heard)
            real_margin = [m.score - o for m, o in zip(real, shuffled_scores(real), strict=False)]
            figures.append(
                mean_figure(
                    dict(zip([clip.id for clip in clips], scores, strict=True)),
                    controls={
                        TRUTH: [moments.score for moments in real],
                        SHUFFLED: others,
                        LATE: [summarise([moments]).delayed for moments in heard],
                    },
                    key=f"{self.key}.{sound}",
                    title=f"AV-Align, {sound}",
                    unit="",
                    better="higher",
                    tool=tool,
                )
            )
            if others:
                margins = [score - other for score, other in zip(scores, others, strict=True)]
                figures.append(
                    mean_figure(
                        dict(zip([clip.id for clip in clips], margins, strict=True)),
                        controls={TRUTH: real_margin, CHANCE: [0.0]},
                        key=f"{self.key}.{sound}.margin",
                        title=f"AV-Align above {SHUFFLED}, {sound}",
                        unit="",
                        better="higher",
                        tool=tool,
                    )
                )
        return figures + _event_figure(clips, facts)


def moments_of(fact: Facts, sound: str) -> Moments:
    """What was compared in one clip: `sound` is "mix" or "background", after "real " the set's own."""
    values = fact.values
    return Moments(tuple(values["audio_peaks"][sound]), tuple(values["video_peaks"]), values["fps"], values["duration"])


def shuffled_scores(clips: Sequence[Moments]) -> list[float]:
    """Each clip's picture with the next clip's sound, as `summarise` has it; nothing for a single clip."""
    scores = []
    for index, clip in enumerate(clips):
        other = next_one(index, len(clips))
        if other is not None:
            onsets = [time for time in clips[other].audio_peaks if time <= clip.duration]
            scores.append(intersection_over_union(onsets, clip.video_peaks, clip.fps))
    return scores


def matched_events(events: Sequence[float], onsets: Sequence[float]) -> int:
    """The most pairs of an event and an onset at most `EVENT_WINDOW` apart, each used once; both ascending."""
    matched, free = 0, list(onsets)
    for event in events:
        # On a line the earliest onset that still fits is never a mistake.
        while free and free[0] < event - EVENT_WINDOW:
            free.pop(0)
        if free and free[0] <= event + EVENT_WINDOW:
            free.pop(0)
            matched += 1
    return matched


def _event_figure(clips: Sequence[BenchClip], facts: Sequence[Facts]) -> list[Figure]:
    """F1 of the background's onsets against what is known to sound; nothing where that, or the stem, is not known."""
    known = [(clip, fact.values["audio_peaks"]) for clip, fact in zip(clips, facts, strict=True) if clip.events]
    stem = Stream.BACKGROUND.value
    if not known or any(stem not in peaks for _, peaks in known):
        return []
    events = [clip.events or () for clip, _ in known]
    onsets = [peaks[stem] for _, peaks in known]
    late = [[time + CONTROL_DELAY for time in times] for times in onsets]
    controls = {TRUTH: [peaks[_REAL + stem] for _, peaks in known], SHUFFLED: [*onsets[1:], onsets[0]], LATE: late}
    scored = {name: [_f1_parts(e, o) for e, o in zip(events, found, strict=True)] for name, found in controls.items()}
    own = {clip.id: _f1_parts(e, o) for (clip, _), e, o in zip(known, events, onsets, strict=True)}
    return [
        ratio_figure(
            {name: hits for name, (hits, _) in own.items()},
            {name: whole for name, (_, whole) in own.items()},
            {name: ratio(*zip(*pairs, strict=True)).value for name, pairs in scored.items()},
            key="onsets.f1",
            title="onsets at known events, F1",
            unit="",
            better="higher",
            tool=f"librosa onsets, {EVENT_WINDOW * 1000:g} ms",
        )
    ]


def _f1_parts(events: Sequence[float], onsets: Sequence[float]) -> tuple[float, float]:
    return float(matched_events(events, onsets)), (len(events) + len(onsets)) / 2
