/** Hints name commands as their user can type them, however the command was started. */
import { expect, it } from "vitest";
import { calledAs } from "../../src/cli/terminal/called.ts";

const npm = { npm_config_user_agent: "npm/10.9.0 node/v22.0.0 linux x64" };
it.each<[string, NodeJS.ProcessEnv, string]>([
  // npx and a package's scripts start a link; a Windows shim starts the file.
  ["/app/node_modules/.bin/cogwheel-webgpu", { ...npm, npm_command: "exec", npm_lifecycle_event: "npx" }, "npx cogwheel-webgpu"],
  ["/app/node_modules/.bin/cogwheel", { ...npm, npm_command: "run-script", npm_package_name: "app" }, "npx cogwheel-webgpu"],
  ["/app/node_modules/cogwheel-webgpu/dist/launch.js", {}, "npx cogwheel-webgpu"],
  ["/app/node_modules/.bin/../cogwheel-webgpu/dist/launch.js", { npm_config_user_agent: "pnpm/9.1.0 npm/?" }, "pnpm exec cogwheel-webgpu"],
  ["/app/node_modules/.bin/cogwheel", { npm_config_user_agent: "yarn/4.1.0 npm/?" }, "yarn cogwheel-webgpu"],
  ["/app/node_modules/.bin/cogwheel", { npm_config_user_agent: "bun/1.2.0" }, "bunx cogwheel-webgpu"],
  // Installed for the whole machine.
  ["/usr/local/bin/cogwheel", {}, "cogwheel"],
  ["/usr/local/bin/cogwheel-webgpu", npm, "cogwheel-webgpu"],
  // The checkout; other scripts of it start the file themselves.
  ["/clone/dist/launch.js", { npm_package_name: "cogwheel-webgpu", npm_lifecycle_event: "cogwheel" }, "npm run cogwheel --"],
  ["/clone/dist/launch.js", { npm_package_name: "cogwheel-webgpu", npm_lifecycle_event: "start" }, "npm run cogwheel --"],
  ["/clone/dist/launch.js", { npm_package_name: "cogwheel-webgpu", npm_lifecycle_event: "test" }, "node dist/launch.js"],
  ["/elsewhere/dist/launch.js", {}, "node /elsewhere/dist/launch.js"],
  ["/clone/my tools/launch.js", {}, 'node "my tools/launch.js"'],
])("%s with %j is %s", (script, env, typed) => {
  expect(calledAs({ script, env, cwd: "/clone" })).toBe(typed);
});
