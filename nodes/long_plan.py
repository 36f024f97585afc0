"""Nodes that prepare a clip of any length, without weights: shot cuts, and the plan of windows."""

import json
from dataclasses import dataclass

from comfy_api.latest import io, ui

from ..dualdub_core.dualbench.pictures import to_tensor
from ..dualdub_core.errors import InputError
from ..dualdub_core.long.cuts import DETECTORS, CutConfig, find_cuts
from ..dualdub_core.long.plan import LongPlan, plan_long
from ..dualdub_core.long.plan_picture import draw_long_plan
from ..dualdub_core.long.windows import AT_CUTS, LONGEST, SHORTEST, WindowConfig
from ..dualdub_core.media.sound import clip_length, probe
from ..dualdub_core.models.dualdub import DualDubConfig
from ..dualdub_core.scripts.formats import parse_script
from ..dualdub_core.scripts.script import Script
from ..dualdub_core.types import VideoFeatures
from . import adapters as a
from .scripts import ScriptSocket

CATEGORY = "audio/dualdub/long"
CutsSocket = io.Custom("DUALDUB_CUTS")
WindowsSocket = io.Custom("DUALDUB_WINDOWS")


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan and the script that it was made for."""

    plan: LongPlan
    script: str | Script


class ShotCuts(io.ComfyNode):
    """A video to the times of its cuts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_ShotCuts",
            display_name="Shot Cuts (DualDub)",
            category=CATEGORY,
            description="Finds where one shot ends and the next begins, while the video is decoded: a long film needs "
            "no more memory than a short one. Dissolves and fades are not found.",
            search_aliases=["scene detection", "pyscenedetect", "shot boundary", "split scenes", "cuts"],
            inputs=[
                io.Video.Input("video", tooltip="The clip."),
                io.Combo.Input(
                    "detector",
                    options=list(DETECTORS),
                    tooltip="By the difference of pictures; or PySceneDetect, if that package is installed.",
                ),
                io.Float.Input(
                    "least_difference",
                    default=0.05,
                    min=0.005,
                    max=0.5,
                    step=0.005,
                    advanced=True,
                    tooltip="How unlike two pictures must be, as a share of full scale. Lower finds more cuts.",
                ),
            ],
            outputs=[
                CutsSocket.Output("cuts", tooltip="For Long Video Plan."),
                io.String.Output("times", tooltip="Seconds, a line each."),
                io.Int.Output("count", tooltip="How many there are."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, video: object, detector: str, least_difference: float) -> io.NodeOutput:
        """Look for them."""
        clip = a.to_clip(video)
        cuts = find_cuts(
            clip.source,
            start=clip.start,
            duration=clip.duration,
            detector=detector,
            config=CutConfig(least=least_difference),
            progress=a.comfy_progress(),
        )
        a.said(cls, f"{len(cuts)} cuts")
        return io.NodeOutput(cuts, "\n".join(f"{cut:.3f}" for cut in cuts), len(cuts))


class LongVideoPlan(io.ComfyNode):
    """A clip's length, script and cuts to windows, without weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LongVideoPlan",
            display_name="Long Video Plan (DualDub)",
            category=CATEGORY,
            description="Divides a long clip into windows that end at cuts and between lines, and shows them as a "
            "picture and a table. Needs no weights. A clip up to the longest window stays in one piece.",
            search_aliases=["chunks", "context windows", "split video", "long form", "timeline", "preview chunks"],
            inputs=[
                io.Float.Input(
                    "longest",
                    default=10.0,
                    min=SHORTEST,
                    max=LONGEST,
                    step=0.5,
                    tooltip="Seconds of a window at most. Best is what the model was trained with.",
                ),
                io.Float.Input(
                    "context",
                    default=2.0,
                    min=0.0,
                    max=60.0,
                    step=0.1,
                    tooltip="Seconds before a window that it hears, so that sound goes on. At most half the longest.",
                ),
                io.Combo.Input(
                    "at_cuts",
                    options=list(AT_CUTS),
                    tooltip="Start afresh: a window at a cut hears nothing before it, so a changed shot changes no "
                    "other. Carry on: it hears on. Ignore: windows do not mind cuts.",
                ),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=86_400.0,
                    step=0.01,
                    tooltip="Seconds of the clip, if neither features nor a video are connected.",
                ),
                a.Features.Input("features", optional=True, tooltip="From Encode Video; they give the duration."),
                io.Video.Input("video", optional=True, tooltip="Or the clip itself, to plan before it is encoded."),
                ScriptSocket.Input("script", optional=True, tooltip="Lines with times or names."),
                io.String.Input(
                    "text",
                    optional=True,
                    force_input=True,
                    tooltip="Or what is said as words alone, or with cues. Without script and text: background only.",
                ),
                CutsSocket.Input("cuts", optional=True, tooltip="From Shot Cuts."),
                a.Model.Input("model", optional=True, tooltip="Only for a model that writes other than 40 Hz."),
            ],
            outputs=[
                WindowsSocket.Output("plan", tooltip="For Long Video."),
                io.String.Output("table", tooltip="A row a window; | marks those that start at a cut."),
                io.String.Output("json", tooltip="The plan as JSON."),
                io.Image.Output("picture", tooltip="Windows blue, what they hear amber, cuts red, lines green."),
                io.Int.Output("windows", tooltip="How many there are."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        longest: float,
        context: float,
        at_cuts: str,
        duration: float,
        features: VideoFeatures | None = None,
        video: object = None,
        script: Script | None = None,
        text: str = "",
        cuts: tuple[float, ...] = (),
        model: a.Managed | None = None,
    ) -> io.NodeOutput:
        """Plan and draw."""
        words = _words(script, text)
        clock = (DualDubConfig.mini() if model is None else model.config).clock
        config = WindowConfig(longest=longest, context=context, at_cuts=at_cuts)
        plan = plan_long(clock, _seconds(duration, features, video), script=words, cuts=cuts, config=config)
        picture = to_tensor(draw_long_plan(plan))
        a.said(cls, plan.table())
        data = json.dumps(plan.as_dict(), indent=2, ensure_ascii=False)
        shown = ui.PreviewImage(picture, cls=cls)
        return io.NodeOutput(Planned(plan, words), plan.table(), data, picture, len(plan.windows), ui=shown)


def _words(script: Script | None, text: str) -> str | Script:
    """What is said; words alone stay a text, which is sampled together with the background."""
    if script is not None and text.strip():
        raise InputError("long video plan: got a script and a text; connect one of them")
    if script is None and text.strip():
        script = parse_script(text)
    if script is None:
        return ""
    return script.text if script.is_plain else script


def _seconds(duration: float, features: VideoFeatures | None, video: object) -> float:
    if features is not None:
        return features.duration
    if video is not None:
        clip = a.to_clip(video)
        return clip_length(probe(clip.source).duration, clip.start, clip.duration, "long video plan")
    if not duration:
        raise InputError("long video plan: no length given; connect features or a video, or set the duration")
    return duration
