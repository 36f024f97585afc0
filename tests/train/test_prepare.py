"""Shards from a tiny LibriTTS and a tiny VGGSound: by a loop, by Ray, in one go and continued."""

import json
import sys

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from dualdub_core import checkpoint
from dualdub_core.errors import InputError
from dualdub_core.timing import video_feature_times
from train.datasets import libritts_clips, vggsound_clips
from train.precompute import check, stages_of
from train.precompute import run as precompute
from train.prepare import in_a_loop, main, over_machines, write_left_out
from train.rows import PREPARED, open_rows, shards, sound
from train.sharding import Recipe, ShardMaker, jobs_of
from train.stems import CORPUS

RATE = 24_000


def tone(seconds, frequency=150.0, level=0.2):
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


class LowBand:
    """All below 1 kHz is speech."""

    name = "below 1 kHz"

    def __call__(self, waveform, sample_rate):
        spectrum = torch.fft.rfft(waveform)
        spectrum[round(1000 * len(waveform) / sample_rate) :] = 0
        return torch.fft.irfft(spectrum, len(waveform))


@pytest.fixture(scope="module")
def libritts(tmp_path_factory):
    """Five readings: one of them silent, one without a text, one too long."""
    root = tmp_path_factory.mktemp("libritts")
    folder = root / "train-clean-100" / "19" / "198"
    folder.mkdir(parents=True)
    for number, (seconds, level) in enumerate([(1.0, 0.2), (1.2, 0.001), (0.8, 0.2), (1.1, 0.2), (3.0, 0.2)]):
        name = f"19_198_{number:06d}_000000"
        soundfile.write(folder / f"{name}.wav", tone(seconds, 150, level), RATE, subtype="PCM_16")
        if number != 2:
            (folder / f"{name}.normalized.txt").write_text(f"Words of number {number}.\n")
    return root


@pytest.fixture(scope="module")
def vggsound(tmp_path_factory):
    """A hum under a whistle; the same without the whistle; a film that is gone."""
    root = tmp_path_factory.mktemp("vggsound")
    for name, whistle in (("aa_000001", 0.3), ("bb_000002", 0.0)):
        with av.open(str(root / f"{name}.mp4"), "w") as container:
            pictures, track = container.add_stream("libx264", rate=5), container.add_stream("aac", rate=RATE)
            pictures.width, pictures.height, pictures.pix_fmt, track.layout = 32, 24, "yuv420p", "mono"
            for index in range(6):
                picture = np.full((24, 32, 3), 40 * index, np.uint8)
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(pictures.encode(None))
            samples = (tone(1.2) + tone(1.2, 3000.0, whistle))[None]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    (root / "vggsound.csv").write_text("aa,1,whistle,train\nbb,2,hum,train\ncc,3,cat,test\n")
    return root


@pytest.fixture(scope="module")
def codec_file(tiny_codec, tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    checkpoint.save(path, {"codec": tiny_codec}, info={"name": "tiny", "status": checkpoint.UNTRAINED})
    return path


def made(recipe, clips, out, rows_per_shard=2):
    """Reports of a loop."""
    return list(in_a_loop(recipe, jobs_of(clips, out, rows_per_shard=rows_per_shard)))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in shards(folder)}


def test_a_corpus_holds_the_stems_and_pictures(vggsound, tmp_path):
    reports = made(Recipe(separator=LowBand(), picture_size=16), vggsound_clips(vggsound), tmp_path)
    assert [report.kept for report in reports] == [0, 1]
    assert [i for report in reports for i, _ in report.left_out] == ["vggsound/cc_000003", "vggsound/bb_000002"]
    reasons = [reason for report in reports for _, reason in report.left_out]
    assert "no such file" in reasons[0]
    assert reasons[1].startswith("background is at -")
    (row,) = pq.read_table(tmp_path / "train" / "vggsound-00000.parquet").to_pylist()
    assert list(row) == CORPUS.names
    background, rate = sound(row["background_flac"])
    assert (row["duration"], len(background), rate) == (pytest.approx(1.2), round(1.2 * RATE), RATE)
    assert row["speech_flac"] is None
    spectrum = torch.fft.rfft(background[2400:-2400]).abs()
    assert int(spectrum.argmax()) * RATE / (len(background) - 4800) == pytest.approx(3000, abs=5)
    # One picture at each of the encoder's times, though the film has fewer.
    assert row["frames_shape"] == [10, 16, 16, 3] == [len(video_feature_times(1.2)), 16, 16, 3]
    brightness = np.frombuffer(row["frames"], np.uint8).reshape(10, -1).mean(1)
    nearest = np.round(np.arange(10) * 0.12 / 0.2).clip(max=5)
    np.testing.assert_allclose(brightness, 40 * nearest, atol=5)


def test_prepared_rows_are_those_of_precompute(libritts, codec_file, tmp_path):
    recipe = Recipe(codec=codec_file, max_seconds=2.0)
    made(Recipe(), libritts_clips(libritts), tmp_path / "corpus")
    stages, mark = stages_of(recipe.files, max_seconds=2.0, keep_pictures=False, device="cpu")
    precompute(tmp_path / "corpus", tmp_path / "two steps", stages, mark=mark)
    reports = made(recipe, libritts_clips(libritts), tmp_path / "one step")
    tables = [
        [row for path in shards(tmp_path / name) for row in pq.read_table(path).to_pylist()]
        for name in ("two steps", "one step")
    ]
    assert tables[0] == tables[1]
    assert [row["id"][-13:] for row in tables[1]] == ["000000_000000", "000003_000000"]
    assert all(row["codes_speech"] and row["speaker"] == "libritts/19" for row in tables[1])
    reasons = [reason for report in reports for _, reason in report.left_out]
    assert reasons == [
        "speech is at -63.0 dB, below -40 dB",
        "no text",
        "3.00 s, longer than 2 s",
    ]
    assert sum(report.seconds for report in reports) == pytest.approx(2.1)
    assert len(open_rows(tmp_path / "one step", ["id", "codes_speech"], tmp_path / "cache")) == 2


def test_a_run_that_stopped_makes_only_what_is_missing(libritts, tmp_path):
    clips = list(libritts_clips(libritts))
    jobs = jobs_of(clips, tmp_path, rows_per_shard=2)
    stopped = in_a_loop(Recipe(), jobs)
    first = next(stopped)
    before = (jobs[0].target.stat().st_mtime_ns, jobs[0].target.read_bytes())
    assert list(tmp_path.rglob("*.parquet")) == [jobs[0].target]
    reports = made(Recipe(), clips, tmp_path)
    assert reports[0] == first
    assert (jobs[0].target.stat().st_mtime_ns, jobs[0].target.read_bytes()) == before
    assert [report.kept for report in reports] == [1, 1, 1]


def test_shards_of_other_clips_or_another_recipe_are_made_again(libritts, tmp_path):
    root = tmp_path / "data"
    folder = root / "dev-clean" / "1" / "2"
    folder.mkdir(parents=True)
    sounds = folder / "1_2_000000_000000.wav"
    sounds.with_suffix(".normalized.txt").write_text("One.")
    (folder / "1_2_000001_000000.wav").write_bytes(b"")
    soundfile.write(sounds, tone(1.0), RATE)
    first = made(Recipe(), libritts_clips(root), tmp_path / "out")
    assert "empty" in first[0].left_out[0][1]
    soundfile.write(folder / "1_2_000001_000000.wav", tone(0.5), RATE)
    (folder / "1_2_000001_000000.normalized.txt").write_text("Two.")
    second = made(Recipe(), libritts_clips(root), tmp_path / "out")
    assert [report.kept for report in (first[0], second[0])] == [1, 2]
    stamp = (tmp_path / "out/validation/libritts-00000.parquet").stat().st_mtime_ns
    made(Recipe(separator=LowBand()), libritts_clips(root), tmp_path / "out")
    assert (tmp_path / "out/validation/libritts-00000.parquet").stat().st_mtime_ns != stamp


def test_jobs_that_would_mix_two_runs_are_refused(libritts, tmp_path):
    clips = list(libritts_clips(libritts))
    made(Recipe(), clips, tmp_path)
    with pytest.raises(InputError, match="choose an empty folder"):
        jobs_of(clips, tmp_path, rows_per_shard=5)
    with pytest.raises(InputError, match="names a clip twice"):
        jobs_of([*clips, clips[0]], tmp_path, rows_per_shard=2)
    with pytest.raises(InputError, match="no clips found"):
        jobs_of([], tmp_path, rows_per_shard=2)


def test_many_rows_are_written_in_groups(libritts, tmp_path, monkeypatch):
    monkeypatch.setattr("train.sharding._ROWS_TOGETHER", 1)
    made(Recipe(), libritts_clips(libritts), tmp_path, rows_per_shard=9)
    (path,) = shards(tmp_path)
    assert pq.read_metadata(path).num_row_groups == 3


def test_the_command_prepares_and_reports(libritts, codec_file, tmp_path, capsys):
    options = ["--layout", "libritts", "--root", str(libritts), "--out", str(tmp_path / "out"), "--no-ray"]
    main([*options, "--codec", str(codec_file), "--rows-per-shard", "3", "--split", "train"])
    assert "3 rows, 0.00 h; 2 left out" in capsys.readouterr().out
    lines = (tmp_path / "out" / "left_out-libritts.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"][-13:] for line in lines] == ["000001_000000", "000002_000000"]
    assert pq.read_schema(shards(tmp_path / "out")[0]).names == PREPARED.names


def test_a_mix_without_a_separator_is_refused(vggsound, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--layout", "vggsound", "--root", str(vggsound), "--out", str(tmp_path), "--no-ray"])
    assert "give --separator a checkpoint" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_refused_before_any_work(libritts, tmp_path, capsys):
    (tmp_path / "codec.safetensors").write_bytes(b"nothing")
    options = ["--layout", "libritts", "--root", str(libritts), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main([*options, "--codec", str(tmp_path / "codec.safetensors")])
    assert "damaged, truncated or not safetensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_ray_that_is_not_installed_says_what_to_do(libritts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'ray\[data\]', or choose --no-ray"):
        list(over_machines(Recipe(), jobs_of(libritts_clips(libritts), tmp_path, rows_per_shard=2), workers=1))


def test_without_networks_only_the_level_is_checked():
    assert ShardMaker(Recipe())._stages == [check]


@pytest.mark.slow
def test_ray_makes_the_shards_of_the_loop_and_continues_a_run(libritts, vggsound, codec_file, tmp_path):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    recipe = Recipe(separator=LowBand(), codec=codec_file, keep_pictures=True, picture_size=16)
    clips = [*libritts_clips(libritts), *vggsound_clips(vggsound)]
    looped = made(recipe, clips, tmp_path / "loop")
    jobs = jobs_of(clips, tmp_path / "ray", rows_per_shard=2)
    next(in_a_loop(recipe, jobs))
    stamp = jobs[0].target.stat().st_mtime_ns
    try:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        reports = list(over_machines(recipe, jobs, workers=2))
    finally:
        ray.shutdown()
    assert jobs[0].target.stat().st_mtime_ns == stamp
    loop, spread = contents(tmp_path / "loop"), contents(tmp_path / "ray")
    assert loop.keys() == spread.keys()
    for path in loop:
        assert pq.read_table(tmp_path / "loop" / path).equals(pq.read_table(tmp_path / "ray" / path))
    for folder, found in (("loop", looped), ("ray", reports)):
        write_left_out(tmp_path / folder / "left_out.jsonl", found)
    assert (tmp_path / "loop/left_out.jsonl").read_text() == (tmp_path / "ray/left_out.jsonl").read_text()
