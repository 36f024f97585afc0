"""An OpenTimelineIO file: picture and stems on tracks of their own, lines as markers, for any editor that opens it.

Source: OpenTimelineIO (https://opentimelineio.readthedocs.io), an optional package.
"""

from collections.abc import Mapping
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import ConfigError
from ..files import replacing
from ..scripts.script import Script


def has_opentimelineio() -> bool:
    """Whether the package is installed."""
    return find_spec("opentimelineio") is not None


def write_timeline(
    path: Path | str,
    *,
    pictures: Path | None,
    stems: Mapping[str, Path],
    duration: float,
    fps: Fraction,
    start: float = 0.0,
    lines: Script | None = None,
) -> None:
    """Write a timeline, whole or not at all. Media in its folder or below are named relative to it.

    Args:
        path: target, `.otio`.
        pictures: a video file whose first picture is the clip's; its own sound is not laid out.
        stems: sound files by the names of their tracks, each as long as the clip.
        duration: seconds.
        fps: pictures a second.
        start: seconds at which the timeline begins, as stamped into the stems.
        lines: become markers of the first stem; those without times are left out.

    Raises:
        ConfigError: opentimelineio is not installed.
    """
    if not has_opentimelineio():
        raise ConfigError("timeline: needs opentimelineio, which is not installed; pip install opentimelineio")
    otio: Any = import_module("opentimelineio")
    path = Path(path)

    def time(seconds: float) -> Any:  # noqa: ANN401
        return otio.opentime.RationalTime(seconds * float(fps), float(fps))

    def clip(name: str, media: Path, begin: float) -> Any:  # noqa: ANN401
        whole = otio.opentime.TimeRange(time(begin), time(duration))
        reference = otio.schema.ExternalReference(target_url=_url(media, path.parent), available_range=whole)
        return otio.schema.Clip(name=name, media_reference=reference, source_range=whole)

    timeline = otio.schema.Timeline(name=path.stem, global_start_time=time(start))
    if pictures is not None:
        track = otio.schema.Track(name="Picture", kind=otio.schema.TrackKind.Video)
        track.append(clip(pictures.stem, pictures, 0.0))
        timeline.tracks.append(track)
    for index, (name, media) in enumerate(stems.items()):
        sound = clip(media.stem, media, start)
        for line in lines.lines if lines is not None and index == 0 else ():
            if line.start is not None:
                length = 0.0 if line.end is None else line.end - line.start
                marked = otio.opentime.TimeRange(time(start + line.start), time(length))
                marker = otio.schema.Marker(name=line.text, marked_range=marked)
                marker.metadata["dualdub"] = {"speaker": line.speaker}
                sound.markers.append(marker)
        track = otio.schema.Track(name=name, kind=otio.schema.TrackKind.Audio)
        track.append(sound)
        timeline.tracks.append(track)
    with replacing(path) as temporary:
        temporary.write_text(otio.adapters.write_to_string(timeline, "otio_json"), encoding="utf-8")


def _url(media: Path, folder: Path) -> str:
    media, folder = media.resolve(), folder.resolve()
    return quote(media.relative_to(folder).as_posix()) if media.is_relative_to(folder) else media.as_uri()
