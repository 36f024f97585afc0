"""The node that goes through a long clip's windows."""

from weakref import WeakKeyDictionary

from comfy_api.latest import io

from ..dualdub_core.long.codes import sample_long
from ..dualdub_core.long.store import MemoryStore
from ..dualdub_core.models.dualdub import DualDub
from ..dualdub_core.pipeline import Lock
from ..dualdub_core.sampling import SamplingConfig, Seeds
from ..dualdub_core.scripts.rerolls import parse_rerolls
from ..dualdub_core.types import Task, VideoFeatures, Voice
from . import adapters as a
from . import origin
from .long_plan import CATEGORY, Planned, WindowsSocket
from .sampling import seed_input
from .scripts import BACKGROUNDS, VoicesSocket

# Finished windows live as long as the model that wrote them stays loaded.
_STORES: WeakKeyDictionary[DualDub, MemoryStore] = WeakKeyDictionary()


class LongVideo(io.ComfyNode):
    """A plan and conditions to the codes of both streams, window by window."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The node's face."""
        return io.Schema(
            node_id="DualDub_LongVideo",
            display_name="Long Video (DualDub)",
            category=CATEGORY,
            description="Writes a clip of any length window by window, each with what it hears of the one before, the "
            "same voice and a seed of its own. Windows that nothing changed are not written again; a run that is "
            "cancelled goes on where it was.",
            search_aliases=["long form", "context windows", "unlimited length", "whole film", "chunked sampler"],
            inputs=[
                a.Model.Input("model", tooltip="From Load DualDub."),
                a.Codec.Input("codec", tooltip="The codec of this model: it says what silence is."),
                WindowsSocket.Input("plan", tooltip="From Long Video Plan: windows and script."),
                a.Features.Input("features", tooltip="From Encode Video, of the whole clip."),
                seed_input("speech", "Of the speech alone. Each line, or window, makes its own seed of this."),
                seed_input("background", "Of the background alone. Each window makes its own seed of this."),
                io.Int.Input(
                    "takes", default=1, min=1, max=64, tooltip="Takes in one run; take n uses the seeds plus n."
                ),
                io.String.Input(
                    "rerolls", default="", tooltip="New speech seeds of single lines, such as 2:7, 5:1. Others stay."
                ),
                io.Combo.Input(
                    "background",
                    options=list(BACKGROUNDS),
                    tooltip="Of a script with lines: on its own, so that a new line changes its window alone; or to "
                    "fit what is spoken.",
                ),
                a.VoiceSocket.Input("voice", optional=True, tooltip="Who speaks, in every window."),
                VoicesSocket.Input("voices", optional=True, tooltip="From Voice by Name."),
                a.SamplingSocket.Input("sampling", optional=True, tooltip="From Sampling Settings."),
                a.LockSocket.Input("locks", optional=True, tooltip="From Lock Stream or Retake Range."),
            ],
            outputs=[
                a.CodesSocket.Output("codes", tooltip="Of the whole clip, for the decoders, Retake Range, Save Codes."),
                io.String.Output("report", tooltip="Which windows were written anew."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: a.Managed,
        codec: a.Managed,
        plan: Planned,
        features: VideoFeatures,
        speech_seed: int,
        background_seed: int,
        takes: int,
        rerolls: str,
        background: str,
        voice: Voice | None = None,
        voices: dict[str, Voice] | None = None,
        sampling: SamplingConfig | None = None,
        locks: tuple[Lock, ...] = (),
    ) -> io.NodeOutput:
        """Run the language model for each window that is not there."""
        network, network_of_codes = a.on_device(model=model, codec=codec)
        sampling = sampling or model.preferred_sampling
        task = Task.BACKGROUND if plan.plan.lines is None else Task.JOINT
        take = sample_long(
            network,
            model.tokenizer,
            plan=plan.plan,
            features=features,
            codec=network_of_codes,
            task=task,
            script=plan.script,
            voice=voice,
            voices=voices,
            sampling=sampling,
            seeds=Seeds(speech=speech_seed, background=background_seed),
            rerolls=parse_rerolls(rerolls),
            locks=locks,
            background=background,
            batch_size=takes,
            store=_STORES.setdefault(network, MemoryStore()),
            progress=a.comfy_progress(),
        )
        codes = origin.sampled(
            take.codes,
            model,
            task=task,
            seeds={"speech": speech_seed, "background": background_seed},
            script=plan.script,
            voices=[*([] if voice is None else [voice]), *(voices or {}).values()],
            locks=locks,
            sampling=sampling,
        )
        words = plan.script if isinstance(plan.script, str) else plan.script.text if plan.script else ""
        said = f"{take.text}; {a.codes_text(codes)}{model.warning_about(words)}"
        return io.NodeOutput(codes, take.text, ui=a.said(cls, said))
