/** The pages of the docs site, in the order of its side bar. A test holds it against the files. */
export const NAVIGATION = [
  {
    title: "Begin",
    pages: [
      ["README.md", "Cogwheel"],
      ["docs/command-line.md", "The command"],
      ["docs/options.md", "Options of a generation"],
      ["docs/api.md", "The API for apps"],
      ["docs/from-diffusers.md", "From diffusers"],
      ["docs/browsers.md", "Browsers"],
      ["docs/troubleshooting.md", "Troubleshooting"],
      ["examples/README.md", "Examples"],
    ],
  },
  {
    title: "Models",
    pages: [
      ["docs/checkpoints.md", "Checkpoints"],
      ["models/moving-shapes/README.md", "The embedded model"],
      ["docs/lora.md", "Adapters"],
      ["docs/profiles.md", "Whose behaviour to follow"],
      ["docs/memory.md", "Memory"],
      ["docs/loading.md", "Loading"],
      ["docs/tuning.md", "Tuning"],
      ["docs/vae.md", "The VAE"],
      ["docs/video.md", "Films and pictures"],
    ],
  },
  {
    title: "Training",
    pages: [
      ["docs/training.md", "Training"],
      ["docs/training-vae.md", "Training a VAE"],
      ["docs/data.md", "Data sets"],
      ["docs/captions.md", "Captions"],
    ],
  },
  {
    title: "Servers",
    pages: [
      ["docs/scale-out.md", "Servers and workers"],
      ["examples/comfyui/README.md", "ComfyUI"],
    ],
  },
  {
    title: "Right and fast",
    pages: [
      ["docs/numerics.md", "Numerics"],
      ["docs/speed.md", "Speed"],
      ["docs/reference-format.md", "Reference cases"],
      ["test/reference/README.md", "How cases are made"],
      ["bench/LOG.md", "What was tried"],
    ],
  },
  {
    title: "Inside",
    pages: [
      ["docs/tour.md", "A tour"],
      ["docs/ops.md", "The ops"],
      ["docs/add-a-kernel.md", "Add a kernel"],
      ["docs/add-an-op.md", "Add an op"],
      ["docs/add-a-model.md", "Add a model"],
    ],
  },
  {
    title: "Reference",
    pages: [
      ["docs/reference/index.md", "cogwheel-webgpu"],
      ["docs/reference/worker.md", "cogwheel-webgpu/worker"],
      ["docs/reference/data-node.md", "cogwheel-webgpu/data"],
      ["docs/reference/engine.md", "cogwheel-webgpu/graph"],
    ],
  },
  {
    title: "The project",
    pages: [
      ["CHANGELOG.md", "Changes"],
      ["CONTRIBUTING.md", "Contributing"],
      ["SECURITY.md", "Security"],
    ],
  },
];

/** Every page, in order. */
export const PAGES = NAVIGATION.flatMap(({ pages }) => pages.map(([path, title]) => ({ path, title })));
