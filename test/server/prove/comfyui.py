"""The nodes of examples/comfyui as ComfyUI finds and calls them: python comfyui.py URL. Needs torch, numpy, pillow and av."""
import importlib.util
import sys
import threading
import time
from pathlib import Path

server = sys.argv[1]
pack = Path(__file__).resolve().parents[3] / "examples/comfyui"
# As ComfyUI's nodes.py loads a folder of custom_nodes.
spec = importlib.util.spec_from_file_location("cogwheel_comfyui", pack / "__init__.py", submodule_search_locations=[str(pack)])
module = importlib.util.module_from_spec(spec)
sys.modules["cogwheel_comfyui"] = module
spec.loader.exec_module(module)

import torch  # noqa: E402

for name, node in module.NODE_CLASS_MAPPINGS.items():
    inputs = node.INPUT_TYPES()
    assert name in module.NODE_DISPLAY_NAME_MAPPINGS and set(inputs) <= {"required", "optional", "hidden"}
    assert all(isinstance(kind, tuple) and isinstance(kind[0], str) for part in inputs.values() for kind in part.values())
    assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES) and callable(getattr(node(), node.FUNCTION))

Text = module.NODE_CLASS_MAPPINGS["CogwheelTextToVideo"]
asked = {"prompt": "a red circle moving left on a black background", "seed": 3, "steps": 4, "server": server}
images, fps, seed = getattr(Text(), Text.FUNCTION)(**asked)
assert images.shape == (17, 64, 64, 3) and images.dtype == torch.float32 and (fps, seed) == (8.0, 3), (images.shape, fps, seed)
assert 0 <= images.min() and images.max() <= 1
# Of a red circle on black, what is bright is red.
bright = images[images.max(-1).values > 0.5]
assert len(bright) > 100 and bright[:, 0].mean() > 2 * bright[:, 1].mean(), bright.mean(0)
again, *_ = Text().make(**asked)
assert torch.equal(images, again), "the same seed, the same frames"


def refused(call, *words):
    try:
        call()
    except RuntimeError as error:
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(f"must be refused with {words}")


refused(lambda: Text().make(**{**asked, "width": 40}), "400", "multiples of 16")
refused(lambda: Text().make(**{**asked, "server": "http://127.0.0.1:9"}), "must be a running `cogwheel serve`")
Picture = module.NODE_CLASS_MAPPINGS["CogwheelImageToVideo"]
refused(lambda: Picture().make(image=images, **asked), "400")  # the embedded model begins from prompts alone

# What ComfyUI raises when its user stops cancels the job on the server.
api = sys.modules["cogwheel_comfyui.api"]


class Stopped(BaseException):
    pass


stop = threading.Event()


def check():
    if stop.is_set():
        raise Stopped


jobs = []
threading.Timer(1.5, stop.set).start()
try:
    fields = {"prompt": "x", "num_inference_steps": 500}
    api.make_video(server, fields, on_progress=jobs.append, check_interrupted=check)
except Stopped:
    pass
else:
    raise AssertionError("must have been stopped")
import json  # noqa: E402

for _ in range(40):
    job = json.loads(api._request(server, f"/v1/videos/{jobs[-1]['id']}"))
    if job["status"] == "failed":
        break
    time.sleep(0.25)
assert job["status"] == "failed" and job["error"]["code"] == "cancelled", job
print("holds  nodes of ComfyUI: text to video, refusals, a stop that cancels")
