"""The dependency direction: nodes -> dualdub_core <- train, and what each may know."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMFY = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "execution", "nodes"}
NEVER = {"torchaudio", "torchvision", "torchcodec"}
FORBIDDEN = {
    "dualdub_core": COMFY | NEVER | {"train", "accelerate", "dualdub_core"},  # relative inside itself
    "nodes": NEVER | {"train", "accelerate", "dualdub_core", "nodes"},  # an absolute core would be a second one
    "train": COMFY | NEVER,
}
FILES = [(folder, path) for folder in FORBIDDEN for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.module:
            depth = len(path.relative_to(ROOT).parts) - node.level
            if depth <= 0:  # leaves its own top-level folder
                names.add(f"..{node.module.split('.')[0]}")
    return names


@pytest.mark.parametrize(("folder", "path"), FILES, ids=[str(p.relative_to(ROOT)) for _, p in FILES])
def test_a_file_imports_only_what_its_folder_may(folder, path):
    assert imported(path) & FORBIDDEN[folder] == set()
    outside = {name for name in imported(path) if name.startswith("..")}
    assert outside <= ({"..dualdub_core"} if folder == "nodes" else set())


def test_there_is_something_to_check():
    assert {folder for folder, _ in FILES} == set(FORBIDDEN)
