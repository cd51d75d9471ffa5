/** Frames as textures: from the decoder to a canvas without a way through the host. */
import { CogwheelError } from "../base/errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { RgbaFrame } from "../video/frame.ts";

const FORMAT: GPUTextureFormat = "rgba8unorm";
/** What a copy between a buffer and a texture wants the length of a row to be a multiple of. */
const ROW = 256;

function frameTexture(gpu: Gpu, width: number, height: number): GPUTexture {
  return gpu.device.createTexture({
    label: "frame",
    size: [width, height],
    format: FORMAT,
    usage: GPUTextureUsage.COPY_DST | GPUTextureUsage.COPY_SRC | GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.RENDER_ATTACHMENT,
  });
}

/** Copies RGBA frames that lie one after another in a buffer; the copy is submitted when this returns. */
export function texturesOfBuffer(
  gpu: Gpu,
  { buffer, frames, width, height }: { buffer: GPUBuffer; frames: number; width: number; height: number },
): GPUTexture[] {
  const encoder = gpu.device.createCommandEncoder();
  const rowBytes = width * 4;
  const textures = Array.from({ length: frames }, (_, f) => {
    const texture = frameTexture(gpu, width, height);
    const offset = f * rowBytes * height;
    if (rowBytes % ROW === 0) encoder.copyBufferToTexture({ buffer, offset, bytesPerRow: rowBytes }, { texture }, [width, height]);
    else
      for (let y = 0; y < height; y++)
        encoder.copyBufferToTexture({ buffer, offset: offset + y * rowBytes }, { texture, origin: [0, y] }, [width, 1]);
    return texture;
  });
  gpu.device.queue.submit([encoder.finish()]);
  return textures;
}

/** For frames that came through the host, by tiling. */
export function textureOfFrame(gpu: Gpu, { width, height, data }: RgbaFrame): GPUTexture {
  const texture = frameTexture(gpu, width, height);
  gpu.device.queue.writeTexture({ texture }, data as Uint8Array<ArrayBuffer>, { bytesPerRow: width * 4, rowsPerImage: height }, [
    width,
    height,
  ]);
  return texture;
}

/**
 * Shows a frame's texture on a canvas. The canvas takes the texture's size (CSS scales it) and the model's device.
 * @param context `canvas.getContext("webgpu")`, of a canvas on the page or an OffscreenCanvas
 */
export function showTexture(gpu: Gpu, context: GPUCanvasContext, texture: GPUTexture): void {
  gpu.assertAlive();
  const { canvas } = context;
  const { width, height } = texture;
  if (texture.format !== FORMAT)
    throw new CogwheelError("canvas", `a frame's texture must be ${FORMAT}, got ${texture.format}; pass one of video.textures`);
  const configured = context.getConfiguration?.();
  if (canvas.width !== width || canvas.height !== height || configured?.device !== gpu.device || configured.format !== FORMAT) {
    Object.assign(canvas, { width, height });
    context.configure({
      device: gpu.device,
      format: FORMAT,
      usage: GPUTextureUsage.COPY_DST | GPUTextureUsage.RENDER_ATTACHMENT,
      alphaMode: "opaque",
    });
  }
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyTextureToTexture({ texture }, { texture: context.getCurrentTexture() }, [width, height]);
  gpu.device.queue.submit([encoder.finish()]);
}
