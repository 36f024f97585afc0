"""`dualdub long`: the soundtrack of a video of any length, window by window; a run that stopped goes on."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ..artifacts import load_voice, save_codes
from ..checkpoint import read_header
from ..errors import CheckpointError, InputError
from ..files import replacing
from ..long.codes import LongTake, sample_long
from ..long.cuts import DETECTORS, find_cuts
from ..long.decoding import decode_codec_long, decode_flow_long, joints
from ..long.plan import LongPlan, plan_long
from ..long.plan_picture import draw_long_plan
from ..long.seams import measure_seams
from ..long.store import FolderStore
from ..long.watching import encode_film
from ..long.windows import AT_CUTS, WindowConfig
from ..media.muxing import CONTAINERS, mux
from ..media.sound import clip_length, probe, read_audio, write_wav
from ..mixing.mixing import mix
from ..progress import Progress
from ..provenance.stamps import video_tags
from ..sampling import Seeds
from ..scripts.formats import detect_format, parse_script, read_text
from ..scripts.rerolls import parse_rerolls
from ..scripts.script import Script
from ..system import BUILTIN, System, load_system
from ..timing import FrameClock
from ..types import Audio, Soundtrack, Task, Voice
from ..voice import encode_voice
from . import origin
from .mix import add_mix, mix_config

WINDOWS = "windows"
"""The folder of finished windows, beside the results."""


def add_long(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    *,
    device: Callable[[str], torch.device],
    bars: Callable[..., Any],
) -> None:
    """Add the command.

    Args:
        commands: where it belongs.
        device: checks the name of a device.
        bars: makes progress bars, `quiet` or not.
    """
    parser = commands.add_parser(
        "long",
        help="make the soundtrack of a video of any length, in windows",
        description=f"Finished windows are kept in the folder '{WINDOWS}' beside the results: the same command goes on "
        "after a stop, and after a change writes only what it concerns.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("video", type=Path, help="the silent video")
    add("-o", "--out", type=Path, required=True, help="folder for the results")
    add("--plan", action="store_true", help="only plan: print the windows, write plan.json and plan.png; no weights")
    add("--script", default="", help="as for generate; without, background only")
    add("--voice", type=Path, help="a recording of the speaker, or a kept voice")
    add("--speaker", action="append", default=[], metavar="NAME=FILE", help="the voice of a name; may be repeated")
    add("--reroll", action="append", default=[], metavar="LINE:SEED", help="seed of one line alone; may be repeated")
    add("--fit-background", action="store_true", help="sample the background to fit what is spoken")
    add("--start", type=float, default=0.0, help="seconds into the video where the clip starts")
    add("--length", type=float, help="seconds of the video to use")
    add("--model", type=Path, default=BUILTIN, help="a DualDub checkpoint; the built-in mini model")
    add("--decoder", choices=["flow", "codec"], help="final quality, or a fast draft; by default the model's choice")
    add("--steps", type=int, default=10, help="of the flow decoder's solver")
    add("--seed", type=int, default=0, help="of both streams")
    add("--speech-seed", type=int, help="of speech alone")
    add("--background-seed", type=int, help="of the background alone")
    add("--cfg", type=float, default=1.0, help="guidance, 1.0 = off")
    windows, defaults = parser.add_argument_group("windows"), WindowConfig()
    windows.add_argument("--window", type=float, default=defaults.longest, help="seconds of the longest")
    windows.add_argument("--context", type=float, default=defaults.context, help="seconds before it that it hears")
    windows.add_argument("--at-cuts", choices=list(AT_CUTS), default=defaults.at_cuts, help="what a shot cut means")
    windows.add_argument("--detector", choices=list(DETECTORS), default=DETECTORS[0], help="of shot cuts")
    add_mix(parser)
    origin.add_origin(parser)
    add("--device", default="cpu", help="where the models run")
    add("--precision", choices=["bf16", "fp32"], default="fp32", help="of the language model and the flow decoder")
    add("-q", "--quiet", action="store_true", help="no progress bars")
    parser.set_defaults(run=lambda options: _long(options, device, bars))


def _long(options: argparse.Namespace, device: Callable[[str], torch.device], bars: Callable[..., Any]) -> None:
    config = WindowConfig(longest=options.window, context=options.context, at_cuts=options.at_cuts)
    mix_config(options)
    seeds, script = _seeds(options), _script(options)
    target = _target(options)
    signing = origin.signing_of(options, target)
    progress = bars(quiet=options.quiet)
    try:
        plan = _plan(options, script, config, progress)
        print(plan.table())  # noqa: T201
        files = [options.out / "plan.json", options.out / "plan.png"]
        with replacing(files[0]) as temporary:
            temporary.write_text(json.dumps(plan.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        with replacing(files[1]) as temporary:
            draw_long_plan(plan).save(temporary, format="PNG")
        if not options.plan:
            files += _make(options, plan, script, seeds, signing, target, device(options.device), progress)
    finally:
        progress.close()
    for file in files:
        print(file)  # noqa: T201


def _plan(options: argparse.Namespace, script: str | Script, config: WindowConfig, progress: Progress) -> LongPlan:
    part = {"start": options.start, "duration": options.length}
    duration = clip_length(probe(options.video).duration, options.start, options.length, options.video.name)
    cuts: tuple[float, ...] = ()
    if config.at_cuts != "ignore":
        cuts = find_cuts(options.video, **part, detector=options.detector, progress=progress)
    return plan_long(_clock(options.model), duration, script=script, cuts=cuts, config=config)


def _make(
    options: argparse.Namespace,
    plan: LongPlan,
    script: str | Script,
    seeds: Seeds,
    signing: Any,  # noqa: ANN401
    target: Path,
    device: torch.device,
    progress: Progress,
) -> list[Path]:
    """Sample, decode, mix and write."""
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    system = load_system(options.model, device=device, dtype=dtype)
    task = Task.BACKGROUND if plan.lines is None else Task.JOINT
    voice, voices = _voices(options, system) if task is Task.JOINT else (None, {})
    if system.video_encoder is None or system.model is None or system.tokenizer is None:
        raise CheckpointError(
            f"{options.model.name}: has no language model or no video encoder; use a whole checkpoint"
        )
    part = {"start": options.start, "duration": options.length}
    sampling = system.preferred_sampling.but(cfg_scale=options.cfg)
    take = sample_long(
        system.model,
        system.tokenizer,
        plan=plan,
        features=encode_film(system.video_encoder, options.video, **part, progress=progress),
        codec=system.codec,
        task=task,
        script=script,
        voice=voice,
        voices=voices,
        sampling=sampling,
        seeds=seeds,
        rerolls=parse_rerolls(",".join(options.reroll)),
        background="hears the speech" if options.fit_background else "on its own",
        store=FolderStore(options.out / WINDOWS),
        progress=progress,
    )
    kind = options.decoder or system.preferred_decoder
    made_by = origin.record(
        model=options.model,
        name=str(system.header.info["name"]),
        task=task,
        seeds=asdict(seeds),
        script=script,
        voices=[one for one in (voice, *voices.values()) if one is not None],
        recorded=(),
        settings={"sampling": asdict(sampling), "decoder": {"kind": kind, "steps": options.steps}}
        | {"mix": asdict(mix_config(options)), "windows": asdict(plan.config)},
    )
    soundtrack = _decoded(system, take, kind, options.steps, seeds, progress)
    mixed = mix(soundtrack, mix_config(options), spoken=[take.codes.spoken])
    stems = {"speech": mixed.speech, "background": mixed.background, "mix": mixed.mix}
    for name, audio in stems.items():
        write_wav(options.out / f"{name}.wav", audio, made_by=made_by)
    save_codes(options.out / "codes.safetensors", replace(take.codes, made_by=made_by))
    mux(options.video, mixed.mix, target, **part, metadata=video_tags(made_by, target.suffix), progress=progress)
    files = [*(options.out / f"{name}.wav" for name in stems), options.out / "codes.safetensors", target]
    origin.sign_files(files, signing, made_by)
    with replacing(options.out / "report.json") as temporary:
        temporary.write_text(json.dumps(_report(plan, take, stems), indent=2), encoding="utf-8")
    print(take.text)  # noqa: T201
    return [*files, options.out / "report.json"]


def _decoded(system: System, take: LongTake, kind: str, num_steps: int, seeds: Seeds, progress: Progress) -> Soundtrack:
    if kind == "codec":
        if system.codec is None:
            raise CheckpointError("this checkpoint has no codec; use --decoder flow")
        return decode_codec_long(system.codec, take.codes, progress=progress)
    if system.decoder is None or system.vae is None:
        raise CheckpointError("this checkpoint has no flow decoder or no VAE; use --decoder codec")
    return decode_flow_long(
        system.decoder, system.vae, take.codes, num_steps=num_steps, seed=seeds.background, progress=progress
    )


def _report(plan: LongPlan, take: LongTake, stems: dict[str, Audio]) -> dict[str, Any]:
    """Windows, and how loud their joints are in each stem."""
    places = sorted({*plan.joints, *joints(take.codes)})
    windows = [{**asdict(run.window), "key": run.key, "is_kept": run.is_kept} for run in take.runs]
    seams = {name: [asdict(seam) for seam in measure_seams(audio, places)] for name, audio in stems.items()}
    return {"duration": plan.duration, "windows": windows, "seams": seams}


def _clock(model: Path) -> FrameClock:
    configs = read_header(model).configs
    if "model" not in configs:
        raise CheckpointError(f"{model.name}: has no language model; use a whole checkpoint")
    clock: FrameClock = configs["model"].clock
    return clock


def _seeds(options: argparse.Namespace) -> Seeds:
    own = {name: getattr(options, f"{name}_seed") for name in ("speech", "background")}
    return Seeds(**{name: options.seed if seed is None else seed for name, seed in own.items()})


def _script(options: argparse.Namespace) -> str | Script:
    """Words as they are; anything with times or names as lines on the clip's clock."""
    text = read_text(options.script[1:]) if options.script.startswith("@") else options.script
    if not text.strip() or detect_format(text) == "plain":
        return str(text)
    return parse_script(text).part(options.start, options.length)


def _target(options: argparse.Namespace) -> Path:
    """The dubbed video, never in place of the source."""
    if not options.video.is_file():
        raise InputError(f"{options.video}: no such file")
    name = options.video.name if options.video.suffix.lower() in CONTAINERS else f"{options.video.stem}.mkv"
    if (options.out / name).resolve() == options.video.resolve():
        raise InputError(f"{options.out}: the video lies there and would be replaced; choose another folder")
    return Path(options.out / name)


def _voices(options: argparse.Namespace, system: System) -> tuple[Voice | None, dict[str, Voice]]:
    pairs = [text.partition("=") for text in options.speaker]
    for name, sign, file in pairs:
        if not (name.strip() and sign and file):
            raise InputError(f"speaker: got '{name}{sign}{file}', expected NAME=FILE, such as Anna=anna.wav")
    notes = origin.consents(options, [name.strip() for name, _, _ in pairs])
    voices = {name.strip(): _voice(system, Path(file), name.strip(), notes) for name, _, file in pairs}
    return None if options.voice is None else _voice(system, options.voice, "", notes), voices


def _voice(system: System, path: Path, name: str, notes: dict[str, str]) -> Voice:
    if system.model is None:
        raise CheckpointError("this checkpoint has no language model to hear voices with; use a whole checkpoint")
    voice = (
        load_voice(path) if path.suffix == ".safetensors" else encode_voice(system.model, read_audio(path), name=name)
    )
    return origin.with_consent(voice, notes.get(name, ""))
