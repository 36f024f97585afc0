"""The `dualdub` command: generate a soundtrack, look into files, fetch published weights."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import hub
from .artifacts import load_codes, load_voice, save_codes, save_voice
from .errors import DualDubError, InputError
from .files import replacing
from .flow import SOLVERS, evaluation_times
from .inspection import describe
from .loudness import integrated_lufs
from .media import MediaInfo, probe, read_audio, write_wav
from .mixing import MixConfig
from .muxing import CONTAINERS, MuxReport, mux
from .pipeline import Lock, encode_stem, retake_locks
from .progress import Progress
from .sampling import SamplingConfig, Seeds, StreamSampling
from .system import BUILTIN, System, Take, generate, load_system
from .text import normalise
from .types import Audio, Stream, Task, VideoFrames, Voice
from .video import read_frames
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
    inspect = commands.add_parser("inspect", help="say what a checkpoint, a media file, codes or a voice holds")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(run=_inspect)
    download = commands.add_parser("download", help="fetch published weights into a folder")
    download.add_argument("name", choices=sorted(hub.PUBLISHED))
    download.add_argument("-o", "--out", type=Path, required=True, help="folder")
    download.set_defaults(run=lambda o: print(hub.download(o.name, o.out)))
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", type=Path, nargs="?", help="the silent video; not needed for --task speech")
    add("--script", default="", help="what is said, or @FILE to read it from a file")
    add("--voice", type=Path, help="a recording of the speaker, 3 to 10 s, or a voice saved by --save-voice")
    add("-o", "--out", type=Path, required=True, help="folder for the results")
    add("--task", choices=[t.value for t in Task], default=Task.JOINT.value, help="which streams are written")
    add("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint; the built-in mini model")
    add("--decoder", choices=["flow", "codec"], default="flow", help="final quality, or a fast draft")
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
    sampling = parser.add_argument_group("sampling")
    for stream in Stream:
        defaults = StreamSampling()
        name, more = stream.value, sampling.add_argument
        more(f"--{name}-temperature", type=float, default=defaults.temperature, help="0 takes the likeliest always")
        more(f"--{name}-top-k", type=int, default=defaults.top_k, help="choose among so many likeliest; 0 means all")
        more(f"--{name}-top-p", type=float, default=defaults.top_p, help="and among those that hold this share")
    sampling.add_argument("--cfg", type=float, default=1.0, help="guidance, 1.0 = off")
    mixing = parser.add_argument_group("mix")
    mixing.add_argument("--speech-gain", type=float, default=0.0, help="dB")
    mixing.add_argument("--background-gain", type=float, default=0.0, help="dB")
    mixing.add_argument("--duck", type=float, default=0.0, help="dB the background yields to speech")
    mixing.add_argument("--lufs", type=float, help="loudness of the mix")
    add("--save-voice", type=Path, metavar="FILE", help="keep the voice for later")
    add("--device", default="cpu", help="where the models run: cpu, cuda, mps ...")
    add("--precision", choices=sorted(DTYPES), default="fp32", help="of the language model and the flow decoder")
    add("-q", "--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=_generate)


def _generate(options: argparse.Namespace) -> None:
    task = Task(options.task)
    if options.video is None and task is not Task.SPEECH:
        raise InputError(f"video: task '{task.value}' needs a video file")
    _check_early(options, task)
    bars = _Bars(quiet=options.quiet)
    try:
        _run(options, task, bars)
    finally:
        bars.close()


def _run(options: argparse.Namespace, task: Task, bars: "_Bars") -> None:
    system = load_system(options.model, device=_device(options.device), dtype=DTYPES[options.precision])
    if not system.header.is_trained:
        print(
            f"note: the weights '{system.header.info['name']}' are untrained: what you hear is noise of the right "
            "length, not a soundtrack",
            file=sys.stderr,
        )
    voice = _voice(options, system, task)
    info, frames = _watch(options, system, task, bars)
    recordings = _recordings(options)
    take = generate(
        system,
        task=task,
        frames=frames,
        script=_script(options.script),
        voice=voice,
        duration=options.duration,
        sampling=_sampling(options),
        seeds=_seeds(options),
        locks=_locks(options, system, recordings, frames.duration if frames else options.duration),
        recordings=recordings,
        decoder=options.decoder,
        num_steps=options.steps,
        solver=options.solver,
        mixing=_mixing(options),
        progress=bars,
    )
    _write(options, system, take, info, bars)


def _check_early(options: argparse.Namespace, task: Task) -> None:
    """Refuse what can be known to be wrong before a model is loaded."""
    evaluation_times(options.steps, options.solver)
    for settings in (_sampling, _seeds, _mixing):
        settings(options)
    if task is not Task.BACKGROUND:
        normalise(_script(options.script))
    if options.retake is not None:
        _range(options.retake)
        if not _kept_codes(options).is_file():
            raise InputError(
                f"retake: {_kept_codes(options)}: no such file; make a first take into this folder, or give --codes"
            )
    for path in (options.video, options.voice, options.lock_speech, options.lock_background):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results")
    if options.video is not None and _target(options).resolve() == options.video.resolve():
        raise InputError(f"{out}: the video lies there and would be replaced; choose another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: the folder cannot be made ({error.strerror}); choose another") from error


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
    assert system.model is not None
    if options.voice.suffix == ".safetensors":
        voice = load_voice(options.voice)
    else:
        voice = encode_voice(system.model, read_audio(options.voice), name=options.voice.stem)
    if options.save_voice is not None:
        save_voice(options.save_voice, voice)
    return voice


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


def _script(script: str) -> str:
    if not script.startswith("@"):
        return script
    path = Path(script[1:])
    if not path.is_file():
        raise InputError(f"script: {path}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"script: {path} cannot be read as UTF-8 text ({error})") from error


def _sampling(options: argparse.Namespace) -> SamplingConfig:
    streams = {
        stream.value: StreamSampling(
            temperature=getattr(options, f"{stream.value}_temperature"),
            top_k=getattr(options, f"{stream.value}_top_k"),
            top_p=getattr(options, f"{stream.value}_top_p"),
        )
        for stream in Stream
    }
    return SamplingConfig(**streams, cfg_scale=options.cfg)


def _mixing(options: argparse.Namespace) -> MixConfig:
    return MixConfig(
        speech_gain_db=options.speech_gain,
        background_gain_db=options.background_gain,
        ducking_db=options.duck,
        target_lufs=options.lufs,
    )


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


def _write(options: argparse.Namespace, system: System, take: Take, info: MediaInfo | None, bars: "_Bars") -> None:
    out: Path = options.out
    muxed: MuxReport | None = None
    written: dict[str, str] = {}
    stems: dict[str, Audio] = {"speech": take.mixed.speech, "background": take.mixed.background, "mix": take.mixed.mix}
    for name, audio in stems.items():
        write_wav(out / f"{name}.wav", audio)
        written[name] = f"{name}.wav"
    save_codes(out / "codes.safetensors", take.codes, info={"model": system.header.info["name"]})
    written["codes"] = "codes.safetensors"
    if info is not None:
        target = _target(options)
        muxed = mux(options.video, take.mixed.mix, target, start=options.start, duration=options.length, progress=bars)
        written["video"] = target.name
        over = take.codes.duration - muxed.duration
        if over > 0.01:
            print(
                f"note: the speech lasts {over:.2f} s longer than the video, {target.name} ends first", file=sys.stderr
            )
    report = _report(options, system, take, written) | {"video": None if muxed is None else asdict(muxed)}
    with replacing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    bars.close()
    for name in (*written.values(), "report.json"):
        print(out / name)


def _report(options: argparse.Namespace, system: System, take: Take, written: dict[str, str]) -> dict[str, Any]:
    mixed = take.mixed
    return {
        "model": dict(system.header.info),
        "task": options.task,
        "script": _script(options.script),
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
        "seconds": {stage: round(s, 3) for stage, s in take.seconds.items()},
        "files": written,
    }


def _finite(values: Tensor) -> float | None:
    """A figure for JSON, which has no infinity: silence has no loudness."""
    value = float(values[0])
    return round(value, 2) if math.isfinite(value) else None


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
