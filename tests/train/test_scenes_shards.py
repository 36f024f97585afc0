import json

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

from dualdub_core.errors import ConfigError  # noqa: E402
from train.scenes.__main__ import main  # noqa: E402
from train.scenes.build import Part, build  # noqa: E402
from train.scenes.check import main as check  # noqa: E402
from train.scenes.check import overlaps, visible_opening  # noqa: E402
from train.scenes.clip import make_clip  # noqa: E402
from train.scenes.config import CorpusConfig, Kind, Split  # noqa: E402
from train.scenes.judge import word_errors  # noqa: E402
from train.scenes.shards import frames_of, read_rows, stem_of  # noqa: E402
from train.scenes.sheet import paint_sheet  # noqa: E402
from train.scenes.video import decode_film, encode_film  # noqa: E402

CONFIG = CorpusConfig.mini(3)
PART = Part(kind=Kind.V2A, split=Split.TRAIN, num_clips=5, clips_per_shard=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    build(folder, CONFIG, [PART], num_workers=1)
    return folder


def test_rows_hold_the_clips(corpus):
    rows = list(read_rows(corpus))
    assert len(rows) == 5
    for index, row in enumerate(rows):
        clip = make_clip(CONFIG, Kind.V2A, Split.TRAIN, index)
        np.testing.assert_array_equal(stem_of(row, "background"), clip.background)
        assert stem_of(row, "speech") is None
        assert row["id"] == clip.id
        assert row["task"] == "background"
        assert row["event_times"] == [event.time for event in clip.events]


def test_there_is_one_picture_for_every_video_feature(corpus):
    for row in read_rows(corpus):
        frames = frames_of(row)
        assert len(frames) == round(row["duration"] * 25 / 3)
        np.testing.assert_array_equal(frames, decode_film(row["film_mp4"])[::3])


def test_the_film_looks_like_the_pictures():
    pictures = make_clip(CONFIG, Kind.V2A, Split.TRAIN, 0).pictures
    film = encode_film(pictures, fps=25)
    assert encode_film(pictures, fps=25) == film
    assert np.abs(decode_film(film).astype(int) - pictures).mean() < 4


def test_the_manifest_counts_what_is_there(corpus):
    manifest = json.loads((corpus / "train" / "v2a.json").read_text())
    assert [shard["clips"] for shard in manifest["shards"]] == [2, 2, 1]
    seconds = sum(row["duration"] for row in read_rows(corpus, columns=["duration"]))
    assert manifest["hours"] == pytest.approx(seconds / 3600, abs=1e-4)


def test_an_interrupted_run_makes_only_what_is_missing(corpus):
    shards = sorted((corpus / "train").glob("*.parquet"))
    before = [path.read_bytes() for path in shards]
    shards[1].unlink()
    shards[2].write_bytes(before[2][:100])
    kept = shards[0].stat().st_mtime_ns
    build(corpus, CONFIG, [PART], num_workers=1)
    assert [path.read_bytes() for path in shards] == before
    assert shards[0].stat().st_mtime_ns == kept
    assert not list(corpus.rglob(".*"))


def test_a_corpus_of_another_seed_is_not_mixed_in(corpus):
    with pytest.raises(ConfigError, match="another config"):
        build(corpus, CorpusConfig.mini(4), [PART], num_workers=1)


def test_several_processes_make_the_same_files(corpus, tmp_path):
    options = "--clips 5 --seed 3 --kind v2a --clips-per-shard 2 --workers 2".split()  # noqa: SIM905
    main(["--out", str(tmp_path), *options])
    for path in sorted(corpus.rglob("*.parquet")):
        assert (tmp_path / path.relative_to(corpus)).read_bytes() == path.read_bytes()


def test_splits_that_share_something_are_found():
    row = {"id": "a", "split": "train", "text": "two six", "words": ["two", "six"], "speaker": "", "layout": "x"}
    assert overlaps([row, {**row, "split": "test"}]) == [
        "phrase 'two six' in train and test",
        "layout 'x' in train and test",
    ]
    assert overlaps([{**row, "speaker": "kal-104"}]) == ["a: held-out voice kal-104"]


def test_a_corpus_passes_its_own_check(corpus, tmp_path, capsys):
    check([str(corpus), "--sheet", str(tmp_path / "sheet.png")])
    printed = capsys.readouterr().out
    assert "0 overlaps" in printed
    assert "true events     recall 1.000" in printed
    assert (tmp_path / "sheet.png").exists()


def test_a_folder_without_shards_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check([str(tmp_path)])
    assert "no shards found" in capsys.readouterr().err


def test_a_sheet_is_painted(corpus, tmp_path):
    paint_sheet(tmp_path / "sheet.png", list(read_rows(corpus))[:2])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_a_silent_face_keeps_its_mouth_shut(corpus):
    faces = [row for row in read_rows(corpus) if row["mouth_box"] and not row["mouth_onsets"]]
    assert all(np.ptp(visible_opening(row)) < 0.1 for row in faces)


@pytest.mark.parametrize(("heard", "errors"), [("a b c", 0), ("a c", 1), ("a x c d", 2), ("", 3), ("a b b c", 1)])
def test_word_errors_are_the_fewest_edits(heard, errors):
    assert word_errors(["a", "b", "c"], heard.split()) == errors
