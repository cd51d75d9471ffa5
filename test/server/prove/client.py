"""OpenAI's Python client, as it is, and Prometheus' own parser, against a server: client.py URL."""

import sys
import urllib.request

import openai
from prometheus_client.parser import text_string_to_metric_families

url = sys.argv[1]
client = openai.OpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0)
small = {"num_frames": 8, "num_inference_steps": 2, "guidance_scale": 1}

video = client.videos.create_and_poll(prompt="a red circle", size="32x32", extra_body=small, poll_interval_ms=100)
assert video.status == "completed" and video.progress == 100, video
content = client.videos.download_content(video.id).read()
assert content[4:8] == b"ftyp", content[:16]
thumbnail = client.videos.download_content(video.id, variant="thumbnail").read()
assert thumbnail[:2] == b"\xff\xd8", thumbnail[:16]
assert client.videos.retrieve(video.id).id == video.id

remix = client.videos.remix(video.id, prompt="a blue circle")
assert remix.remixed_from_video_id == video.id
edit = client.videos.edit(video=("film.mp4", content), prompt="a green circle", extra_body={**small, "strength": 1})
assert client.videos.poll(edit.id, poll_interval_ms=100).status == "completed"
try:
    client.videos.extend(video=("film.mp4", content), prompt="on", seconds="4")
    raise AssertionError("the embedded model extends nothing")
except openai.BadRequestError as error:
    assert "makes videos from text" in str(error), error
assert {one.id for one in client.videos.list(limit=1)} == {video.id, remix.id, edit.id}

cancelled = client.videos.create(prompt="x", extra_body={"num_inference_steps": 1000})
client.post(f"/videos/{cancelled.id}/cancel", cast_to=object)
ended = client.videos.poll(cancelled.id)
assert ended.status == "failed" and ended.error.code == "cancelled", ended
for one in (video, remix, edit, cancelled):
    assert client.videos.delete(one.id).deleted
try:
    client.videos.retrieve(video.id)
    raise AssertionError("deleted videos are gone")
except openai.NotFoundError:
    pass

text = urllib.request.urlopen(f"{url}/metrics").read().decode()
families = {family.name: family for family in text_string_to_metric_families(text)}
assert families["cogwheel:num_requests_running"].type == "gauge", families.keys()
assert families["cogwheel:e2e_request_latency_seconds"].type == "histogram"
print(f"openai {openai.__version__}: every call; {len(families)} families of metrics")
