"""`dualdub long`: the soundtrack of a video of any length, window by window; a run that stopped goes on."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..artifacts import save_codes
from ..checkpoint import read_header
from ..errors import CheckpointError
from ..files import replacing
from ..flow import evaluation_times
from ..long.codes import LongTake, sample_long
from ..long.cuts import DETECTORS, find_cuts
from ..long.decoding import decode_codec_long, decode_flow_long, joints
from ..long.plan import LongPlan, plan_long
from ..long.plan_picture import draw_long_plan
from ..long.seams import measure_seams
from ..long.store import FolderStore
from ..long.watching import encode_film
from ..long.windows import AT_CUTS, WindowConfig
from ..media.muxing import mux
from ..media.sound import clip_length, probe, write_wav
from ..mixing.mixing import mix
from ..progress import Progress
from ..provenance.credentials import Signing
from ..provenance.stamps import video_tags
from ..scripts.script import Script
from ..system import System
from ..timing import FrameClock
from ..types import Audio, Soundtrack, Task
from . import origin
from .console import Bars, say
from .mix import add_mix, mix_config
from .settings import (
    SCRIPT,
    add_lines,
    add_machine,
    add_model,
    add_part,
    add_sampling,
    add_words,
    background_of,
    check_files,
    load_model,
    note_unknown_words,
    rerolls_of,
    sampling_of,
    script_of,
    seeds_of,
    target_of,
)
from .voices import voice_of, voices_of

WINDOWS = "windows"
"""The folder of finished windows, beside the results."""


def add_long(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
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
    add_words(parser, script=f"{SCRIPT}; without, background only")
    add_model(parser)
    add_part(parser)
    add_sampling(parser)
    add_lines(parser)
    windows, defaults = parser.add_argument_group("windows"), WindowConfig()
    windows.add_argument("--window", type=float, default=defaults.longest, help="seconds of the longest")
    windows.add_argument("--context", type=float, default=defaults.context, help="seconds before it that it hears")
    windows.add_argument("--at-cuts", choices=list(AT_CUTS), default=defaults.at_cuts, help="what a shot cut means")
    windows.add_argument("--detector", choices=list(DETECTORS), default=DETECTORS[0], help="of shot cuts")
    add_mix(parser)
    origin.add_origin(parser)
    add_machine(parser)
    parser.set_defaults(run=_long)


def _long(options: argparse.Namespace) -> None:
    config = WindowConfig(longest=options.window, context=options.context, at_cuts=options.at_cuts)
    evaluation_times(options.steps, options.solver)
    for settings in (sampling_of, seeds_of, mix_config, rerolls_of):
        settings(options)
    script = script_of(options)
    check_files(options)
    signing = origin.signing_of(options, target_of(options))
    bars = Bars(quiet=options.quiet)
    try:
        plan = _plan(options, script, config, bars)
        say(plan.table())
        files = [options.out / "plan.json", options.out / "plan.png"]
        with replacing(files[0]) as temporary:
            temporary.write_text(json.dumps(plan.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
        with replacing(files[1]) as temporary:
            draw_long_plan(plan).save(temporary, format="PNG")
        if not options.plan:
            files += _make(options, plan, script, signing, bars)
    finally:
        bars.close()
    for file in files:
        say(file)


def _plan(options: argparse.Namespace, script: str | Script, config: WindowConfig, progress: Progress) -> LongPlan:
    part = {"start": options.start, "duration": options.length}
    duration = clip_length(probe(options.video).duration, options.start, options.length, options.video.name)
    cuts: tuple[float, ...] = ()
    if config.at_cuts != "ignore":
        cuts = find_cuts(options.video, **part, detector=options.detector, progress=progress)
    return plan_long(_clock(options.model), duration, script=script, cuts=cuts, config=config)


def _make(
    options: argparse.Namespace, plan: LongPlan, script: str | Script, signing: Signing | None, progress: Progress
) -> list[Path]:
    """Sample, decode, mix and write."""
    system, seeds = load_model(options), seeds_of(options)
    if system.video_encoder is None or system.model is None or system.tokenizer is None:
        raise CheckpointError(
            f"{options.model.name}: has no language model or no video encoder; use a whole checkpoint"
        )
    task = Task.BACKGROUND if plan.lines is None else Task.JOINT
    if task is Task.JOINT:
        note_unknown_words(script, system)
    voice, voices = (voice_of(options, system), voices_of(options, system)) if task is Task.JOINT else (None, {})
    part = {"start": options.start, "duration": options.length}
    sampling = sampling_of(options, system.preferred_sampling)
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
        rerolls=rerolls_of(options),
        background=background_of(options),
        store=FolderStore(options.out / WINDOWS),
        progress=progress,
    )
    decoder = {"kind": options.decoder, "steps": options.steps, "solver": options.solver}
    made_by = origin.record(
        model=options.model,
        name=str(system.header.info["name"]),
        task=task,
        seeds=asdict(seeds),
        script=script,
        voices=[one for one in (voice, *voices.values()) if one is not None],
        recorded=(),
        settings={"sampling": asdict(sampling), "decoder": decoder}
        | {"mix": asdict(mix_config(options)), "windows": asdict(plan.config)},
    )
    soundtrack = _decoded(options, system, take, progress)
    mixed = mix(soundtrack, mix_config(options), spoken=[take.codes.spoken])
    stems = {"speech": mixed.speech, "background": mixed.background, "mix": mixed.mix}
    # Comes back last: where a report lies, all beside it is of one take, also after a kill.
    (options.out / "report.json").unlink(missing_ok=True)
    for name, audio in stems.items():
        write_wav(options.out / f"{name}.wav", audio, made_by=made_by)
    save_codes(options.out / "codes.safetensors", replace(take.codes, made_by=made_by))
    target = target_of(options)
    mux(options.video, mixed.mix, target, **part, metadata=video_tags(made_by, target.suffix), progress=progress)
    files = [*(options.out / f"{name}.wav" for name in stems), options.out / "codes.safetensors", target]
    origin.sign_files(files, signing, made_by)
    with replacing(options.out / "report.json") as temporary:
        temporary.write_text(json.dumps(_report(plan, take, stems), indent=2), encoding="utf-8")
    say(take.text)
    return [*files, options.out / "report.json"]


def _decoded(options: argparse.Namespace, system: System, take: LongTake, progress: Progress) -> Soundtrack:
    if options.decoder == "codec":
        if system.codec is None:
            raise CheckpointError("this checkpoint has no codec; use --decoder flow")
        return decode_codec_long(system.codec, take.codes, progress=progress)
    if system.decoder is None or system.vae is None:
        raise CheckpointError("this checkpoint has no flow decoder or no VAE; use --decoder codec")
    return decode_flow_long(
        system.decoder,
        system.vae,
        take.codes,
        num_steps=options.steps,
        solver=options.solver,
        seed=seeds_of(options).background,
        progress=progress,
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
