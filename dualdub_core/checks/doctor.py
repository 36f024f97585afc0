"""A report of the machine and of what is installed, for threads about bugs: no path, no name, no secret."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import av
import soundfile
import torch

from ..checkpoint import read_header
from ..provenance.provenance import fingerprint
from ..system import BUILTIN
from ..version import VERSION

REQUIRED = (
    "torch", "numpy", "transformers", "safetensors", "einops", "tiktoken", "soundfile", "huggingface_hub", "av",
    "Pillow", "pyloudnorm", "scipy", "tqdm",
)  # fmt: skip
OPTIONAL = ("opentimelineio", "c2pa-python", "librosa", "jiwer", "opencv-python-headless", "open_clip_torch", "psutil")
_ENCODERS = ("aac", "libopus", "libx264", "mpeg4", "libvpx-vp9", "libvpx")
# Only whether they are set: a token is a secret, a folder names its user.
_VARIABLES = ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF")


def environment() -> dict[str, Any]:
    """Versions, devices, what FFmpeg can write, and whether the built-in model is whole."""
    return {
        "dualdub": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "memory_gb": _memory(),
        "packages": {name: _version(name) for name in REQUIRED},
        "optional": {name: found for name in OPTIONAL if (found := _version(name)) is not None},
        "torch": {
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "hip": torch.version.hip,
            "devices": _devices(),
        },
        "ffmpeg": {name: ".".join(map(str, number)) for name, number in av.library_versions.items()},
        "encoders": [name for name in _ENCODERS if name in av.codecs_available and _writes(name)],
        "libsndfile": soundfile.__libsndfile_version__,
        "built_in_model": _builtin(),
        "set": [name for name in _VARIABLES if name in os.environ],
    }


def complaints(report: dict[str, Any]) -> list[str]:
    """What in a report will not work, a line each."""
    found = [f"{name} is not installed" for name, number in report["packages"].items() if number is None]
    if "aac" not in report["encoders"]:
        found.append("this FFmpeg has no AAC encoder: mp4, mov and mkv cannot be written")
    if not {"libx264", "mpeg4"} & set(report["encoders"]):
        found.append("this FFmpeg has no encoder of pictures: trimmed clips cannot be written")
    if "damaged" in str(report["built_in_model"].get("status")):
        found.append("the built-in model is damaged: install the package again")
    return found


def free_memory(device: torch.device | str = "cpu") -> int | None:
    """Bytes that are free where a model would run; None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _pages("SC_AVPHYS_PAGES") if device.type == "cpu" else None


def _memory() -> float | None:
    total = _pages("SC_PHYS_PAGES")
    return None if total is None else round(total / 1e9, 1)


def _pages(name: str) -> int | None:
    if name not in getattr(os, "sysconf_names", {}):  # Windows has none
        return None
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found.append(f"{facts.name}, {facts.total_memory / 1e9:.1f} GB")
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def _writes(name: str) -> bool:
    try:
        return bool(av.Codec(name, "w").is_encoder)
    except av.FFmpegError:
        return False


def _builtin() -> dict[str, Any]:
    try:
        info = read_header(BUILTIN).info
    except ValueError as error:
        return {"status": f"damaged ({error})"}
    return {"name": info.get("name"), "status": info.get("status"), "fingerprint": fingerprint(BUILTIN)}
