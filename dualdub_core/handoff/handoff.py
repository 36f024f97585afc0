"""Everything an editor needs of one take, under one name: a video with all tracks, stamped stems, a timeline."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from ..errors import InputError
from ..media.broadcast import BroadcastInfo, write_broadcast_wav
from ..media.containers import Source
from ..media.muxing import MuxReport, mux
from ..media.sound import probe
from ..progress import Progress, silent
from ..provenance.provenance import Provenance
from ..provenance.stamps import video_tags
from ..scripts.script import Script
from ..types import Audio
from .editorial import has_opentimelineio, write_timeline

MIX = "mix"
_SOUND_ONLY_FPS = Fraction(25)  # a timeline counts in pictures even where there are none


@dataclass(frozen=True, slots=True)
class HandOff:
    """What was written.

    Attributes:
        files: all of them.
        video: how; None without a video.
        timeline: the OpenTimelineIO file; None where the package is not installed.
    """

    files: tuple[Path, ...]
    video: MuxReport | None
    timeline: Path | None


def hand_off(
    base: Path | str,
    sounds: Mapping[str, Audio],
    info: BroadcastInfo,
    *,
    source: Source | None = None,
    start: float = 0.0,
    duration: float | None = None,
    suffix: str = ".mkv",
    lines: Script | None = None,
    metadata: Mapping[str, str] | None = None,
    made_by: Provenance | None = None,
    progress: Progress = silent,
) -> HandOff:
    """Write `base`_speech.wav and so on, `base`_tracks.mkv and `base`.otio.

    Args:
        base: folder and beginning of the names.
        sounds: (1, C, N) each, by name; `mix` becomes the first track of the video and is left out of the timeline,
            where it would sound on top of the stems.
        info: the stamp of the sound files; each one's description is its name.
        source: the video; its pictures are copied.
        start: seconds into the source at which the clip begins.
        duration: seconds of it; to the end when None.
        suffix: `.mkv`, `.mp4` or `.mov`.
        lines: with times, for markers.
        metadata: for the video.
        made_by: written into every file but the timeline.
        progress: reports "write"; raising from it cancels.

    Raises:
        InputError: no sound, a batch, sounds of different lengths, or what `mux` refuses.
    """
    base = Path(base)
    lengths = {name: audio.num_samples / audio.sample_rate for name, audio in sounds.items()}
    if not lengths or max(lengths.values()) - min(lengths.values()) > 1e-3:
        told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in lengths.items()) or "none"
        raise InputError(f"hand-off: got sounds of {told}, expected at least one and all equally long")
    files, stems = [], {}
    for name, audio in sounds.items():
        path = base.with_name(f"{base.name}_{name}.wav")
        write_broadcast_wav(path, audio, replace(info, description=f"{base.name} {name}"), made_by=made_by)
        files.append(path)
        if name != MIX:
            stems[name.capitalize()] = path
    report, pictures, fps = None, None, _SOUND_ONLY_FPS
    if source is not None:
        pictures = base.with_name(f"{base.name}_tracks{suffix}")
        tracks = dict(sorted(sounds.items(), key=lambda item: item[0] != MIX))
        named = {name.capitalize(): audio for name, audio in tracks.items()}
        tags = {**(metadata or {}), **({} if made_by is None else video_tags(made_by, suffix))}
        report = mux(source, named, pictures, start=start, duration=duration, metadata=tags, progress=progress)
        files.append(pictures)
        fps = probe(pictures).fps
    timeline = None
    if has_opentimelineio():
        timeline = base.with_name(f"{base.name}.otio")
        length = report.duration if report is not None else max(lengths.values())
        write_timeline(
            timeline, pictures=pictures, stems=stems, duration=length, fps=fps, start=info.start, lines=lines
        )
        files.append(timeline)
    return HandOff(tuple(files), report, timeline)
