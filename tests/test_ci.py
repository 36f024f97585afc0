"""The workflow files test what the package promises."""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_floor_and_the_pythons_are_those_of_the_package():
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]
    promised = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    core, comfyui = (jobs[name]["strategy"]["matrix"] for name in ("core", "comfyui"))
    assert core["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert f'requires-python = ">={core["python"][0]}"' in promised
    assert f'requires-comfyui = ">={comfyui["comfyui"][0].removeprefix("v")}"' in promised
    assert core["os"] == comfyui["os"] == ["ubuntu-latest", "windows-latest"]


def test_no_workflow_may_write_or_keep_a_token():
    assert len(FILES) == 2
    for path in FILES:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        for step in steps:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, path.name
        assert all("timeout-minutes" in job for job in workflow["jobs"].values()), path.name
