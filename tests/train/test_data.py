"""Which rows come when, and what a batch of the language model holds."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from dualdub_core.errors import InputError
from dualdub_core.models.dualdub import STREAMS, DualDubConfig
from dualdub_core.text import BACKGROUND_PROMPT, TextTokenizer
from train import precompute
from train.config import DataConfig, LanguageTraining
from train.data import Endless, bucketed, stream
from train.losses import IGNORE
from train.rows import open_rows, shards
from train.soundtracks import SoundtrackCorpus

BACKGROUND, SPEECH = 0, 1


class Numbers:
    """Ten rows of two lengths."""

    def epoch(self, rng):
        lengths = {row: 1 + row % 2 for row in range(10)}
        return bucketed(lengths, rng, micro_batch=2, lengths=lengths, cap=0)

    def batch(self, rows, rng):
        return rows


def test_an_epoch_has_every_row_once_in_batches_of_one_length():
    for epoch in range(3):
        batches = Numbers().epoch(np.random.default_rng([0, epoch]))
        assert sorted(row for rows in batches for row in rows) == list(range(10))
        assert all(len({row % 2 for row in rows}) == 1 for rows in batches)


def test_a_stream_continues_where_it_stopped():
    whole = list(islice(stream(Numbers(), seed=3), 40))
    assert list(islice(stream(Numbers(), seed=3, start=17), 23)) == whole[17:]
    assert [micro.number for micro in whole] == list(range(40))
    assert whole[:6] != whole[6:12]


def test_processes_share_the_stream_of_one():
    whole = list(islice(stream(Numbers(), seed=0), 12))
    shares = [
        list(islice(iter(Endless(corpus=Numbers(), seed=0, start=0, rank=rank, num_processes=3)), 4))
        for rank in range(3)
    ]
    assert sorted((m for share in shares for m in share), key=lambda m: m.number) == whole


def test_a_cap_on_frames_makes_batches_of_long_rows_smaller():
    lengths = {row: 30 if row < 4 else 10 for row in range(8)}
    batches = bucketed(lengths, np.random.default_rng(0), micro_batch=4, lengths=lengths, cap=60)
    assert sorted(len(rows) for rows in batches) == [2, 2, 4]


@pytest.fixture(scope="module")
def prepared(toy_corpus, tmp_path_factory):
    """Toy rows with codes and features that are not learned but known."""

    def known(item):
        count = round(item.made["duration"] * 40)
        codes = {f"codes_{stream.value}": [i % 7 for i in range(count)] for stream in item.stems}
        if "frames_shape" in item.made:
            features = torch.nn.functional.one_hot(torch.arange(item.made["frames_shape"][0]) % 16, 16).float()
            return item.having(num_frames=count, features=precompute.halves(features), **codes)
        return item.having(num_frames=count, **codes)

    folder = tmp_path_factory.mktemp("prepared")
    stages = [precompute.check, known, precompute.cut_voice, precompute.drop_pictures]
    precompute.run(toy_corpus / "train", folder, stages, mark={})
    return folder


def corpus(prepared, tmp_path, tiny_config, **training):
    training = {"size": "tiny", "stage": 3, **training}
    data = DataConfig(train=str(prepared), micro_batch=4, pad_to=8, cache=str(tmp_path))
    config = DualDubConfig.mini() if tiny_config is None else tiny_config
    return SoundtrackCorpus(str(prepared), data, LanguageTraining(**training), config, TextTokenizer.mini())


@pytest.fixture
def config_16(tiny_config):
    return replace(tiny_config, video_width=16)


def batches_of(corpus):
    batches = [corpus.batch(rows, np.random.default_rng(0)) for rows in corpus.epoch(np.random.default_rng(0))]
    return {name: [b for b in batches if b.name == name] for name in ("background", "speech", "joint")}


def test_a_share_of_the_shards_is_prepared_on_wish(toy_corpus, tmp_path):
    everything, some = tmp_path / "all", tmp_path / "some"
    precompute.run(toy_corpus / "train", everything, [precompute.check], mark={})
    precompute.run(toy_corpus / "train", some, [precompute.check], mark={}, every=2)
    names = sorted(path.name for path in everything.rglob("*.parquet"))
    assert len(names) > 1
    assert sorted(path.name for path in some.rglob("*.parquet")) == names[::2]


def test_targets_are_the_frames_own_codes_and_speech_ends_with_eos(prepared, tmp_path, config_16):
    for batch in batches_of(corpus(prepared, tmp_path, config_16))["speech"]:
        for codes, targets in zip(batch.codes, batch.targets, strict=True):
            assert (targets[BACKGROUND] == IGNORE).all()
            length = int((targets[SPEECH] == config_16.eos).nonzero())
            assert length in (48, 58)
            assert targets[SPEECH, :length].tolist() == [i % 7 for i in range(length)]
            assert (targets[SPEECH, length + 1 :] == IGNORE).all()
            assert torch.equal(codes[SPEECH, :length], targets[SPEECH, :length])


def test_video_rows_are_never_padded_and_have_no_eos(prepared, tmp_path, config_16):
    by_task = batches_of(corpus(prepared, tmp_path, config_16))
    for batch in by_task["background"] + by_task["joint"]:
        assert batch.codes.shape[-1] in (48, 58)
        assert (batch.targets != config_16.eos).all()
    assert all((b.targets[:, SPEECH] == IGNORE).all() for b in by_task["background"])
    assert all((b.targets != IGNORE).all() for b in by_task["joint"])


def test_inputs_are_masked_as_the_paper_says(prepared, tmp_path, config_16):
    by_task = batches_of(corpus(prepared, tmp_path, config_16))
    prompt = TextTokenizer.mini().encode(BACKGROUND_PROMPT)
    for batch in by_task["background"]:
        assert batch.text_ids.shape[1] % 8 == 0  # pad_to
        assert batch.text_lengths.tolist() == [len(prompt)] * len(batch.text_ids)
        assert batch.text_ids[:, : len(prompt)].tolist() == [prompt] * len(batch.text_ids)
        assert batch.has_voice.sum() == 0
        assert batch.present[0].tolist() == [1, 0]
    for batch in by_task["speech"]:
        assert batch.video.abs().sum() == 0
        assert batch.has_voice.all()
        assert batch.present[0].tolist() == [float(s.value == "speech") for s in STREAMS]
    assert all(b.present.all() and b.has_voice.all() and b.video.abs().sum() > 0 for b in by_task["joint"])


def test_video_features_are_the_nearest_to_each_frame(prepared, tmp_path, config_16):
    batch = batches_of(corpus(prepared, tmp_path, config_16))["joint"][0]
    seen = batch.video[0].argmax(-1).tolist()
    # Pictures every 0.12 s, frames every 0.025 s with centres at 0.0125: the picture changes at 0.06, 0.18, ...
    assert seen[:10] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2]


def test_a_reference_is_another_recording_of_the_speaker(prepared, tmp_path, config_16):
    rows = corpus(prepared, tmp_path, config_16)
    for row in range(len(rows._tasks)):
        if rows._tasks[row].value != "background":
            other = rows._reference(row, np.random.default_rng(row))
            assert other != row
            assert rows._rows[other]["speaker"] == rows._rows[row]["speaker"]


def test_dropped_rows_have_no_condition_at_all(prepared, tmp_path, config_16):
    by_task = batches_of(corpus(prepared, tmp_path, config_16, condition_dropout=1.0))
    for batch in by_task["background"] + by_task["speech"] + by_task["joint"]:
        assert batch.text_lengths.tolist() == [1] * len(batch.text_lengths)
        assert batch.has_voice.sum() == 0
        assert batch.video.abs().sum() == 0


def test_passes_weigh_the_tasks_of_an_epoch(prepared, tmp_path, config_16):
    rows = corpus(prepared, tmp_path, config_16, passes=(2.0, 0.0, 0.5))
    epoch = rows.epoch(np.random.default_rng(0))
    tasks = [rows._tasks[row].value for batch in epoch for row in batch]
    assert (tasks.count("background"), tasks.count("speech"), tasks.count("joint")) == (16, 0, 4)


def test_wrong_passes_and_missing_columns_are_refused(prepared, toy_corpus, tmp_path, config_16):
    with pytest.raises(InputError, match="one number for each"):
        corpus(prepared, tmp_path, config_16, passes=(1.0,))
    with pytest.raises(InputError, match=r"run train\.precompute"):
        corpus(toy_corpus / "train", tmp_path, config_16)
    with pytest.raises(InputError, match=r"no \.parquet files"):
        corpus(tmp_path / "nothing", tmp_path, config_16)


def test_rows_of_some_shards_are_read_on_wish(prepared, tmp_path):
    paths = shards(prepared)
    everything = open_rows(prepared, ["id"], tmp_path)
    some = open_rows(prepared, ["id"], tmp_path, [paths[0].name])
    assert list(some["id"]) == pq.read_table(paths[0], columns=["id"])["id"].to_pylist()
    assert len(some) < len(everything)
    with pytest.raises(InputError, match=r"no shard is called nothing-\*"):
        open_rows(prepared, ["id"], tmp_path, ["nothing-*"])
