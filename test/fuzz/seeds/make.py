"""Makes the small films and pictures that `npm run fuzz -- media` damages: one of each container, codec and kind that is read.

    python -m venv .venv && .venv/bin/pip install imageio-ffmpeg pillow numpy && .venv/bin/python test/fuzz/seeds/make.py
"""
import io, os, subprocess, sys
import imageio_ffmpeg, numpy as np
from PIL import Image

OUT = os.path.dirname(os.path.abspath(__file__))
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
W, H, N = 64, 48, 12


def picture(t: int) -> np.ndarray:
    y, x = np.mgrid[0:H, 0:W]
    disc = (np.hypot(x - 12 - 3 * t, y - 24) < 11)[..., None]
    ground = np.stack([30 + x * 2, 60 + y * 3, np.full_like(x, 120)], -1)
    alpha = np.where(disc, 255, 90)
    return np.concatenate([np.where(disc, (220, 60, 40), ground), alpha], -1).astype(np.uint8)


FRAMES = [picture(t) for t in range(N)]


def film(name: str, *args: str, pixels: str = "yuv420p", sound: bool = False) -> None:
    extra = ["-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", "-b:a", "8k"] if sound else []
    command = [FFMPEG, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{W}x{H}", "-r", "12", "-i", "-", *extra, "-pix_fmt", pixels, "-g", "6",
               "-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1", *args, os.path.join(OUT, name)]
    subprocess.run(command, input=b"".join(f.tobytes() for f in FRAMES), check=True)


x264 = ("-c:v", "libx264", "-crf", "34", "-bf", "2")
x265 = ("-c:v", "libx265", "-crf", "38", "-x265-params", "info=0:log-level=none:bframes=2", "-tag:v", "hvc1")
vp9 = ("-c:v", "libvpx-vp9", "-crf", "50", "-b:v", "0")
av1 = ("-c:v", "libaom-av1", "-crf", "55", "-b:v", "0", "-cpu-used", "8")
film("h264.mp4", *x264)
film("h264-sound.mp4", *x264, sound=True)
film("h264-10bit.mp4", *x264, pixels="yuv420p10le")
film("h264-fragments.mp4", *x264, "-movflags", "frag_keyframe+empty_moov+default_base_moof")
film("h264.mov", *x264)
film("h264.mkv", *x264)
subprocess.run([FFMPEG, "-v", "error", "-y", "-ss", "0.3", "-i", os.path.join(OUT, "h264.mp4"), "-c", "copy", "-fflags", "+bitexact", os.path.join(OUT, "h264-edit.mp4")], check=True)
subprocess.run([FFMPEG, "-v", "error", "-y", "-display_rotation", "90", "-i", os.path.join(OUT, "h264.mp4"), "-c", "copy", "-fflags", "+bitexact", os.path.join(OUT, "h264-turned.mov")], check=True)
film("hevc.mp4", *x265)
film("hevc-10bit.mkv", *x265, pixels="yuv420p10le")
film("vp8.webm", "-c:v", "libvpx", "-crf", "50", "-b:v", "40k")
film("vp8-alpha.webm", "-c:v", "libvpx", "-crf", "50", "-b:v", "40k", "-auto-alt-ref", "0", pixels="yuva420p")
film("vp9.webm", *vp9)
film("vp9-alpha.webm", *vp9, "-auto-alt-ref", "0", pixels="yuva420p")
film("vp9.mp4", *vp9)
film("av1.mp4", *av1)
film("av1-10bit.webm", *av1, pixels="yuv420p10le")


def save(name: str, picture: Image.Image, **options) -> None:
    picture.save(os.path.join(OUT, name), **options)


pictures = [Image.fromarray(f) for f in FRAMES]
rgb = [p.convert("RGB") for p in pictures]
save("rgba.png", pictures[0])
save("grey16.png", Image.fromarray((np.asarray(rgb[0].convert("L")).astype(np.uint16) * 257)))
save("palette.png", rgb[0].quantize(16))
save("moving.png", pictures[0], save_all=True, append_images=pictures[1:6], duration=80)
save("moving.gif", rgb[0], save_all=True, append_images=rgb[1:6], duration=80, interlace=1)
save("baseline.jpg", rgb[0], quality=60)
save("progressive.jpg", rgb[0], quality=60, progressive=True, subsampling=0)
save("grey.jpg", rgb[0].convert("L"), quality=60)
save("lossy.webp", rgb[0], quality=40)
save("lossless.webp", pictures[0], lossless=True)
save("moving.webp", pictures[0], save_all=True, append_images=pictures[1:6], duration=80, quality=40)
