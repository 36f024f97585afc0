"""One soundtrack by itself: sync, loudness, clipping, silence and leaks, without a reference and without a network.

The same functions as the benchmark's, for whoever has one clip and no ground truth: the Score node. Words and voice are
judged too where a judge is handed in. What stands out is said in words.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigError
from ..media.containers import Orientation, Source, name_of, opened, picture_stream
from ..media.sound import check_single, clip_length
from ..media.timeline import Cut, read_timeline, stamped_frames
from ..media.video import read_frames
from ..progress import Progress, silent
from ..types import Audio, Soundtrack, Stream, VideoFrames
from .av_align import Moments, flow_trajectory, intersection_over_union, local_maxima, onset_times, summarise
from .dualscore import paired_cosines
from .judge_speech import SpeakerEmbedder, Transcriber
from .judge_sync import LATE
from .leak import joint_loudness, leaked_share
from .levels import KEPT_FROM_DBFS, levels
from .pictures import Drawing
from .systems import MIX
from .words import Normaliser, word_errors

MAX_HEIGHT = 240
"""Pixels; taller pictures are reduced before their motion is measured, which costs by the pixel."""

ROTATED = "turned round"
LEAK_SAID_FROM, LENGTH_SAID_FROM = 0.1, 0.05
"""Share of a stem's energy, and seconds off the video, from which a warning says so."""

_PICTURE_SIZE = 72
_TURNS = 16


@dataclass(frozen=True, slots=True)
class Score:
    """What one soundtrack came to.

    Attributes:
        values: plain values for JSON; null where something cannot be said.
        warnings: what stands out, a line each.
        drawing: for `pictures.paint`.
    """

    values: dict[str, Any]
    warnings: tuple[str, ...]
    drawing: Drawing


@dataclass(frozen=True, kw_only=True, slots=True)
class Watched:
    """What of a clip any number of its takes are judged against; `watch_clip` looks, this alone is no clip at all.

    Attributes:
        duration: seconds.
        name: of the file.
        fps: pictures a second, on average.
        peaks: seconds at which the picture moves most; None where nobody looked.
        problem: why nobody did.
        film: pictures to show.
    """

    duration: float
    name: str = ""
    fps: float = 0.0
    peaks: tuple[float, ...] | None = None
    problem: str = "there is no video"
    film: VideoFrames | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judges:
    """Networks for what needs them; each may be None.

    Attributes:
        transcriber: hears words.
        normaliser: of script and transcript.
        speakers: hears voices.
        names: of both, for people.
    """

    transcriber: Transcriber | None = None
    normaliser: Normaliser = "whisper_english"
    speakers: SpeakerEmbedder | None = None
    names: dict[str, str] = field(default_factory=dict)


def watch_clip(
    source: Source, *, start: float = 0.0, duration: float | None = None, progress: Progress = silent
) -> Watched:
    """Look at a part of a video once, for `score_soundtrack` of several takes.

    Args:
        source: the video.
        start: seconds into it.
        duration: seconds of it; to the end when None.
        progress: reports "watch"; raising from it cancels.

    Raises:
        InputError: no such part of the video.
    """
    seconds = clip_length(read_timeline(source).duration, start, duration, name_of(source))
    pictures, fps = part_pictures(source, start, seconds, progress=progress)
    peaks, problem = None, ""
    try:
        peaks = tuple(local_maxima(flow_trajectory(pictures), fps))
    except ConfigError as error:
        problem = str(error)
    return Watched(
        duration=seconds,
        name=name_of(source),
        fps=fps,
        peaks=peaks,
        problem=problem,
        film=read_frames(source, size=_PICTURE_SIZE, start=start, duration=seconds),
    )


def score_soundtrack(
    soundtrack: Soundtrack,
    source: Source | Watched,
    *,
    start: float = 0.0,
    duration: float | None = None,
    script: str = "",
    voice: Audio | None = None,
    judges: Judges | None = None,
    progress: Progress = silent,
) -> Score:
    """Judge two stems under a video.

    Args:
        soundtrack: one item, time 0 being the part's.
        source: the video, or what `watch_clip` saw of it; then the next two are not read.
        start: seconds into it.
        duration: seconds of it; to the end when None.
        script: what should be said, for WER.
        voice: a recording of the speaker, for SIM.
        judges: networks for words and voice.
        progress: reports "watch"; raising from it cancels.

    Raises:
        InputError: not one soundtrack, samples that are not finite, or no such part of the video.
    """
    for stream, stem in zip(Stream, (soundtrack.speech, soundtrack.background), strict=True):
        check_single(stem, stream.value)
    judges, mix = judges or Judges(), soundtrack.sum()
    sounds = {Stream.SPEECH.value: soundtrack.speech, Stream.BACKGROUND.value: soundtrack.background}
    if isinstance(source, Watched):
        watched = source
    else:
        watched = watch_clip(source, start=start, duration=duration, progress=progress)
    warnings: list[str] = []
    values: dict[str, Any] = {"duration": round(watched.duration, 6)}
    moments = _sync(watched, soundtrack, values, warnings)
    measured = {name: levels(sound, watched.duration) for name, sound in {MIX: mix, **sounds}.items()}
    values["levels"] = {name: asdict(found) for name, found in measured.items()}
    values["leak"] = {
        "background": leaked_share(*sounds.values()),
        "speech": leaked_share(*reversed(sounds.values())),
        "joint_loudness": joint_loudness(*sounds.values()),
    }
    _say(values, warnings)
    _judge_speech(soundtrack.speech, script, voice, judges, values)
    drawing = Drawing(
        title=script.replace("\n", " ") or watched.name,
        duration=watched.duration,
        sounds=sounds,
        mix=mix,
        frames=watched.film,
        moments=moments,
    )
    plain: dict[str, Any] = _finite({**values, "warnings": warnings})
    return Score(plain, tuple(warnings), drawing)


def part_pictures(
    source: Source, start: float, seconds: float, *, max_height: int = MAX_HEIGHT, progress: Progress = silent
) -> tuple[Iterator[NDArray[np.uint8]], float]:
    """The pictures that a part of a video shows, upright and at most so high, and how many there are a second."""
    what, timeline = name_of(source), read_timeline(source)
    cut = Cut.of(timeline, start, seconds)
    wanted = set(cut.shown)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        done = 0
        with opened(source) as container:
            stream = picture_stream(container, what)
            for stamp, frame in stamped_frames(container, stream, timeline, what, start=min(wanted)):
                if stamp > max(wanted):
                    return
                if stamp in wanted:
                    yield _reduced(Orientation.of(frame).apply(frame.to_ndarray(format="rgb24")), max_height)
                    done += 1
                    progress("watch", done, len(wanted))

    return pictures(), len(wanted) / seconds


def _sync(watched: Watched, soundtrack: Soundtrack, values: dict[str, Any], warnings: list[str]) -> Moments | None:
    """AV-Align beside its controls; None where the packages for it are missing or nobody looked."""
    values["sync"], problem, onsets = None, watched.problem, {}
    if watched.peaks is not None:
        try:
            onsets = {"background": onset_times(soundtrack.background), MIX: onset_times(soundtrack.sum())}
        except ConfigError as error:
            problem = str(error)
    if watched.peaks is None or not onsets:
        warnings.append(f"sync is not scored: {problem}")
        return None
    peaks, seconds = watched.peaks, watched.duration
    scored = {name: Moments(tuple(times), peaks, watched.fps, seconds) for name, times in onsets.items()}
    values["sync"] = {
        "av_align": {name: moments.score for name, moments in scored.items()},
        LATE: {name: summarise([moments]).delayed for name, moments in scored.items()},
        ROTATED: {name: _rotated(moments) for name, moments in scored.items()},
        "onsets": {name: len(moments.audio_peaks) for name, moments in scored.items()},
        "picture_peaks": len(peaks),
    }
    chance = _rotated(scored["background"])
    if peaks and scored["background"].score <= chance:
        warnings.append(
            "sync: the background follows the picture no better than when it is moved "
            f"({scored['background'].score:.2f} against {chance:.2f} on average)"
        )
    return scored[MIX]


def _rotated(moments: Moments) -> float:
    """The mean score of the same onsets moved round the clip: what sound that ignores the picture would get."""
    scores = []
    for turn in range(1, _TURNS):
        shift = turn / _TURNS * moments.duration
        onsets = sorted((time + shift) % moments.duration for time in moments.audio_peaks)
        scores.append(intersection_over_union(onsets, moments.video_peaks, moments.fps))
    return float(np.mean(scores))


def _say(values: dict[str, Any], warnings: list[str]) -> None:
    """What of levels and leaks stands out."""
    found = values["levels"]
    for stream in Stream:
        level = found[stream.value]["rms_dbfs"]
        if level < KEPT_FROM_DBFS:
            warnings.append(f"{stream.value}: as good as silent, {level:.0f} dBFS on average")
    if found[MIX]["clipped_share"] > 0 or found[MIX]["true_peak_db"] > 0:
        warnings.append(f"mix: clips, true peak {found[MIX]['true_peak_db']:+.1f} dBTP; turn it down in Mix Stems")
    off = found[MIX]["excess_seconds"]
    if abs(off) > LENGTH_SAID_FROM:
        warnings.append(f"length: {abs(off):.2f} s {'longer' if off > 0 else 'shorter'} than the video")
    shares = values["leak"]
    if max(shares["background"], shares["speech"]) > LEAK_SAID_FROM:
        warnings.append(
            f"leak: the stems share sound, {shares['background']:.0%} of the background's energy follows the speech, "
            f"{shares['speech']:.0%} of the speech's the background"
        )


def _judge_speech(speech: Audio, script: str, voice: Audio | None, judges: Judges, values: dict[str, Any]) -> None:
    if judges.transcriber is not None:
        heard = judges.transcriber.transcribe(speech)
        values["words"] = {"heard": heard, "wer": None, "judge": judges.names.get("words", "")}
        if script.strip():
            errors = word_errors([script], [heard], normaliser=judges.normaliser)
            values["words"] |= {"wer": errors.rate, "normaliser": judges.normaliser}
    if judges.speakers is not None and voice is not None:
        embeddings = [judges.speakers.embed(sound)[None] for sound in (speech, voice)]
        values["voice"] = {"sim_ref": float(paired_cosines(*embeddings)[0]), "judge": judges.names.get("voice", "")}


def _reduced(picture: NDArray[np.uint8], max_height: int) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if height <= max_height:
        return picture
    size = (max(1, round(width * max_height / height)), max_height)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _finite(value: Any) -> Any:  # noqa: ANN401
    """The same with null for what is no number: JSON has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return list(map(_finite, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
