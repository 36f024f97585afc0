"""Graphs for the soak: templates and others on a second or two of video, some of them wrong on purpose."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

PACK = Path(__file__).parents[2]
API = PACK / "tests" / "nodes" / "api"
FILM, FILM_SECONDS = "film.mp4", 40
WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEEDS = 2**48
TIMED = ("DualDub_CuedScript", "DualDub_RetakeRange", "DualDub_ScriptList")


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt, and what must come of it: nothing wrong, or words of an error or of a refusal."""

    name: str
    prompt: dict
    error: str = ""
    refusal: str = ""


def own(kind: str, **inputs: object) -> dict:
    return {"class_type": f"DualDub_{kind}", "inputs": inputs}


def core(kind: str, **inputs: object) -> dict:
    return {"class_type": kind, "inputs": inputs}


def make_inputs(folder: Path) -> None:
    """A film of two shots, longer than what is soaked, for the stages that shall be cancelled."""
    with av.open(str(folder / FILM), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        blocks = [np.random.default_rng(number).integers(0, 255, (9, 16, 3), np.uint8) for number in (0, 1)]
        shots = [block.repeat(20, 0).repeat(20, 1) for block in blocks]
        for index in range(25 * FILM_SECONDS):
            frame = av.VideoFrame.from_ndarray(np.roll(shots[index >= 300], index, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def case(rng: random.Random, number: int) -> Case:
    """Each tenth is wrong."""
    if number % 10 == 7:
        return WRONG[number // 10 % len(WRONG)](rng)
    return RIGHT[number % len(RIGHT)](rng)


def _seeds(rng: random.Random) -> dict:
    return {"speech_seed": rng.randrange(SEEDS), "background_seed": rng.randrange(SEEDS)}


def _part(rng: random.Random) -> dict:
    return {"start": round(rng.uniform(0, 2), 2), "duration": round(rng.uniform(1, 2), 2)}


def _text(rng: random.Random) -> str:
    return " ".join(rng.sample(WORDS, 3))


def draft(rng: random.Random, **changes: dict) -> dict:
    """Video to draft stems; `changes` replace or add nodes."""
    return {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file="demo.mp4 (example)", **_part(rng)),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "script": own("Script", text=_text(rng)),
        "sample": own(
            "Sampler", model=["load", 0], features=["watch", 0], script=["script", 0], task="speech + background",
            takes=1, duration=0.0, **_seeds(rng),
        ),
        "decode": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        "speech": core("PreviewAudio", audio=["decode", 0]),
        "background": core("PreviewAudio", audio=["decode", 1]),
        **changes,
    }  # fmt: skip


def _cued(rng: random.Random) -> dict:
    """Lines with times instead of words, measured, drawn."""
    lines = f"[00:00.1-00:00.8] {rng.choice(WORDS)} {rng.choice(WORDS)} [00:00.9] {rng.choice(WORDS)}"
    return draft(
        rng,
        script=own("CuedScript", text=lines, file="none", clip_start=0.0),
        sample=own(
            "ScriptSampler", model=["load", 0], codec=["load", 2], script=["script", 0], features=["watch", 0], takes=1,
            rerolls="", background="on its own", duration=0.0, **_seeds(rng),
        ),
        captions=own(
            "Captions", script=["script", 0], speech=["decode", 0], filename_prefix="soak/lines", save="srt + vtt",
        ),
        sheet=own("TakeSheet", speech=["decode", 0], background=["decode", 1], title="", theme="light"),
    )  # fmt: skip


def _takes(rng: random.Random) -> dict:
    prompt = draft(rng, pick=own("SelectTake", codes=["sample", 0], take=2))
    prompt["sample"]["inputs"]["takes"] = 2
    prompt["decode"]["inputs"]["codes"] = ["pick", 0]
    return prompt


def _speech(rng: random.Random) -> dict:
    prompt = draft(rng)
    del prompt["video"], prompt["watch"], prompt["sample"]["inputs"]["features"]
    prompt["sample"]["inputs"] |= {"task": "speech only", "duration": round(rng.uniform(1, 2), 2)}
    return prompt


def _long(rng: random.Random) -> dict:
    return draft(
        rng,
        cuts=own("ShotCuts", video=["video", 0], detector="picture difference", least_difference=0.05),
        script=own("CuedScript", text=f"[00:00.2-00:00.9] {rng.choice(WORDS)}", file="none", clip_start=0.0),
        plan=own(
            "LongVideoPlan", longest=1.0, context=0.3, at_cuts="start afresh", duration=0.0, features=["watch", 0],
            script=["script", 0], cuts=["cuts", 0],
        ),
        sample=own(
            "LongVideo", model=["load", 0], codec=["load", 2], plan=["plan", 0], features=["watch", 0], takes=1,
            rerolls="", background="on its own", **_seeds(rng),
        ),
        report=core("PreviewAny", source=["sample", 1]),
    )  # fmt: skip


def _template(name: str) -> Callable[[random.Random], dict]:
    def make(rng: random.Random) -> dict:
        prompt: dict = json.loads((API / f"{name}.json").read_text())
        # What names times on the clip's clock needs the clip as it is.
        is_timed = any(node["class_type"] in TIMED for node in prompt.values())
        for node in prompt.values():
            inputs = node["inputs"]
            if node["class_type"] == "DualDub_LoadVideo" and not is_timed:
                inputs |= {"file": "demo.mp4 (example)", **_part(rng)}
            if node["class_type"] == "DualDub_Script":
                inputs["text"] = _text(rng)
            for key in ("speech_seed", "background_seed", "seed"):
                if isinstance(inputs.get(key), int):
                    inputs[key] = rng.randrange(SEEDS)
        return prompt

    return make


def _fails(rng: random.Random, **changes: dict) -> dict:
    return draft(rng, **changes)


def _locked(rng: random.Random, start: float, end: float) -> dict:
    prompt = draft(
        rng,
        bed=own("LoadAudio", audio="bed.flac (example)", start=0.0, duration=0.0),
        lock=own(
            "LockStream", codec=["load", 2], audio=["bed", 0], stream="background", start=start, end=end, duration=0.0,
            features=["watch", 0],
        ),
    )  # fmt: skip
    prompt["sample"]["inputs"]["locks"] = ["lock", 0]
    return prompt


def _retaken(rng: random.Random) -> dict:
    """A retake of the first take, beyond its end."""
    return draft(rng, retake=own("RetakeRange", codes=["sample", 0], start=50.0, end=51.0, streams="both")) | {
        "again": own(
            "Sampler", model=["load", 0], features=["watch", 0], script=["script", 0], task="speech + background",
            takes=1, duration=0.0, locks=["retake", 0], **_seeds(rng),
        ),
        "decode": own("CodecDecode", codec=["load", 2], codes=["again", 0]),
    }  # fmt: skip


def _wrong_take(rng: random.Random) -> dict:
    prompt = _takes(rng)
    prompt["pick"]["inputs"]["take"] = 9
    return prompt


def _late(rng: random.Random) -> dict:
    prompt = draft(rng)
    prompt["video"]["inputs"]["start"] = 50.0
    return prompt


def _gone(rng: random.Random) -> dict:
    prompt = draft(rng)
    prompt["video"]["inputs"]["file"] = "gone.mp4"
    return prompt


RIGHT = (
    *(lambda rng, n=name: Case(n, _template(n)(rng)) for name in sorted(path.stem for path in API.glob("*.json"))),
    lambda rng: Case("draft", draft(rng)),
    lambda rng: Case("lines", _cued(rng)),
    lambda rng: Case("takes", _takes(rng)),
    lambda rng: Case("speech only", _speech(rng)),
    lambda rng: Case("long", _long(rng)),
    lambda rng: Case("locked", _locked(rng, 0.0, 0.0)),
)
WRONG = (
    lambda rng: Case("no words", _fails(rng, script=own("Script", text="")), error="script"),
    lambda rng: Case("lock backwards", _locked(rng, 0.8, 0.2), error="lock"),
    lambda rng: Case("take 9 of 2", _wrong_take(rng), error="take 9"),
    lambda rng: Case("starts after the end", _late(rng), error="start"),
    lambda rng: Case("retake beyond the end", _retaken(rng), error="retake"),
    lambda rng: Case("file that is gone", _gone(rng), refusal="gone.mp4"),
    lambda rng: Case("wrong socket", draft(rng, decode=own("CodecDecode", codec=["load", 0], codes=["sample", 0])),
                     refusal="return_type_mismatch"),
)  # fmt: skip


STAGES = {
    "load": "LoadDualDub", "video": "LoadVideo", "watch": "EncodeVideo", "cuts": "ShotCuts", "voice": "Voice",
    "sample": "Sampler", "lines": "ScriptSampler", "long": "LongVideo", "decode": "FlowDecode", "draft": "CodecDecode",
    "mix": "MixStems", "master": "MasterStems", "sheet": "TakeSheet", "stems": "SaveStems", "save": "SoundtrackToVideo",
    "handoff": "Handoff",
}  # fmt: skip
"""Nodes of `whole` that are cancelled, and their kinds."""


def whole(rng: random.Random, stage: str) -> dict:
    """A graph of every stage on half a minute of film, of which all but `stage` and what follows is as the last time.

    So the stages before it come from the cache.
    """
    seeds = random.Random(0)
    script = " ".join(["one two three four five"] * 4)
    prompt = {
        "load": own("LoadDualDub", checkpoint="built-in mini", precision="auto"),
        "video": own("LoadVideo", file=FILM, start=0.5, duration=30.0),
        "watch": own("EncodeVideo", video_encoder=["load", 1], video=["video", 0], fps=25.0),
        "cuts": own("ShotCuts", video=["video", 0], detector="picture difference", least_difference=0.05),
        "recording": own("LoadAudio", audio="voice.wav (example)", start=0.0, duration=0.0),
        "voice": own("Voice", model=["load", 0], audio=["recording", 0], name=""),
        "script": own("Script", text=script),
        "cued": own("CuedScript", text="[00:01] one two [00:09] three [00:21] four", file="none", clip_start=0.0),
        "sample": own(
            "Sampler", model=["load", 0], features=["watch", 0], script=["script", 0], voice=["voice", 0],
            task="speech + background", takes=1, duration=0.0, **_seeds(seeds),
        ),
        "lines": own(
            "ScriptSampler", model=["load", 0], codec=["load", 2], script=["cued", 0], features=["watch", 0], takes=1,
            rerolls="", background="on its own", duration=0.0, **_seeds(seeds),
        ),
        "plan": own(
            "LongVideoPlan", longest=10.0, context=2.0, at_cuts="start afresh", duration=0.0, features=["watch", 0],
            script=["cued", 0], cuts=["cuts", 0],
        ),
        "long": own(
            "LongVideo", model=["load", 0], codec=["load", 2], plan=["plan", 0], features=["watch", 0], takes=1,
            rerolls="", background="on its own", **_seeds(seeds),
        ),
        "decode": own(
            "FlowDecode", decoder=["load", 3], vae=["load", 4], codes=["sample", 0], steps=4, solver="euler", cfg=1.0,
            seed=0,
        ),
        "draft": own("CodecDecode", codec=["load", 2], codes=["sample", 0]),
        "mix": own(
            "MixStems", speech=["draft", 0], background=["draft", 1], speech_gain=0.0, background_gain=0.0, ducking=6.0,
            attack=50.0, release=250.0, normalize=True, loudness=-23.0, ceiling=-1.0,
        ),
        "master": own(
            "MasterStems", speech=["draft", 0], background=["draft", 1], delivery="custom", loudness=-20.0,
            ceiling=-3.0, ducking=9.0, attack=50.0, hold=100.0, release=200.0, balance=True, speech_over_bed=8.0,
            stereo=True, drive=6.0,
            **{f"{s}_{w}": 0.0 for s in ("speech", "background") for w in ("gain", "pan", "fade_in", "fade_out")},
        ),
        "sheet": own(
            "TakeSheet", speech=["draft", 0], background=["draft", 1], title="", theme="light", video=["video", 0],
        ),
        "stems": own("SaveStems", filename_prefix="soak/stems", mix=["mix", 0]),
        "save": own(
            "SoundtrackToVideo", video=["video", 0], audio=["mix", 0], filename_prefix="soak/film", container="auto",
        ),
        "handoff": own(
            "Handoff", filename_prefix="soak/handoff", container="mkv", timeline_start=0.0, video=["video", 0],
            mix=["mix", 0],
        ),
    }  # fmt: skip
    _changed(prompt, stage, rng)
    # Only one branch is asked for, so that the stage comes soon.
    ends = ("save", "handoff", "stems", "sheet")
    keep = _before(prompt, stage)
    shown = {} if stage in ends else {"show": core("PreviewAny", source=[stage, 5 if stage == "load" else 0])}
    return {name: node for name, node in prompt.items() if name in keep} | shown


def _changed(prompt: dict, stage: str, rng: random.Random) -> None:
    """Set what makes a stage run anew."""
    inputs = prompt[stage]["inputs"]
    for key, value in {
        "speech_seed": rng.randrange(SEEDS), "seed": rng.randrange(SEEDS), "ducking": rng.uniform(3, 9),
        "title": str(rng.random()), "filename_prefix": f"soak/{rng.randrange(10**6)}", "name": str(rng.random()),
        "fps": rng.uniform(20, 30), "least_difference": rng.uniform(0.04, 0.06),
        "duration": rng.uniform(28, 30) if stage == "video" else None,
    }.items():  # fmt: skip
        if key in inputs and value is not None:
            inputs[key] = value
    if stage == "draft":  # it has nothing of its own to change, so its codes come another way
        ways = ["sample", *(f"pick {number}" for number in range(rng.randint(1, 40)))]
        for before, way in pairwise(ways):
            prompt[way] = own("SelectTake", codes=[before, 0], take=1)
        inputs["codes"] = [ways[-1], 0]


def _before(prompt: dict, stage: str) -> set[str]:
    """A stage and all that it needs."""
    found, open_ = set(), [stage]
    while open_:
        name = open_.pop()
        found.add(name)
        open_ += [v[0] for v in prompt[name]["inputs"].values() if isinstance(v, list) and v[0] not in found]
    return found
