"""`dualdub plan`: when each line of a script is spoken, and whether its words fit."""

import argparse
import json
from pathlib import Path

from ..files import replacing
from ..media.sound import clip_length, probe
from ..scripts.formats import read_script
from ..scripts.plan import plan_script
from ..scripts.plan_picture import draw_plan
from .console import say


def add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help="say when each line of a script is spoken and whether its words fit; needs no weights",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
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
    say(json.dumps(plan.as_dict(), indent=2, ensure_ascii=False) if options.json else plan.table())
    if options.picture is not None:
        with replacing(options.picture) as temporary:
            draw_plan(plan).save(temporary, format="PNG")
