"""What `dualdub generate` leaves in its folder: stems, mix, codes, dubbed video, captions, sheet and report."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..artifacts import save_codes
from ..files import replacing
from ..media.muxing import MuxReport, mux
from ..media.sound import MediaInfo, write_wav
from ..mixing.loudness import integrated_lufs
from ..mixing.report import mix_report, rounded
from ..progress import Progress
from ..provenance.provenance import Provenance
from ..provenance.stamps import video_tags
from ..sampling import Seeds
from ..scripts.measured import measure_lines
from ..scripts.plan import plan_script
from ..scripts.script import Script
from ..system import System, Take
from ..types import Audio, Stream, Task, Voice
from . import origin
from .console import note
from .gate import PICTURE, SCORES, is_gated
from .mix import mix_config
from .settings import sampling_of, script_of, target_of
from .sheet import SHEET, write_sheet


def write_take(
    options: argparse.Namespace,
    system: System,
    take: Take,
    *,
    seeds: Seeds,
    info: MediaInfo | None,
    voices: Sequence[Voice],
    progress: Progress,
) -> list[Path]:
    """Write everything.

    Args:
        options: of `dualdub generate`.
        system: what made the take.
        take: what came out.
        seeds: that the take was sampled with.
        info: of the video, None without one.
        voices: that are heard.
        progress: reports "mux" and "watch".

    Returns:
        The files.
    """
    out: Path = options.out
    made_by = _made_by(options, system, seeds, voices)
    muxed: MuxReport | None = None
    written: dict[str, str] = {}
    stems: dict[str, Audio] = {"speech": take.mixed.speech, "background": take.mixed.background, "mix": take.mixed.mix}
    # Comes back last: where a report lies, all beside it is of one take, also after a kill.
    (out / "report.json").unlink(missing_ok=True)
    for name, audio in stems.items():
        write_wav(out / f"{name}.wav", audio, made_by=made_by)
        written[name] = f"{name}.wav"
    codes = replace(take.codes, made_by=made_by)
    save_codes(out / "codes.safetensors", codes, info={"model": system.header.info["name"]})
    written["codes"] = "codes.safetensors"
    if info is not None:
        target = target_of(options)
        part, tags = {"start": options.start, "duration": options.length}, video_tags(made_by, target.suffix)
        muxed = mux(options.video, take.mixed.mix, target, **part, metadata=tags, progress=progress)
        written["video"] = target.name
        over = take.codes.duration - muxed.duration
        if over > 0.01:
            note(f"the speech lasts {over:.2f} s longer than the video, {target.name} ends first")
    lines = _write_captions(options, take, written)
    if options.sheet:
        said = script_of(options)
        write_sheet(options, take, model=made_by.model, script=said, seeds=made_by.seeds, progress=progress)
        written["sheet"] = SHEET
    if is_gated(options):
        written |= {"gate": SCORES, "gate_picture": PICTURE}
    origin.sign_files([out / name for name in written.values()], origin.signing_of(options, None), made_by)
    report = (
        _report(options, system, take, seeds, written) | lines | {"video": None if muxed is None else asdict(muxed)}
    )
    report["made_by"] = made_by.as_dict()
    for reason in report["mix"]["unreached"]:
        note(f"mix: {reason}")
    with replacing(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    return [out / name for name in (*written.values(), "report.json")]


def _made_by(options: argparse.Namespace, system: System, seeds: Seeds, voices: Sequence[Voice]) -> Provenance:
    decoder = {"kind": options.decoder, "steps": options.steps, "solver": options.solver}
    recorded = {Stream.SPEECH: options.lock_speech, Stream.BACKGROUND: options.lock_background}
    return origin.record(
        model=options.model,
        name=str(system.header.info["name"]),
        task=Task(options.task),
        seeds=asdict(seeds),
        script=script_of(options),
        voices=voices,
        recorded=[stream for stream, path in recorded.items() if path is not None],
        settings={
            "sampling": asdict(sampling_of(options, system.preferred_sampling)),
            "decoder": decoder,
            "mix": asdict(mix_config(options)),
        },
    )


def _write_captions(options: argparse.Namespace, take: Take, written: dict[str, str]) -> dict[str, Any]:
    """The measured times of a script's lines, as files and for the report."""
    script = script_of(options)
    if isinstance(script, str) or take.codes.speech is None:
        return {}
    plan = plan_script(script, take.codes.duration)
    measured = measure_lines(take.soundtrack.speech, plan, words=options.captions == "words")
    for kind, text in measured.captions().items():
        written[f"captions_{kind}"] = f"captions.{kind}"
        with replacing(options.out / f"captions.{kind}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return {"lines": measured.as_dict()["lines"]}


def _report(
    options: argparse.Namespace, system: System, take: Take, seeds: Seeds, written: dict[str, str]
) -> dict[str, Any]:
    mixed = take.mixed
    return {
        "model": dict(system.header.info),
        "task": options.task,
        "script": script.text if isinstance(script := script_of(options), Script) else script,
        "duration": take.codes.duration,
        "num_samples": mixed.mix.num_samples,
        "sample_rate": mixed.mix.sample_rate,
        "num_frames": take.codes.num_frames,
        "decoder": {"kind": options.decoder, "steps": options.steps, "solver": options.solver},
        "sampling": asdict(sampling_of(options, system.preferred_sampling)),
        "seeds": asdict(seeds),
        "loudness": {
            "mix_lufs": rounded(float(mixed.lufs[0])),
            "speech_lufs": rounded(float(integrated_lufs(mixed.speech)[0])),
            "background_lufs": rounded(float(integrated_lufs(mixed.background)[0])),
            "true_peak_db": rounded(float(mixed.true_peak_db[0])),
            "limiter_db": rounded(float(mixed.gain_reduction_db[0])),
        },
        "mix": mix_report(mixed, mix_config(options))[0],
        "seconds": {stage: round(s, 3) for stage, s in take.seconds.items()},
        "files": written,
    }
