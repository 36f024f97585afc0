"""What a video encoder sees of a film of any length: pictures are encoded as they pass by, and not kept.

The same pictures and features as `video.read_frames` and `video.encode_frames` give, in memory that does not grow
with the film but for the features themselves.

Letters: F pictures, D width.
"""

import torch
from torch import Tensor

from ..errors import InputError
from ..media.containers import Orientation, Source, name_of, opened, picture_stream
from ..media.sound import clip_length
from ..media.timeline import read_timeline, stamped_frames
from ..media.video import fit_picture
from ..models.clip import ClipVideoEncoder
from ..models.ops import place_of
from ..progress import Progress, silent
from ..timing import nearest_times, video_feature_times
from ..types import VideoFeatures


@torch.inference_mode()
def encode_film(
    encoder: ClipVideoEncoder,
    source: Source,
    *,
    start: float = 0.0,
    duration: float | None = None,
    batch_size: int = 32,
    progress: Progress = silent,
) -> VideoFeatures:
    """Watch a video and encode it at once.

    Args:
        encoder: in evaluation mode; the features are on its device.
        source: any container and codec that FFmpeg reads.
        start: seconds.
        duration: seconds; to the end when None.
        batch_size: pictures held, and encoded, at once.
        progress: reports "watch"; raising from it cancels.

    Returns:
        Features (F, D), with times from `start`.

    Raises:
        InputError: the file is not a video, or has no such part.
    """
    what, timeline = name_of(source), read_timeline(source)
    length = clip_length(timeline.duration, start, duration, what)
    shown = torch.tensor([timeline.seconds(stamp) for stamp in timeline.stamps], dtype=torch.float64)
    indices = torch.unique_consecutive(nearest_times(shown, video_feature_times(length) + start)).tolist()
    wanted = {timeline.stamps[index] for index in indices}
    first, last = timeline.stamps[indices[0]], timeline.stamps[indices[-1]]
    device, size = place_of(encoder), encoder.config.image_size
    features: list[Tensor] = []
    times: list[float] = []
    pictures: list[Tensor] = []
    with opened(source) as container:
        stream = picture_stream(container, what)
        for stamp, frame in stamped_frames(container, stream, timeline, what, start=first):
            if stamp in wanted:
                upright = Orientation.of(frame).apply(frame.to_ndarray(format="rgb24"))
                pictures.append(fit_picture(upright, size))
                times.append(max(0.0, timeline.seconds(stamp) - start))
                if len(pictures) == batch_size:
                    features.append(encoder(torch.stack(pictures).to(device)))
                    pictures.clear()
            # At every picture that is decoded: those that are wanted can be far apart.
            progress("watch", len(times), len(wanted))
            if stamp >= last:
                break
    if not times:
        raise InputError(f"{what}: no picture can be decoded from {start} s on; the file is damaged, convert it")
    if pictures:
        features.append(encoder(torch.stack(pictures).to(device)))
    return VideoFeatures(torch.cat(features), torch.tensor(times, dtype=torch.float64), length)
