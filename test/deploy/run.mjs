// `npm run deploy:check`: deploy/ by its schemas: Compose's own (check-jsonschema brings it) and Kubernetes' (kubernetes-validate).
import { spawnSync } from "node:child_process";
import { dirname, join, resolve } from "node:path";
import { pythonFor } from "../support/python-environment.mjs";

const requirements = join(import.meta.dirname, "requirements.txt");
const python = pythonFor({ what: "deploy", purpose: "to check deploy/ by schemas", requirements });
const deploy = resolve(import.meta.dirname, "../../deploy");
const KUBERNETES = "1.33";

const checks = [
  ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", join(deploy, "compose.yaml"), join(deploy, "compose.gpu.yaml")],
  ["kubernetes-validate", "--strict", "-k", KUBERNETES, join(deploy, "kubernetes.yaml")],
];
for (const [command, ...args] of checks) {
  const { status } = spawnSync(join(dirname(python), command), args, { stdio: "inherit" });
  if (status !== 0) process.exit(1);
  console.log(`${command}: ${args.at(-1)} is as its schema says`);
}
