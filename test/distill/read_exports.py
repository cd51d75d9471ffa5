"""Reads exports as their readers do: python read_exports.py FOLDER, with FOLDER/videofolder, /diffusers, /videox-fun, /open-sora, /webdataset.

datasets' VideoFolder is run itself; the lists are read by the lines of diffusers' examples/cogvideo/train_cogvideox_lora.py."""
import csv
import json
import sys
import tarfile
from pathlib import Path

from datasets import Video, load_dataset

folder = Path(sys.argv[1])
rows = load_dataset("videofolder", data_dir=str(folder / "videofolder"), split="train").cast_column("video", Video(decode=False))
captions = sorted(rows["caption"])
assert captions and all(captions), "captions of VideoFolder"
assert all(Path(row["video"]["path"]).is_file() for row in rows), "files of VideoFolder"

root = folder / "diffusers"
# From here to the checks as the example has it.
with open(root / "prompts.txt", "r", encoding="utf-8") as file:
    instance_prompts = [line.strip() for line in file.readlines() if len(line.strip()) > 0]
with open(root / "videos.txt", "r", encoding="utf-8") as file:
    instance_videos = [root.joinpath(line.strip()) for line in file.readlines() if len(line.strip()) > 0]
if any(not path.is_file() for path in instance_videos):
    raise ValueError("Expected '--video_column' to be a path to a file of videos that exist")
if len(instance_prompts) != len(instance_videos):
    raise ValueError(f"Expected length of prompts and videos to be the same but found {len(instance_prompts)=} and {len(instance_videos)=}")
assert sorted(instance_prompts) == captions

entries = json.loads((folder / "videox-fun/metadata.json").read_text())
assert sorted(entry["text"] for entry in entries) == captions
assert all((folder / "videox-fun" / entry["file_path"]).is_file() for entry in entries)

with open(folder / "open-sora/data.csv", newline="", encoding="utf-8") as file:
    table = list(csv.DictReader(file))
assert sorted(row["text"] for row in table) == captions
assert all(Path(row["path"]).is_file() and int(row["num_frames"]) > 0 for row in table)

texts = []
for shard in sorted((folder / "webdataset").glob("*.tar")):
    with tarfile.open(shard) as tar:
        texts += [tar.extractfile(member).read().decode() for member in tar if member.name.endswith(".txt")]
assert sorted(texts) == captions
print(f"{len(captions)} clips, read by all")
