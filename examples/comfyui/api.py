"""A client of `cogwheel serve`: makes a job, waits for it, and brings its bytes. Of the standard library alone."""
import json
import os
import time
import urllib.error
import urllib.request
import uuid

POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 60


class ServerError(RuntimeError):
    """What the server answered in place of a video: its own words."""


def _request(server, path, *, method="GET", body=None, content_type=None):
    headers = {"content-type": content_type} if content_type else {}
    key = os.environ.get("COGWHEEL_API_KEY")
    if key:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(server.rstrip("/") + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        try:
            text = json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            pass
        raise ServerError(f"{server}: {error.code}: {text}") from None
    except urllib.error.URLError as error:
        raise ServerError(f"{server} must be a running `cogwheel serve`, got {error.reason}; start one, or name another server") from None


def _multipart(fields, files):
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in fields.items():
        parts.append(f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, (filename, mime, data) in files.items():
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"; filename="{filename}"\r\ncontent-type: {mime}\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def make_video(server, fields, picture=None, *, on_progress=lambda job: None, check_interrupted=lambda: None):
    """Bytes of an MP4, and the job as the server tells it.

    fields: those of POST /v1/videos (prompt, width, num_frames, …). picture: bytes of a PNG to begin from.
    on_progress is called with the job whenever it was asked for; what check_interrupted raises cancels the job.
    """
    if picture is None:
        body, content_type = json.dumps(fields).encode(), "application/json"
    else:
        body, content_type = _multipart(fields, {"input_reference": ("first.png", "image/png", picture)})
    job = json.loads(_request(server, "/v1/videos", method="POST", body=body, content_type=content_type))
    path = f"/v1/videos/{job['id']}"
    try:
        while job["status"] in ("queued", "in_progress"):
            check_interrupted()
            time.sleep(POLL_SECONDS)
            job = json.loads(_request(server, path))
            on_progress(job)
    except BaseException:
        try:
            _request(server, f"{path}/cancel", method="POST")
        except ServerError:
            pass  # the job is over, or the server is gone: what stopped us is what is told
        raise
    if job["status"] != "completed":
        error = job.get("error") or {}
        raise ServerError(f"{server}: {job['id']} failed ({error.get('code')}): {error.get('message')}")
    return _request(server, f"{path}/content"), job
