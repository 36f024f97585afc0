"""The `dualdub` command: generate a soundtrack, look into files, fetch published weights."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import hub
from .artifacts import load_codes, load_voice, save_codes, save_voice
from .checks.inspection import describe
from .commands import origin
from .commands.batch import Make, add_batch
from .commands.doctor import add_doctor
from .commands.gate import PICTURE, SCORES, add_gate, gated, is_gated, thresholds_of
from .commands.long import add_long
from .commands.mix import add_mix, mix_config
from .commands.preflight import add_preflight
from .commands.sheet import SHEET, add_sheet, write_sheet
from .dualbench.command import add_bench
from .errors import DualDubError, InputError
from .files import replacing
from .flow import SOLVERS, evaluation_times
from .gate.rolling import Roll
from .media.muxing import CONTAINERS, MuxReport, mux
from .media.sound import MediaInfo, clip_length, probe, read_audio, write_wav
from .media.video import read_frames
from .mixing.loudness import integrated_lufs
from .mixing.report import mix_report
from .pipeline import Lock, encode_stem, retake_locks
from .progress import Progress
from .provenance.provenance import Provenance
from .provenance.stamps import video_tags
from .sampling import SamplingConfig, Seeds
from .scripts.captions import to_srt, to_vtt
from .scripts.formats import detect_format, parse_script, read_script, read_text
from .scripts.measured import measure_lines
from .scripts.plan import plan_script
from .scripts.plan_picture import draw_plan
from .scripts.rerolls import line_seeds, parse_rerolls
from .scripts.script import Script
from .scripts.vocabulary import vocabulary_warning
from .system import BUILTIN, System, Take, generate, load_system
from .text import normalise
from .types import Audio, Stream, Task, VideoFrames, Voice
from .voice import encode_voice

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 done, 1 an error that one line explains, 2 wrong usage, 130 cancelled."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except DualDubError as error:
        print(f"dualdub: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder without permission
        print(f"dualdub: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dualdub: cancelled", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dualdub", description="Speech and background sound for a silent video.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    defaults = argparse.ArgumentDefaultsHelpFormatter
    _add_generate(commands.add_parser("generate", help="make the soundtrack of a video", formatter_class=defaults))
    add_batch(commands, settings=_add_settings, maker=_maker)
    add_long(commands, device=_device, bars=_Bars)
    plan = "say when each line of a script is spoken and whether its words fit; needs no weights"
    _add_plan(commands.add_parser("plan", help=plan, formatter_class=defaults))
    add_preflight(commands, device=_device)
    add_doctor(commands)
    inspect = commands.add_parser("inspect", help="say what a checkpoint, a media file, codes or a voice holds")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)
    download = commands.add_parser("download", help="fetch published weights into a folder")
    download.add_argument("name", choices=sorted(hub.PUBLISHED))
    download.add_argument("-o", "--out", type=Path, required=True, help="folder")
    download.set_defaults(run=lambda o: print(hub.download(o.name, o.out)))
    add_bench(commands, bars=_Bars, device=_device)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", type=Path, nargs="?", help="the silent video; not needed for --task speech")
    add("-o", "--out", type=Path, required=True, help="folder for the results")
    _add_settings(parser)
    parser.set_defaults(run=_generate)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--script", default="", help="what is said, as words, words with cues, SRT or VTT; or @FILE to read it there")
    add("--voice", type=Path, help="a recording of the speaker, 3 to 10 s, or a voice saved by --save-voice")
    add("--task", choices=[t.value for t in Task], default=Task.JOINT.value, help="which streams are written")
    add("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint; the built-in mini model")
    add("--decoder", choices=["flow", "codec"], help="final quality, or a fast draft; by default the model's choice")
    add("--steps", type=int, default=10, help="of the flow decoder's solver; more is slower")
    add("--solver", choices=list(SOLVERS), default="euler", help="of the flow decoder")
    add("--seed", type=int, default=0, help="of both streams")
    add("--speech-seed", type=int, help="of speech alone")
    add("--background-seed", type=int, help="of the background alone")
    add("--lock-speech", type=Path, metavar="FILE", help="a recording that is the speech; the rest fits it")
    add("--lock-background", type=Path, metavar="FILE", help="a recording that is the background; the rest fits it")
    add("--retake", metavar="FROM:TO", help="seconds to sample anew; the rest is kept from --codes")
    add("--retake-stream", choices=["both", "speech", "background"], default="both")
    add("--codes", type=Path, help="codes of an earlier take (default: codes.safetensors in the output folder)")
    add("--duration", type=float, help="seconds, for --task speech; it ends on its own without")
    add("--start", type=float, default=0.0, help="seconds into the video where the clip starts")
    add("--length", type=float, help="seconds of the video to use")
    sampling = parser.add_argument_group("sampling", "what is not given is as the model prefers")
    for stream in Stream:
        name, more = stream.value, sampling.add_argument
        more(f"--{name}-temperature", type=float, help="0 takes the likeliest always")
        more(f"--{name}-top-k", type=int, help="choose among so many likeliest; 0 means all")
        more(f"--{name}-top-p", type=float, help="and among those that hold this share")
    sampling.add_argument("--cfg", type=float, help="guidance, 1.0 = off")
    _add_lines(parser.add_argument_group("lines", "for a script with times or names").add_argument)
    add_gate(parser)
    add_mix(parser)
    add_sheet(parser)
    add("--save-voice", type=Path, metavar="FILE", help="keep the voice for later")
    origin.add_origin(parser)
    add("--device", default="cpu", help="where the models run: cpu, cuda, mps ...")
    add("--precision", choices=sorted(DTYPES), default="fp32", help="of the language model and the flow decoder")
    add("-q", "--quiet", action="store_true", help="no progress bars")


def _add_lines(add: Callable[..., Any]) -> None:
    add("--speaker", action="append", default=[], metavar="NAME=FILE", help="the voice of a name; may be repeated")
    add("--reroll", action="append", default=[], metavar="LINE:SEED", help="seed of one line alone; may be repeated")
    add("--fit-background", action="store_true", help="sample the background to fit what is spoken")


def _generate(options: argparse.Namespace) -> None:
    task = Task(options.task)
    if options.video is None and task is not Task.SPEECH:
        raise InputError(f"video: task '{task.value}' needs a video file")
    _check_early(options, task)
    bars = _Bars(quiet=options.quiet)
    try:
        files = _run(options, task, bars, _load(options))
    finally:
        bars.close()
    for file in files:
        print(file)


def _maker(options: argparse.Namespace) -> Make:
    """For `dualdub batch`: the model is loaded once."""
    system = _load(options)

    def make(one: argparse.Namespace, folder: Path) -> None:
        one.out, bars, task = folder, _Bars(quiet=one.quiet), Task(one.task)
        if one.video is None and task is not Task.SPEECH:
            raise InputError(f"video: task '{task.value}' needs a video file")
        _check_early(one, task)
        try:
            _run(one, task, bars, system)
        finally:
            bars.close()

    return make


def _load(options: argparse.Namespace) -> System:
    system = load_system(options.model, device=_device(options.device), dtype=DTYPES[options.precision])
    options.decoder = options.decoder or system.preferred_decoder
    options.preferred_sampling = system.preferred_sampling
    if not system.header.is_trained:
        print(
            f"note: the weights '{system.header.info['name']}' are untrained: what you hear is noise of the right "
            "length, not a soundtrack",
            file=sys.stderr,
        )
    return system


def _run(options: argparse.Namespace, task: Task, bars: "_Bars", system: System) -> list[Path]:
    script, seeds, sampling = _script(options), _seeds(options), _sampling(options)
    if task is not Task.BACKGROUND:
        _warn_of_words(script, system)
    voice, voices = _voice(options, system, task), _voices(options, system)
    info, frames = _watch(options, system, task, bars)
    recordings = _recordings(options)
    locks = _locks(options, system, recordings, frames.duration if frames else options.duration)

    def make(roll: Roll) -> Take:
        return generate(
            system,
            task=task,
            frames=frames,
            script=script,
            voice=voice,
            voices=voices,
            rerolls=_rerolls(options),
            background="hears the speech" if options.fit_background else "on its own",
            duration=options.duration,
            sampling=sampling,
            seeds=roll.seeds,
            # Lines do not depend on the background's seed, nor a background on its own on theirs.
            locks=locks if isinstance(script, Script) else [*locks, *roll.locks],
            recordings=recordings,
            decoder=options.decoder,
            num_steps=options.steps,
            solver=options.solver,
            mixing=mix_config(options),
            progress=bars,
        )

    if is_gated(options):
        words = script.text if isinstance(script, Script) else script
        outcome = gated(options, make, seeds=seeds, sampling=sampling, locks=locks, words=words, progress=bars)
        print(f"note: gate: {outcome.text()}", file=sys.stderr)
        take, chosen = outcome.take, outcome.best.roll.seeds
        options.speech_seed, options.background_seed = chosen.speech, chosen.background
    else:
        take = make(Roll(1, seeds, task.streams))
    heard = [] if task is Task.BACKGROUND else [one for one in (voice, *voices.values()) if one is not None]
    return _write(options, system, take, info, heard, bars)


def _warn_of_words(script: Script | str, system: System) -> None:
    lines = [script] if isinstance(script, str) else [line.text for line in script.lines]
    unknown = vocabulary_warning(lines, system.header.info)
    if unknown:
        print(f"note: {unknown}", file=sys.stderr)


def _check_early(options: argparse.Namespace, task: Task) -> None:
    """Refuse what can be known to be wrong before a model is loaded."""
    evaluation_times(options.steps, options.solver)
    for settings in (_sampling, _seeds, mix_config, thresholds_of):
        settings(options)
    if task is not Task.BACKGROUND:
        _check_script(options)
    if options.retake is not None:
        _range(options.retake)
        if not _kept_codes(options).is_file():
            raise InputError(
                f"retake: {_kept_codes(options)}: no such file; make a first take into this folder, or give --codes"
            )
    speakers = [path for _, path in _speakers(options)]
    for path in (options.video, options.voice, options.lock_speech, options.lock_background, *speakers):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results")
    if options.video is not None and _target(options).resolve() == options.video.resolve():
        raise InputError(f"{out}: the video lies there and would be replaced; choose another folder")
    origin.signing_of(options, None if options.video is None else _target(options))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: the folder cannot be made ({error.strerror}); choose another") from error


def _check_script(options: argparse.Namespace) -> None:
    script = _script(options)
    normalise(script.text if isinstance(script, Script) else script)
    rerolls = _rerolls(options)
    if isinstance(script, Script):
        line_seeds(script, 0, rerolls)
    elif rerolls or options.speaker:
        raise InputError("reroll, speaker: the script has no lines with times or names; use --speech-seed and --voice")


def _device(name: str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # how torch says so differs from device to device
        reason = str(error).split("\n", maxsplit=1)[0]
        raise InputError(f"device: '{name}' cannot be used here ({reason}); try 'cpu'") from error


def _target(options: argparse.Namespace) -> Path:
    """The dubbed video: named as the source, in Matroska where its own kind of file cannot be written."""
    name: str = options.video.name if options.video.suffix.lower() in CONTAINERS else f"{options.video.stem}.mkv"
    return Path(options.out / name)


def _voice(options: argparse.Namespace, system: System, task: Task) -> Voice | None:
    if options.voice is None or task is Task.BACKGROUND:
        return None
    voice = _noted(_voice_of(system, options.voice, options.voice.stem), options, "")
    if options.save_voice is not None:
        save_voice(options.save_voice, voice)
    return voice


def _noted(voice: Voice, options: argparse.Namespace, name: str) -> Voice:
    """The voice with the note of who agreed to its use; it is asked for where there is none."""
    note = origin.consents(options, [speaker for speaker, _ in _speakers(options)]).get(name, "")
    voice = origin.with_consent(voice, note)
    if not voice.consent:
        print(
            f"note: nobody's consent is written down for the voice '{name or voice.name}'; --consent "
            f'"{f"{name}=" if name else ""}who agreed, and when" keeps it in every file',
            file=sys.stderr,
        )
    return voice


def _voice_of(system: System, path: Path, name: str) -> Voice:
    assert system.model is not None
    return (
        load_voice(path) if path.suffix == ".safetensors" else encode_voice(system.model, read_audio(path), name=name)
    )


def _speakers(options: argparse.Namespace) -> list[tuple[str, Path]]:
    pairs = [text.partition("=") for text in options.speaker]
    for name, sign, file in pairs:
        if not (name.strip() and sign and file):
            raise InputError(f"speaker: got '{name}{sign}{file}', expected NAME=FILE, such as Anna=anna.wav")
    return [(name.strip(), Path(file)) for name, _, file in pairs]


def _voices(options: argparse.Namespace, system: System) -> dict[str, Voice]:
    return {name: _noted(_voice_of(system, path, name), options, name) for name, path in _speakers(options)}


def _rerolls(options: argparse.Namespace) -> dict[int, int]:
    return parse_rerolls(",".join(options.reroll))


def _watch(
    options: argparse.Namespace, system: System, task: Task, progress: Progress
) -> tuple[MediaInfo | None, VideoFrames | None]:
    if options.video is None:
        return None, None
    info = probe(options.video)
    if task is Task.SPEECH:
        return info, None
    assert system.video_encoder is not None
    size = system.video_encoder.config.image_size
    frames = read_frames(options.video, size=size, start=options.start, duration=options.length, progress=progress)
    return info, frames


def _script(options: argparse.Namespace) -> str | Script:
    """Words as they are; anything with times or names as lines on the clip's clock."""
    given: str = options.script
    text = read_text(given[1:]) if given.startswith("@") else given
    return text if detect_format(text) == "plain" else parse_script(text).part(options.start, options.length)


def _sampling(options: argparse.Namespace) -> SamplingConfig:
    """What is given; before a model is loaded the rest is as usual, then as it prefers."""
    names = [f"{stream.value}_{name}" for stream in Stream for name in ("temperature", "top_k", "top_p")]
    usual: SamplingConfig = getattr(options, "preferred_sampling", SamplingConfig())
    return usual.but(**{name: getattr(options, name) for name in names}, cfg_scale=options.cfg)


def _kept_codes(options: argparse.Namespace) -> Path:
    return Path(options.codes or options.out / "codes.safetensors")


def _recordings(options: argparse.Namespace) -> dict[Stream, Audio]:
    files = {Stream.SPEECH: options.lock_speech, Stream.BACKGROUND: options.lock_background}
    return {stream: read_audio(path) for stream, path in files.items() if path is not None}


def _seeds(options: argparse.Namespace) -> Seeds:
    own = {s.value: getattr(options, f"{s.value}_seed") for s in Stream}
    return Seeds(**{name: options.seed if seed is None else seed for name, seed in own.items()})


def _locks(
    options: argparse.Namespace, system: System, recordings: dict[Stream, Audio], duration: float | None
) -> list[Lock]:
    locks: list[Lock] = []
    for stream, recording in recordings.items():
        if duration is None:
            raise InputError("lock: give --duration, the length that the locked recording is fitted to")
        if system.codec is None:
            raise InputError("lock: this checkpoint has no codec to encode the recording with")
        locks.append(Lock(stream, encode_stem(system.codec, recording, duration=duration)))
    if options.retake is not None:
        start, end = _range(options.retake)
        streams = tuple(Stream) if options.retake_stream == "both" else (Stream(options.retake_stream),)
        codes = load_codes(_kept_codes(options))
        streams = tuple(s for s in streams if codes.stream(s) is not None)
        # A recording given for a stream counts more than the earlier take of it.
        given = {lock.stream for lock in locks}
        locks = [k for k in retake_locks(codes, start=start, end=end, streams=streams) if k.stream not in given] + locks
    return locks


def _range(text: str) -> tuple[float, float]:
    try:
        start, end = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise InputError(f"retake: got '{text}', expected FROM:TO in seconds, such as 2.0:3.5") from error
    return start, end


def _write(
    options: argparse.Namespace,
    system: System,
    take: Take,
    info: MediaInfo | None,
    voices: Sequence[Voice],
    bars: "_Bars",
) -> list[Path]:
    out: Path = options.out
    made_by = _made_by(options, system, voices)
    muxed: MuxReport | None = None
    written: dict[str, str] = {}
    stems: dict[str, Audio] = {"speech": take.mixed.speech, "background": take.mixed.background, "mix": take.mixed.mix}
    for name, audio in stems.items():
        write_wav(out / f"{name}.wav", audio, made_by=made_by)
        written[name] = f"{name}.wav"
    codes = replace(take.codes, made_by=made_by)
    save_codes(out / "codes.safetensors", codes, info={"model": system.header.info["name"]})
    written["codes"] = "codes.safetensors"
    if info is not None:
        target = _target(options)
        part, tags = {"start": options.start, "duration": options.length}, video_tags(made_by, target.suffix)
        muxed = mux(options.video, take.mixed.mix, target, **part, metadata=tags, progress=bars)
        written["video"] = target.name
        over = take.codes.duration - muxed.duration
        if over > 0.01:
            print(
                f"note: the speech lasts {over:.2f} s longer than the video, {target.name} ends first", file=sys.stderr
            )
    lines = _write_captions(options, take, written)
    if options.sheet:
        said = _script(options)
        write_sheet(options, take, model=made_by.model, script=said, seeds=made_by.seeds, progress=bars)
        written["sheet"] = SHEET
    if is_gated(options):
        written |= {"gate": SCORES, "gate_picture": PICTURE}
    origin.sign_files([out / name for name in written.values()], origin.signing_of(options, None), made_by)
    report = _report(options, system, take, written) | lines | {"video": None if muxed is None else asdict(muxed)}
    report["made_by"] = made_by.as_dict()
    for reason in report["mix"]["unreached"]:
        print(f"note: mix: {reason}", file=sys.stderr)
    with replacing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    return [out / name for name in (*written.values(), "report.json")]


def _made_by(options: argparse.Namespace, system: System, voices: Sequence[Voice]) -> Provenance:
    decoder = {"kind": options.decoder, "steps": options.steps, "solver": options.solver}
    recorded = {Stream.SPEECH: options.lock_speech, Stream.BACKGROUND: options.lock_background}
    return origin.record(
        model=options.model,
        name=str(system.header.info["name"]),
        task=Task(options.task),
        seeds=asdict(_seeds(options)),
        script=_script(options),
        voices=voices,
        recorded=[stream for stream, path in recorded.items() if path is not None],
        settings={"sampling": asdict(_sampling(options)), "decoder": decoder, "mix": asdict(mix_config(options))},
    )


def _write_captions(options: argparse.Namespace, take: Take, written: dict[str, str]) -> dict[str, Any]:
    """The measured times of a script's lines, as files and for the report."""
    script = _script(options)
    if isinstance(script, str) or take.codes.speech is None:
        return {}
    measured = measure_lines(take.soundtrack.speech, plan_script(script, take.codes.duration))
    texts = {"json": json.dumps(measured.as_dict(), indent=2, ensure_ascii=False)}
    if measured.is_heard:
        texts |= {"srt": to_srt(measured.script()), "vtt": to_vtt(measured.script())}
    for kind, text in texts.items():
        written[f"captions_{kind}"] = f"captions.{kind}"
        with replacing(options.out / f"captions.{kind}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return {"lines": measured.as_dict()["lines"]}


def _report(options: argparse.Namespace, system: System, take: Take, written: dict[str, str]) -> dict[str, Any]:
    mixed = take.mixed
    return {
        "model": dict(system.header.info),
        "task": options.task,
        "script": script.text if isinstance(script := _script(options), Script) else script,
        "duration": take.codes.duration,
        "num_samples": mixed.mix.num_samples,
        "sample_rate": mixed.mix.sample_rate,
        "num_frames": take.codes.num_frames,
        "decoder": {"kind": options.decoder, "steps": options.steps, "solver": options.solver},
        "sampling": asdict(_sampling(options)),
        "seeds": asdict(_seeds(options)),
        "loudness": {
            "mix_lufs": _finite(mixed.lufs),
            "speech_lufs": _finite(integrated_lufs(mixed.speech)),
            "background_lufs": _finite(integrated_lufs(mixed.background)),
            "true_peak_db": _finite(mixed.true_peak_db),
            "limiter_db": _finite(mixed.gain_reduction_db),
        },
        "mix": mix_report(mixed, mix_config(options))[0],
        "seconds": {stage: round(s, 3) for stage, s in take.seconds.items()},
        "files": written,
    }


def _finite(values: Tensor) -> float | None:
    """A figure for JSON, which has no infinity: silence has no loudness."""
    value = float(values[0])
    return round(value, 2) if math.isfinite(value) else None


def _add_plan(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("script", type=Path, help="a file of words, words with cues, SRT, VTT or JSON")
    add("--video", type=Path, help="the clip; without it the script's last line ends it")
    add("--start", type=float, default=0.0, help="seconds into the video where the clip starts")
    add("--length", type=float, help="seconds of the video to use")
    add("--json", action="store_true", help="print JSON instead of a table")
    add("--picture", type=Path, metavar="FILE", help="also draw the plan as a PNG")
    parser.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> None:
    duration: float | None = options.length
    if options.video is not None:
        duration = clip_length(probe(options.video).duration, options.start, options.length, options.video.name)
    plan = plan_script(read_script(options.script).part(options.start, duration), duration)
    print(json.dumps(plan.as_dict(), indent=2, ensure_ascii=False) if options.json else plan.table())
    if options.picture is not None:
        with replacing(options.picture) as temporary:
            draw_plan(plan).save(temporary, format="PNG")


def _inspect(options: argparse.Namespace) -> None:
    print(json.dumps(describe(options.file), indent=2, default=str))


class _Bars:
    """One progress bar a stage, on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._stage = ""
        self._bar: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._quiet:
            return
        if stage != self._stage or (self._bar is not None and total != self._bar.total):
            self.close()
            self._stage, self._bar = stage, tqdm(total=total, desc=stage, leave=True)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._stage, self._bar = "", None
