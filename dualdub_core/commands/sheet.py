"""The take sheet of `dualdub generate --sheet`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import replacing
from ..media.film import read_film
from ..onsets import detect_onsets
from ..progress import Progress
from ..scripts.measured import MeasuredLine, measure_lines
from ..scripts.plan import plan_script
from ..scripts.script import Script
from ..sheet.scores import simple_scores
from ..sheet.sheet import TakeSheet, draw_sheet
from ..system import Take
from ..types import Soundtrack

SHEET = "sheet.png"


def add_sheet(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--sheet", action="store_true", help=f"also draw frames, script, stems, onsets and figures into {SHEET}"
    )


def write_sheet(
    options: argparse.Namespace,
    take: Take,
    *,
    model: str,
    script: str | Script,
    seeds: Mapping[str, int],
    progress: Progress,
) -> Path:
    """Draw one take into the output folder.

    Args:
        options: of `dualdub generate`.
        take: what came out.
        model: its name.
        script: what was said.
        seeds: by stream.
        progress: reports "watch".
    """
    video: Path | None = options.video
    part = {"start": options.start, "duration": options.length}
    lines: Sequence[MeasuredLine] = ()
    if isinstance(script, Script) and take.codes.speech is not None:
        plan = plan_script(script, take.codes.duration)
        lines = measure_lines(take.soundtrack.speech, plan, words=options.captions == "words").lines
    stems = Soundtrack(take.mixed.speech, take.mixed.background)
    said = script.text if isinstance(script, Script) else script
    facts = {
        "model": model,
        "task": options.task,
        **{f"{stream} seed": str(seed) for stream, seed in seeds.items()},
        "decoder": f"{options.decoder}, {options.steps} steps, {options.solver}"
        if options.decoder == "flow"
        else options.decoder,
        **({"says": said} if said and not lines else {}),
    }
    sheet = TakeSheet(
        title=video.name if video is not None else "speech alone",
        soundtrack=stems,
        film=read_film(video, **part, progress=progress) if video is not None else (),
        lines=lines,
        words=[word for line in lines for word in line.words],
        onsets=detect_onsets(stems.background),
        facts=facts,
        scores=simple_scores(stems, take.mixed.items[0].spoken),
    )
    with replacing(options.out / SHEET) as temporary:
        draw_sheet(sheet).save(temporary, format="PNG")
    return Path(options.out / SHEET)
