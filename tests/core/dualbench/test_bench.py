"""Runs: a killed one ends in the same numbers, another setting is refused by name, the command says what it did."""

import json

import pytest
import soundfile
import torch

from dualdub_core.cli import main
from dualdub_core.dualbench.bench import run, standard_judges
from dualdub_core.dualbench.judge_classes import PannsJudge, VggishJudge
from dualdub_core.dualbench.judge_levels import LevelsJudge
from dualdub_core.dualbench.judge_speech import WordsJudge
from dualdub_core.dualbench.systems import Generated, GroundTruth, seeds_of
from dualdub_core.dualbench.testset import read_set
from dualdub_core.errors import CheckpointError, ConfigError, InputError
from dualdub_core.media.sound import write_wav
from dualdub_core.types import Audio, Stream

CLIPS = ("a", "b", "c", "d")


class Noise:
    """A system whose takes are noise from the clip's seeds."""

    name, streams = "noise", tuple(Stream)

    def __init__(self, seed=0):
        self.seed, self.settings = seed, {"kind": "noise", "seed": seed}

    def check(self, clips):
        pass

    def has(self, clip):
        return True

    def write(self, clip, folder, progress=None):
        seeds = seeds_of(clip.id, self.seed)
        stems = [
            0.1 * torch.randn(1, 1, round(clip.duration * 8000), generator=torch.Generator().manual_seed(seed))
            for seed in (seeds.speech, seeds.background)
        ]
        for what, samples in (("speech", stems[0]), ("background", stems[1]), ("mix", sum(stems))):
            write_wav(folder / f"{clip.id}.{what}.wav", Audio(samples, 8000))


class Killed(BaseException):
    """What a kill looks like from inside."""


def killer(stage, at):
    def report(now, done, total):
        if (now, done) == (stage, at):
            raise Killed

    return report


def test_a_killed_run_goes_on_to_the_same_numbers(toy_set, tmp_path):
    pytest.importorskip("librosa", reason="needs the extra bench")
    bench_set = read_set(toy_set)
    run(bench_set, Noise(), tmp_path / "whole")
    for stage, at in (("takes", 2), ("av_align", 3), ("levels", 1)):
        with pytest.raises(Killed):
            run(bench_set, Noise(), tmp_path / "killed", progress=killer(stage, at))
        assert not (tmp_path / "killed" / "results.json").exists()
    done = [*(tmp_path / "killed").rglob("*.wav"), *(tmp_path / "killed").rglob("*.safetensors")]
    stamps = {path: path.stat().st_mtime_ns for path in done}
    assert len(stamps) == 12 + 4 + 1
    run(bench_set, Noise(), tmp_path / "killed")
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    for name in ("results.json", "run.json", *(f"takes/{clip}.mix.wav" for clip in CLIPS)):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.rglob(".*"))


def test_a_kill_inside_of_a_clip_leaves_no_half_of_it(toy_set, tmp_path):
    class Dies(Noise):
        def write(self, clip, folder, progress=None):
            super().write(clip, folder)
            if clip.id == "b":
                (folder / "b.mix.wav").unlink()
                raise Killed

    bench_set = read_set(toy_set)
    with pytest.raises(Killed):
        run(bench_set, Dies(), tmp_path / "killed", judges=[LevelsJudge()])
    assert (tmp_path / "killed/takes/b.speech.wav").exists()
    results = [run(bench_set, Noise(), tmp_path / name, judges=[LevelsJudge()]) for name in ("killed", "whole")]
    assert results[0] == results[1]


def test_a_take_depends_on_its_clip_and_not_on_the_order(toy_set, tmp_path):
    bench_set, system = read_set(toy_set), Generated(decoder="codec")
    system.write(bench_set.clips[0], tmp_path / "alone")
    for clip in reversed(bench_set.clips[:2]):
        Generated(decoder="codec").write(clip, tmp_path / "turned")
    for what in ("speech", "background", "mix"):
        paths = [tmp_path / name / f"a.{what}.wav" for name in ("alone", "turned")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert soundfile.info(paths[0]).duration == 1.2
    assert seeds_of("a", 0) == seeds_of("a", 0) != seeds_of("b", 0)
    assert seeds_of("a", 0) != seeds_of("a", 1)
    assert seeds_of("a", 0).speech != seeds_of("a", 0).background


def test_streams_can_be_made_separately_and_added(toy_set, tmp_path):
    together, apart = Generated(decoder="codec"), Generated(decoder="codec", separately=True)
    apart.write(read_set(toy_set).clips[3], tmp_path)
    assert {soundfile.info(path).duration for path in tmp_path.glob("*.wav")} == {1.0}
    assert "made separately and added" in apart.name
    assert apart.settings != together.settings


def test_more_clips_keep_the_takes_of_fewer(toy_set, tmp_path):
    run(read_set(toy_set, limit=1), Noise(), tmp_path, judges=[LevelsJudge()])
    first = (tmp_path / "takes" / "a.mix.wav").stat().st_mtime_ns
    results = run(read_set(toy_set), Noise(), tmp_path, judges=[LevelsJudge()])
    assert (tmp_path / "takes" / "a.mix.wav").stat().st_mtime_ns == first
    assert results.clips == CLIPS


def test_another_set_or_setting_is_refused_by_name_or_starts_anew(toy_set, tmp_path):
    bench_set, judges = read_set(toy_set), [LevelsJudge()]
    run(bench_set, GroundTruth(), tmp_path, judges=judges)
    kept = (tmp_path / "takes" / "a.mix.wav").stat().st_mtime_ns
    with pytest.raises(InputError, match=r"system.kind: ground-truth there, noise now.*give --anew"):
        run(bench_set, Noise(), tmp_path, judges=judges)
    assert (tmp_path / "takes" / "a.mix.wav").stat().st_mtime_ns == kept
    run(bench_set, Noise(), tmp_path, judges=judges, anew=True)
    assert (tmp_path / "takes" / "a.mix.wav").stat().st_mtime_ns != kept
    with pytest.raises(InputError, match=r"system.seed: 0 there, 1 now"):
        run(bench_set, Noise(1), tmp_path, judges=judges)
    (tmp_path / "mine" / "takes").mkdir(parents=True)
    with pytest.raises(InputError, match="has a folder 'takes' that no benchmark made"):
        run(bench_set, Noise(), tmp_path / "mine", judges=judges)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, expected a folder"):
        run(bench_set, Noise(), tmp_path / "file", judges=judges)


def test_other_weights_are_asked_again_and_nothing_else(toy_set, tmp_path):
    pytest.importorskip("jiwer", reason="needs the extra bench")

    class Constant:
        def __init__(self, words):
            self.words, self.times = words, 0

        def transcribe(self, audio):
            self.times += 1
            return self.words

    def judges(voice, identity, normaliser="seed_tts_eval_en"):
        return [LevelsJudge(), WordsJudge(lambda: voice, name="w", identity=identity, normaliser=normaliser)]

    bench_set, first, second = read_set(toy_set), Constant("one two"), Constant("two two")
    before = run(bench_set, GroundTruth(), tmp_path, judges=judges(first, "1"))
    run(bench_set, GroundTruth(), tmp_path, judges=judges(first, "1", "none"))
    assert first.times == 8  # another normaliser needs no hearing
    stamp = (tmp_path / "heard" / "levels" / "a.safetensors").stat().st_mtime_ns
    after = run(bench_set, GroundTruth(), tmp_path, judges=judges(second, "2"))
    assert second.times == 8
    assert (tmp_path / "heard" / "levels" / "a.safetensors").stat().st_mtime_ns == stamp
    assert before.figures != after.figures
    with pytest.raises(ConfigError, match="expected each name once"):
        run(bench_set, GroundTruth(), tmp_path, judges=[LevelsJudge(), LevelsJudge()])


def test_weights_that_are_not_there_are_named_before_any_work(toy_set, tmp_path):
    bench_set = read_set(toy_set)
    for judge in (PannsJudge(tmp_path / "cnn14.pth"), VggishJudge(tmp_path / "vggish.pth")):
        with pytest.raises(CheckpointError, match=r"not there, expected .* nothing is downloaded by itself"):
            run(bench_set, GroundTruth(), tmp_path / "out", judges=[judge])
    with pytest.raises(CheckpointError):
        run(bench_set, Generated(model=tmp_path / "model.safetensors"), tmp_path / "out", judges=[LevelsJudge()])
    assert not (tmp_path / "out").exists()


def test_two_judges_need_no_network():
    assert [judge.key for judge in standard_judges()] == ["av_align", "levels"]


def test_the_command_judges_writes_and_says_what_it_did_not_measure(toy_set, take_folder, tmp_path, capsys):
    pytest.importorskip("librosa", reason="needs the extra bench")
    out = tmp_path / "out"
    common = ["bench", "--set", str(toy_set), "--out", str(out), "--quiet", "--limit", "2"]
    assert main([*common, "--system", str(take_folder()), "--name", "rival"]) == 0
    said = capsys.readouterr().out
    assert "**rival** on toy, 2 clips" in said
    assert "not measured: WER: give --asr" in said
    assert {"results.json", "table.md", "report.html", "run.json"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "results.json").read_text())["clips"] == ["a", "b"]
    for arguments, message in (
        ([*common, "--system", "ground-truth"], "holds a run with other settings"),
        (common[:3], "give --set SET and --out FOLDER"),
        ([*common, "--asr", "nobody/whisper-nowhere"], "nothing is downloaded by itself"),
        ([*common, "--panns", str(tmp_path / "x.pth")], "nothing is downloaded by itself"),
        ([*common, "--device", "toaster"], "device"),
        ([*common, "--draws", "-1"], "expected 0 or more"),
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
