"""The node that looks at everything before a run, and the report for bug threads."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import comfyui_version
import folder_paths
from comfy import model_management
from comfy.cli_args import args
from comfy_api.latest import io

from ..dualdub_core.checks.doctor import complaints, environment
from ..dualdub_core.checks.estimate import measure_machine
from ..dualdub_core.checks.preflight import missing_models, preflight
from ..dualdub_core.engine.precision import PRECISIONS
from ..dualdub_core.errors import CheckpointError
from ..dualdub_core.scripts.formats import parse_script
from ..dualdub_core.scripts.script import Script
from . import adapters as a
from . import folders, sampling, scripts


class Preflight(io.ComfyNode):
    """What a run will use to what could go wrong."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_Preflight",
            display_name="Preflight (DualDub)",
            category="audio/dualdub",
            description="Looks at clip, script, model and machine before anything is loaded: frame rate, duration, "
            "whether the words fit, what is missing and where to get it, memory and time. Also writes the report that "
            "a bug thread needs.",
            search_aliases=[
                "check",
                "diagnostics",
                "doctor",
                "environment",
                "estimate",
                "vram",
                "missing models",
                "help",
            ],
            inputs=[
                io.Combo.Input("checkpoint", options=folders.weights_names(), tooltip="The model that will be loaded."),
                io.Combo.Input("task", options=list(sampling.TASKS), tooltip="What will be written."),
                io.Combo.Input("decoder", options=["flow", "codec"], tooltip="Final quality, or a draft."),
                io.Int.Input("steps", default=10, min=1, max=200, tooltip="Of the flow decoder."),
                io.Int.Input("takes", default=1, min=1, max=64, tooltip="In one run."),
                io.Combo.Input("precision", options=list(PRECISIONS), tooltip="As in Load DualDub.", advanced=True),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=3600.0,
                    step=0.01,
                    tooltip="Seconds, for speech only; a video brings its own.",
                ),
                io.Video.Input("video", optional=True, tooltip="The clip; only its packets are read."),
                scripts.ScriptSocket.Input("script", optional=True, tooltip="From Script with Cues."),
                io.String.Input(
                    "text", optional=True, force_input=True, tooltip="Or the words alone, from any text node."
                ),
            ],
            outputs=[
                io.String.Output("report", tooltip="A line for each thing that was looked at."),
                io.String.Output("json", tooltip="The same as JSON, with the estimate in bytes and seconds."),
                io.Boolean.Output("ready", tooltip="Whether nothing stands in the way."),
                io.String.Output("environment", tooltip="Versions and devices for a bug thread; no paths, no secrets."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def execute(
        cls,
        checkpoint: str,
        task: str,
        decoder: str,
        steps: int,
        takes: int,
        precision: str,
        duration: float,
        video: object = None,
        script: Script | None = None,
        text: str = "",
    ) -> io.NodeOutput:
        """Look at everything."""
        if script is None and text.strip():
            script = parse_script(text)
        device, home = model_management.get_torch_device(), Path(folder_paths.get_folder_paths(folders.FOLDER)[0])
        clip = None if video is None else a.to_clip(video)
        seconds = duration or None
        where = {"models": home, "out": folder_paths.get_output_directory()}
        found = preflight(
            _path(checkpoint, home),
            measure_machine(device, free_bytes=int(model_management.get_free_memory(device))),
            source=None if clip is None else clip.source,
            start=0.0 if clip is None else clip.start,
            duration=seconds if clip is None else clip.duration,
            script=script,
            task=sampling.TASKS[task],
            takes=takes,
            decoder=decoder,
            num_steps=steps,
            precision=precision,
            device=device,
            **where,
        )
        report = "\n".join([found.table(), *(f"not there, and not needed for this: {m}" for m in missing_models(home))])
        around = surroundings()
        data = json.dumps(found.as_dict(), indent=1, ensure_ascii=False)
        shown = a.said(cls, found.table())
        return io.NodeOutput(report, data, found.ready, json.dumps(around, indent=1), ui=shown)


def surroundings() -> dict[str, Any]:
    """The core's report, and what ComfyUI adds: its version, switches that are on, where models run."""
    report = environment()
    try:
        frontend = version("comfyui-frontend-package")
    except PackageNotFoundError:
        frontend = ""
    comfy = {
        "version": comfyui_version.__version__,
        "frontend": frontend,
        "switches": sorted(name for name, value in vars(args).items() if value is True),
        "device": str(model_management.get_torch_device()),
        "memory": str(model_management.vram_state.name),
    }
    return {**report, "comfyui": comfy, "complaints": complaints(report)}


def _path(name: str, home: Path) -> Path:
    """The file of a listed name; one that is gone is for the preflight to tell."""
    try:
        return folders.weights_path(name)
    except CheckpointError:
        return home / Path(name).name
