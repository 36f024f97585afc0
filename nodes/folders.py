"""Names that an artist chooses to paths that never leave ComfyUI's folders, and what the lists offer."""

import os
from collections.abc import Sequence
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ..dualdub_core import hub
from ..dualdub_core.errors import CheckpointError, InputError
from ..dualdub_core.system import BUILTIN
from ..dualdub_core.types import Audio

BUILTIN_NAME = "built-in mini"
EXAMPLES = Path(__file__).parents[1] / "workflows" / "assets"
EXAMPLE_SUFFIX = " (example)"
FOLDER, VOICES = "dualdub", "dualdub_voices"
WEIGHTS = {".safetensors", ".ckpt", ".pt", ".bin"}


def register_folders() -> None:
    """Tell ComfyUI of `models/dualdub`; folders that extra_model_paths.yaml named before stay."""
    home = Path(folder_paths.models_dir) / FOLDER
    for key, folder, kinds in (
        (FOLDER, str(home), WEIGHTS),
        (VOICES, str(home / "voices"), {".safetensors"}),
    ):
        folder_paths.add_model_folder_path(key, folder, is_default=True)
        folder_paths.folder_names_and_paths[key] = (folder_paths.folder_names_and_paths[key][0], set(kinds))


def weights_names(suffixes: Sequence[str] = (".safetensors",), *, also: str = "", known: str = "") -> list[str]:
    """What a loader lists: the built-in model, files of models/dualdub, of another folder, one to download."""
    names = [BUILTIN_NAME, *([hub.PUBLISHED[known].save_as] if known else [])]
    for folder in (FOLDER, also) if also else (FOLDER,):
        names += [name for name in folder_paths.get_filename_list(folder) if name.endswith(tuple(suffixes))]
    return [name for name in dict.fromkeys(names) if Path(name).parts[0] != "voices"]


def weights_path(name: str, *, also: str = "", known: str = "", download: bool = False) -> Path:
    """The file of a listed name.

    Raises:
        CheckpointError: it is not there, and where it can be had from.
    """
    if name == BUILTIN_NAME:
        return BUILTIN
    for folder in (FOLDER, also) if also else (FOLDER,):
        found = folder_paths.get_full_path(folder, name)
        if found is not None:
            return Path(found)
    home = Path(folder_paths.get_folder_paths(FOLDER)[0])
    entry = hub.PUBLISHED.get(known)
    if entry is None or name != entry.save_as:
        raise CheckpointError(f"{name}: no such file in {home}; put it there and press R to refresh the list")
    if download:
        return hub.download(known, home)
    raise CheckpointError(
        f"{name}: not in {home}; turn on 'download' to fetch {entry.what}, licence {entry.licence}, or fetch "
        f"{entry.url} by hand and put it there under this name"
    )


def media_names(*kinds: str) -> list[str]:
    """Files of ComfyUI's input folder, then the pack's examples."""
    folder = folder_paths.get_input_directory()
    names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    examples = [path.name for path in EXAMPLES.iterdir()]
    own = folder_paths.filter_files_content_types(examples, list(kinds))
    return [
        *sorted(folder_paths.filter_files_content_types(names, list(kinds))),
        *(f"{name}{EXAMPLE_SUFFIX}" for name in sorted(own)),
    ]


def input_path(name: str) -> Path:
    """The file of a listed or uploaded name; nothing outside ComfyUI's own folders.

    Raises:
        InputError: there is none.
    """
    if name.endswith(EXAMPLE_SUFFIX):
        folder, name = str(EXAMPLES), name.removesuffix(EXAMPLE_SUFFIX)
    else:
        name, annotated = folder_paths.annotated_filepath(name)
        folder = annotated or folder_paths.get_input_directory()
    path = _inside(folder, name)
    if not path.is_file():
        raise InputError(f"{name}: no such file in {folder}; upload it or choose another")
    return path


def input_folder(name: str) -> Path:
    """A folder inside ComfyUI's input folder; empty is that folder itself.

    Raises:
        InputError: there is none.
    """
    home = folder_paths.get_input_directory()
    path = _inside(home, name or ".")
    if not path.is_dir():
        raise InputError(f"{name}: no such folder in {home}")
    return path


def check_input(name: str | None) -> bool | str:
    """For `validate_inputs`: True, or what is wrong. A linked input is not known yet."""
    try:
        return name is None or input_path(name).is_file()
    except InputError as error:
        return str(error)


def fingerprint(path: Path) -> str:
    """Changes when the file does, for ComfyUI's cache; a missing file is for `execute` to complain of."""
    if not path.is_file():
        return "missing"
    facts = path.stat()
    return f"{facts.st_mtime_ns} {facts.st_size}"


def output_path(prefix: str, suffix: str, size: tuple[int, int] = (0, 0)) -> tuple[Path, ui.SavedResult]:
    """The next free name in the output folder, by ComfyUI's own numbering, and how its browser finds it."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory(), *size
    )
    file = f"{name}_{counter:05}_{suffix}"
    return Path(folder) / file, ui.SavedResult(file, subfolder, io.FolderType.output)


def stem_files(prefix: str, stems: dict[str, Audio]) -> list[tuple[Path, Audio]]:
    """A file for each stem, and for each take of a batch, under one number: prefix_00001_speech.wav."""
    if not stems:
        raise InputError("save stems: nothing is connected; connect a mix or a stem")
    first, _ = output_path(prefix, "")
    files = []
    for name, stem in stems.items():
        for index, waveform in enumerate(stem.waveform, start=1):
            take = f"_take{index}" if len(stem.waveform) > 1 else ""
            path = first.with_name(f"{first.name}{name}{take}.wav")
            files.append((path, Audio(waveform[None], stem.sample_rate)))
    return files


def codes_names() -> list[str]:
    """Codes saved earlier: in the output folder's `dualdub`, and in the input folder."""
    outputs = Path(folder_paths.get_output_directory()) / FOLDER
    found = [f"{FOLDER}/{path.name} [output]" for path in outputs.glob("*.codes.safetensors")]
    return sorted(found, reverse=True) + sorted(
        path.name for path in Path(folder_paths.get_input_directory()).glob("*.codes.safetensors")
    )


def voice_names() -> list[str]:
    """Voices saved earlier."""
    return folder_paths.get_filename_list(VOICES)


def voice_path(name: str) -> Path:
    """The file of a listed voice."""
    found = folder_paths.get_full_path(VOICES, name)
    if found is None:
        raise InputError(f"{name}: no such voice in {folder_paths.get_folder_paths(VOICES)[0]}; save it first")
    return Path(found)


def new_voice_path(name: str, *, overwrite: bool) -> Path:
    """Where a voice of this name is kept; the next free name unless an older one may go."""
    folder = folder_paths.get_folder_paths(VOICES)[0]
    if not name.strip() or set(name) & set('/\\:*?"<>|') or name.startswith("."):
        raise InputError(f"save voice: got the name '{name}', expected one without slashes, colons, * ? \" < > |")
    path, number = _inside(folder, f"{name.strip()}.safetensors"), 1
    while path.exists() and not overwrite:
        number += 1
        path = _inside(folder, f"{name.strip()}_{number}.safetensors")
    return path


def _inside(folder: str, name: str) -> Path:
    base = Path(folder).resolve()
    path = (base / name).resolve()
    if not path.is_relative_to(base):
        raise InputError(f"{name}: outside of {folder}, which is not allowed")
    return path
