"""What the README shows runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualdub_core.system import BUILTIN

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_block_runs_as_pasted(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, env=environment, check=True)
    assert {"speech.wav", "background.wav", "dubbed.mp4"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_the_file_tree_names_every_module_of_the_core():
    tree = README.split("## Files")[1].split("## Published")[0]
    core = BUILTIN.parent.parent
    modules = {p.name for p in core.glob("*.py")} - {"__init__.py", "errors.py", "progress.py", "files.py"}
    assert {name for name in modules if name not in tree} == set()
    models = {p.stem for p in (core / "models").glob("*.py")} - {"__init__", "layers", "token_condition"}
    assert {name for name in models if name not in tree} == set()
