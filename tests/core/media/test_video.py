"""Which pictures the encoder gets to see: the same moments at any frame rate, upright, prepared as published."""

import math
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dualdub_core.errors import InputError
from dualdub_core.media.sound import probe
from dualdub_core.media.video import encode_frames, fit_picture, frames_from_images, read_frames
from dualdub_core.models.clip import MEAN, STD, ClipConfig, ClipVideoEncoder
from dualdub_core.timing import nearest_times, video_feature_times
from dualdub_core.types import VideoFrames

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"
H264 = "libx264" if "libx264" in av.codecs_available else "mpeg4"


def pictures(count, size=(64, 48)):
    """Red grows from 0 to 255, the upper left quarter is green."""
    images = np.zeros((count, size[1], size[0], 3), np.uint8)
    images[..., 0] = np.linspace(0, 255, count).round().astype(np.uint8)[:, None, None]
    images[:, : size[1] // 2, : size[0] // 2, 1] = 255
    return images


def film(path, count=25, *, rate=25, codec=H264, times=None):
    """A film of `pictures`, shown at `times` milliseconds if given."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={"qmax": "2"} if codec == "mpeg4" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.gop_size, context.max_b_frames = 12, 2 if codec == "libx264" else 0
        context.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
        for i, picture in enumerate(pictures(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = times[i] if times else i, context.time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def turn(path, matrix):
    """Give the one track of an mp4 file a display matrix (a, b, c, d), as phones do."""
    a, b, c, d = (65536 * value for value in matrix)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def reds(frames):
    """Red at the lower right, where there is no green."""
    return frames.pixels[:, 0, -8:, -8:].float().mean(dim=(1, 2))


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), 25, Fraction(30000, 1001), 60, 5], ids=str)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi"])
def test_pictures_are_those_nearest_to_the_feature_clock(tmp_path, rate, name):
    frames = read_frames(film(tmp_path / name, 40, rate=rate, codec="mpeg4" if "avi" in name else H264), size=16)
    shown = torch.arange(40, dtype=torch.float64) / float(rate)
    if name.endswith("mkv"):
        # Matroska has no finer times.
        shown = (
            torch.tensor([math.floor(1000 * i / Fraction(rate) + Fraction(1, 2)) for i in range(40)]).double() / 1000
        )
    chosen = nearest_times(shown, video_feature_times(40 / rate)).unique()
    torch.testing.assert_close(frames.times, shown[chosen], rtol=0, atol=1e-4)
    torch.testing.assert_close(reds(frames), chosen / 39 * 255, rtol=0, atol=6.0, check_dtype=False)
    assert frames.duration == pytest.approx(40 / rate, abs=0.001)
    assert frames.pixels.shape == (len(chosen), 3, 16, 16)
    assert frames.pixels.dtype == torch.uint8


def test_of_25_pictures_a_second_every_third_is_seen(tmp_path):
    frames = read_frames(film(tmp_path / "clip.mp4", 25), size=16)
    torch.testing.assert_close(frames.times, torch.arange(0, 25, 3).double() / 25)


def test_variable_rates_are_followed(tmp_path):
    times = [0, 10, 20, 30, 115, 250, 260, 500, 510, 900]
    frames = read_frames(film(tmp_path / "clip.mkv", 10, times=times), size=16)
    duration = probe(tmp_path / "clip.mkv").duration
    shown = torch.tensor(times).double() / 1000
    chosen = nearest_times(shown, video_feature_times(duration)).unique()
    torch.testing.assert_close(frames.times, shown[chosen])
    torch.testing.assert_close(reds(frames), chosen / 9 * 255, rtol=0, atol=6.0, check_dtype=False)


@pytest.mark.skipif(H264 != "libx264", reason="needs an H.264 encoder")
@pytest.mark.parametrize("name", ["raw.h264", "pyramid.avi", "clip.ts"])
def test_files_without_times_are_seen_in_the_order_of_showing(tmp_path, name):
    frames = read_frames(film(tmp_path / name, 25), size=16)
    torch.testing.assert_close(frames.times, torch.arange(0, 25, 3).double() / 25)
    torch.testing.assert_close(reds(frames), torch.arange(0, 25, 3) / 24 * 255, rtol=0, atol=6.0)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
@pytest.mark.parametrize(("start", "duration"), [(0.0, 0.5), (1.2, None), (1.21, 0.3), (1.9, 5.0)])
def test_a_part_is_seen_from_its_own_start(tmp_path, name, start, duration):
    frames = read_frames(film(tmp_path / name, 50), size=16, start=start, duration=duration)
    length = min(duration or 2.0, 2.0 - start)
    shown = torch.arange(50, dtype=torch.float64) / 25
    chosen = nearest_times(shown, video_feature_times(length) + start).unique()
    assert frames.duration == pytest.approx(length)
    torch.testing.assert_close(frames.times, (shown[chosen] - start).clamp(min=0), rtol=0, atol=1e-6)
    torch.testing.assert_close(reds(frames), chosen / 49 * 255, rtol=0, atol=6.0, check_dtype=False)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((-1, 0, 0, 1), (0, 1)),
        ((1, 0, 0, -1), (1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (1, 1)),
    ],
)
def test_pictures_are_upright(tmp_path, matrix, corner):
    """The matrix takes (x, y) to (a x + c y, b x + d y), y down; so it takes the green corner."""
    green = read_frames(turn(film(tmp_path / "phone.mp4", 2), matrix), size=16).pixels[0, 1].float()
    means = green.reshape(2, 8, 2, 8).mean(dim=(1, 3))
    assert means.argmax().item() == 2 * corner[0] + corner[1]
    assert means.max() > 200
    assert means.sum() - means.max() < 60


def test_a_video_in_memory_is_as_good_as_a_file(tmp_path):
    path = film(tmp_path / "clip.mp4", 10)
    assert torch.equal(read_frames(BytesIO(path.read_bytes()), size=16).pixels, read_frames(path, size=16).pixels)


def test_one_picture_is_enough(tmp_path):
    frames = read_frames(film(tmp_path / "clip.mp4", 1), size=16)
    assert (len(frames.pixels), frames.times.tolist(), frames.duration) == (1, [0.0], 0.04)


def test_images_and_a_film_of_them_are_seen_alike(tmp_path):
    images = torch.from_numpy(pictures(40)).float() / 255
    seen = frames_from_images(images, fps=30.0, size=16)
    film_seen = read_frames(film(tmp_path / "clip.mp4", 40, rate=30), size=16)
    torch.testing.assert_close(seen.times, film_seen.times, rtol=0, atol=1e-4)
    torch.testing.assert_close(reds(seen), reds(film_seen), rtol=0, atol=6.0)
    assert seen.duration == pytest.approx(film_seen.duration)
    assert torch.equal(
        frames_from_images(torch.cat((images, images[..., :1]), -1), fps=30, size=16).pixels, seen.pixels
    )


@pytest.mark.parametrize("case", ["pre0", "pre1", "pre2"])
def test_pictures_are_prepared_as_clip_was_published(case):
    recorded = load_file(FORMATS / "clip_small.io.safetensors")
    pixels = fit_picture(recorded[f"{case}.image_u8"].numpy(), 96)
    normalised = (pixels.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(normalised, recorded[f"{case}.pixel_values_torchvision"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (500, 3), (17, 16), (64, 64)])
def test_any_shape_of_picture_fits(height, width):
    assert fit_picture(np.full((height, width, 3), 7, np.uint8), 16).eq(7).all()


def test_progress_counts_up_to_all_and_can_cancel(tmp_path):
    path, calls = film(tmp_path / "clip.mp4", 25), []
    read_frames(path, size=16, progress=lambda *call: calls.append(call))
    assert [done for _, done, _ in calls] == list(range(1, 10))
    assert {(stage, total) for stage, _, total in calls} == {("watch", 9)}

    def cancel(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_frames(path, size=16, progress=cancel)


def test_what_cannot_be_seen_is_refused(tmp_path):
    path = film(tmp_path / "clip.mp4", 5)
    with pytest.raises(InputError, match="start at 3"):
        read_frames(path, size=16, start=3.0)
    with pytest.raises(InputError, match="duration"):
        read_frames(path, size=16, duration=-1.0)
    with pytest.raises(InputError, match="shape"):
        frames_from_images(torch.zeros(48, 64, 3), fps=25, size=16)
    with pytest.raises(InputError, match="at least one"):
        frames_from_images(torch.zeros(0, 48, 64, 3), fps=25, size=16)
    with pytest.raises(InputError, match="fps"):
        frames_from_images(torch.zeros(2, 48, 64, 3), fps=0, size=16)


def test_features_do_not_depend_on_the_batch_and_keep_the_times():
    encoder = ClipVideoEncoder(ClipConfig.mini()).eval()
    pixels = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8)
    frames = VideoFrames(pixels, torch.arange(5).double() / 8, 0.7)
    calls = []
    features = encode_frames(encoder, frames, batch_size=2, progress=lambda *call: calls.append(call))
    torch.testing.assert_close(features.features, encode_frames(encoder, frames).features)
    assert calls == [("watch", 2, 5), ("watch", 4, 5), ("watch", 5, 5)]
    assert torch.equal(features.times, frames.times)
    assert features.duration == 0.7
    with pytest.raises(InputError, match="size=64"):
        encode_frames(encoder, VideoFrames(pixels[..., :32, :32], frames.times, 0.7))
