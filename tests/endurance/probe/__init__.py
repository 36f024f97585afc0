"""A node pack without nodes: tells over HTTP what memory the server holds, for the soak."""

import ctypes
import gc
import platform
import tracemalloc
from collections import Counter

import psutil
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict = {}
_PLACES = 25


def _objects() -> Counter[str]:
    return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())


@PromptServer.instance.routes.get("/soak/memory")
async def memory(request: web.Request) -> web.Response:
    """RSS in MB before and after a collection; with ?trim=1 with pages given back, with ?objects=1 their kinds."""
    process = psutil.Process()
    told: dict = {
        "rss": process.memory_info().rss / 2**20,
        "threads": process.num_threads(),
        "files": process.num_fds(),
    }
    gc.collect()
    told["rss_collected"] = process.memory_info().rss / 2**20
    if "trim" in request.query and platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        told["rss_trimmed"] = process.memory_info().rss / 2**20
    if "objects" in request.query:
        told["objects"] = dict(_objects().most_common(400))
    if tracemalloc.is_tracing():
        snapshot = tracemalloc.take_snapshot()
        told["traced"] = [f"{line.size / 2**20:.2f} MB {line}" for line in snapshot.statistics("lineno")[:_PLACES]]
    return web.json_response(told)
