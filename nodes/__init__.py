"""The extension: the list of nodes that ComfyUI gets."""

from comfy_api.latest import ComfyExtension, io

from . import (
    batches,
    captions,
    conditioning,
    credentials,
    decoding,
    gating,
    handoff,
    lists,
    loaders,
    long_plan,
    long_video,
    mastering,
    preflight,
    sampling,
    scoring,
    scripts,
    stems,
    take_sheet,
    video,
)
from .folders import register_folders

NODES: list[type[io.ComfyNode]] = [
    loaders.LoadDualDub,
    loaders.LoadCodec,
    loaders.LoadFlowDecoder,
    loaders.LoadAudioVAE,
    loaders.LoadCLIP,
    video.LoadVideo,
    video.LoadAudio,
    video.EncodeVideo,
    conditioning.Script,
    conditioning.EncodeVoice,
    conditioning.SaveVoice,
    conditioning.LoadVoice,
    conditioning.BlendVoices,
    conditioning.LockStream,
    conditioning.RetakeRange,
    sampling.SamplingSettings,
    sampling.Sampler,
    sampling.SelectTake,
    sampling.SaveCodes,
    sampling.LoadCodes,
    decoding.FlowDecode,
    decoding.CodecDecode,
    stems.MixStems,
    stems.SaveStems,
    video.SoundtrackToVideo,
    scoring.ScoreSoundtrack,
    scripts.CuedScript,
    scripts.PlanPreview,
    scripts.NamedVoice,
    scripts.ScriptSampler,
    captions.Captions,
    handoff.Handoff,
    mastering.MasterStems,
    take_sheet.TakeSheetNode,
    preflight.Preflight,
    credentials.ContentCredentials,
    gating.GatedSampler,
    lists.VideoList,
    lists.ScriptList,
    lists.VoiceList,
    lists.SeedList,
    batches.BatchGrid,
    batches.BatchRow,
    long_plan.ShotCuts,
    long_plan.LongVideoPlan,
    long_video.LongVideo,
]


class DualDubExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def on_load(self) -> None:
        """Name the model folders before any node lists them."""
        register_folders()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return NODES


async def comfy_entrypoint() -> DualDubExtension:
    """ComfyUI's way in."""
    return DualDubExtension()
