"""`dualdub bench`: judge a system on a set, or compare two that were judged."""

import argparse
from pathlib import Path
from typing import get_args

import torch

from ..checkpoint import read_header
from ..dualbench import tables
from ..dualbench.bench import run, standard_judges, write_json
from ..dualbench.casp import BUILTIN_CASP, load_casp
from ..dualbench.cnn14 import Cnn14Config
from ..dualbench.compare import compare
from ..dualbench.compare import markdown as comparison_table
from ..dualbench.intervals import SET_DRAWS
from ..dualbench.judge_classes import PannsJudge, VggishJudge, required
from ..dualbench.judge_harmony import CaspPairs, HarmonyJudge
from ..dualbench.judge_speech import OpinionJudge, VoiceJudge, WordsJudge
from ..dualbench.judges import Judge
from ..dualbench.local import WAVLM, WHISPER, folder_identity, local_folder
from ..dualbench.notices import without_warnings
from ..dualbench.report import REPORT, TABLE, write_report
from ..dualbench.speakers import load_speaker_judge
from ..dualbench.systems import BenchSystem, Generated, GroundTruth, Recorded
from ..dualbench.testset import read_set, sha256_of
from ..dualbench.transcripts import load_recogniser
from ..dualbench.utmos import load_utmos
from ..dualbench.words import Normaliser
from ..errors import InputError
from ..files import replacing
from ..progress import Progress
from ..system import BUILTIN, preferred_decoder, preferred_sampling
from .console import Bars, say
from .settings import device_of

OURS, TRUTH = "dualdub", "ground-truth"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_OPTIONS = {
    "panns": "FD, KL and IS: give --panns FILE, PANNs' Cnn14",
    "vggish": "FAD: give --vggish FILE",
    "asr": f"WER: give --asr, for {WHISPER} or another Whisper on this disk",
    "speaker_judge": f"SIM: give --speaker-judge, for {WAVLM} or another on this disk",
    "utmos": "UTMOS: give --utmos FILE",
    "casp": "DualScore: give --casp",
}


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="judge a system on a DualBench set, or compare two",
        description="Judge our model or anyone's recordings on a DualBench set; a run that stopped goes on by the same "
        "command. Networks that judge are named by you, and nothing is downloaded.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--system", default=OURS, help=f"'{OURS}', '{TRUTH}', or a FOLDER of <id>.speech.wav, <id>.background.wav")
    add("--set", metavar="SET", help="folder of the set, or its manifest.jsonl")
    add("-o", "--out", type=Path, help="folder for results; with --compare, for comparison.md and .json")
    add("--compare", type=Path, nargs=2, metavar=("A", "B"), help="results.json of two finished runs on one set")
    add("--limit", type=int, help="only the set's first clips")
    add("--anew", action="store_true", help="replace a run of other settings in the folder")
    add("--draws", type=int, default=SET_DRAWS, help="for intervals of FD, IS and FAD; 0 for none")
    add("--name", default="", help="of the system, for a FOLDER")
    add("--allow-missing", action="store_true", help="judge a FOLDER that lacks clips")
    ours = parser.add_argument_group(f"the system '{OURS}'")
    ours.add_argument("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint")
    ours.add_argument("--decoder", choices=["flow", "codec"], help="what the model prefers if not given")
    ours.add_argument("--steps", type=int, default=10, help="of the flow's solver")
    ours.add_argument("--seed", type=int, default=0, help="a clip's seeds are drawn from this and its id")
    for name in ("speech", "background"):
        ours.add_argument(f"--{name}-temperature", type=float, help="0 takes the likeliest; else as the model prefers")
        ours.add_argument(f"--{name}-top-k", type=int, help="0 means all; likewise")
    ours.add_argument("--cfg", type=float, help="guidance, 1.0 = off; likewise")
    ours.add_argument("--separately", action="store_true", help="both streams by themselves, then added (table 5)")
    ours.add_argument("--precision", choices=sorted(_DTYPES), default="fp32")
    judges = parser.add_argument_group("judges, each by its file or folder")
    judges.add_argument("--panns", type=Path, metavar="FILE", help="Cnn14 of PANNs: FD, KL, IS")
    judges.add_argument("--panns-rate", type=int, choices=[16_000, 32_000], default=16_000, help="Hz, of that file")
    judges.add_argument("--vggish", type=Path, metavar="FILE", help="torchvggish's weights: FAD")
    judges.add_argument(
        "--asr", nargs="?", const=WHISPER, metavar="FOLDER", help=f"Whisper: WER; {WHISPER} if not named"
    )
    judges.add_argument("--normaliser", choices=get_args(Normaliser), default="whisper_english", help="of words")
    judges.add_argument(
        "--speaker-judge", nargs="?", const=WAVLM, metavar="FOLDER", help=f"WavLM: SIM; {WAVLM} if not named"
    )
    judges.add_argument("--utmos", type=Path, metavar="FILE", help="SpeechMOS's utmos22_strong: UTMOS")
    judges.add_argument(
        "--casp", type=Path, nargs="?", const=BUILTIN_CASP, metavar="FILE", help="a CASP: DualScore; ours if not named"
    )
    add("--device", default="cpu", help="where networks run: cpu, cuda, mps ...")
    add("-q", "--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> None:
    if options.draws < 0:
        raise InputError(f"bench: got --draws {options.draws}, expected 0 or more")
    if options.compare is not None:
        _compare(options)
        return
    if options.set is None or options.out is None:
        raise InputError("bench: give --set SET and --out FOLDER, or --compare A B")
    device_of(options.device)
    progress = Bars(quiet=options.quiet)
    try:
        with without_warnings("dualdub_core.voice"):  # the voices of a set are short
            _judge(options, progress)
    finally:
        progress.close()


def _judge(options: argparse.Namespace, progress: Progress) -> None:
    system, judges = system_of(options), judges_of(options)
    bench_set = read_set(options.set, limit=options.limit, progress=progress)
    results = run(
        bench_set, system, options.out, judges=judges, draws=options.draws, anew=options.anew, progress=progress
    )
    missing = [line for name, line in _OPTIONS.items() if getattr(options, name) is None]
    write_report(results, bench_set, options.out, silent_about=missing, progress=progress)
    say(tables.markdown(results))
    for line in missing:
        say(f"not measured: {line}")
    for name in (TABLE, "results.json", REPORT):
        say(str(options.out / name))


def _compare(options: argparse.Namespace) -> None:
    comparison = compare(*options.compare, draws=options.draws)
    text = comparison_table(comparison)
    say(text)
    if options.out is not None:
        write_json(options.out / "comparison.json", comparison.to_json())
        with replacing(options.out / "comparison.md") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def system_of(options: argparse.Namespace) -> BenchSystem:
    """The system that the command line names."""
    if options.system == TRUTH:
        return GroundTruth()
    if options.system != OURS:
        return Recorded(Path(options.system), options.name, options.allow_missing)
    header = read_header(options.model)
    return Generated(
        model=options.model,
        decoder=options.decoder or preferred_decoder(header),
        num_steps=options.steps,
        sampling=preferred_sampling(header.info).but(
            speech_temperature=options.speech_temperature,
            speech_top_k=options.speech_top_k,
            background_temperature=options.background_temperature,
            background_top_k=options.background_top_k,
            cfg_scale=options.cfg,
        ),
        seed=options.seed,
        separately=options.separately,
        device=options.device,
        dtype=_DTYPES[options.precision],
    )


def judges_of(options: argparse.Namespace) -> list[Judge]:
    """The judges that the command line names, after those that need no network.

    Raises:
        CheckpointError: weights are not there.
    """
    judges, device = standard_judges(), options.device
    if options.panns is not None:
        judges.append(PannsJudge(options.panns, Cnn14Config.paper(options.panns_rate), device=device))
    if options.vggish is not None:
        judges.append(VggishJudge(options.vggish, device=device))
    if options.asr is not None:
        folder = local_folder(options.asr, "WER")
        facts = {"name": _name(options.asr), "identity": folder_identity(folder), "normaliser": options.normaliser}
        judges.append(WordsJudge(lambda: load_recogniser(folder, device=device), **facts))
    if options.speaker_judge is not None:
        voices = local_folder(options.speaker_judge, "SIM")
        facts = {"name": _name(options.speaker_judge), "identity": folder_identity(voices)}
        judges.append(VoiceJudge(lambda: load_speaker_judge(voices, device=device), **facts))
    if options.utmos is not None:
        required(options.utmos, "UTMOS", "SpeechMOS's utmos22_strong_step7459_v1.pt")
        facts = {"name": f"UTMOS {options.utmos.name}", "identity": sha256_of(options.utmos)}
        judges.append(OpinionJudge(lambda: load_utmos(options.utmos, device=device), **facts))
    if options.casp is not None:
        required(options.casp, "DualScore", "a CASP trained by train/")
        facts = {"name": f"CASP {options.casp.name}", "identity": sha256_of(options.casp)}
        judges.append(HarmonyJudge(lambda: CaspPairs(load_casp(options.casp, device=device)), **facts))
    return judges


def _name(folder: str) -> str:
    return folder if folder in (WHISPER, WAVLM) else Path(folder).name
