"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { test } = require("node:test");
const { run, temporary, URL } = require("./support");

const binding = path.join(__dirname, "..");
const root = path.join(binding, "..", "..");
const TOOLS = process.env.RDC_NODE_TOOLS;

async function succeeds(command, args, options) {
  const { output, status } = await run(command, args, { seconds: 120, ...options });
  assert.equal(status, 0, output);
  return output;
}

test("package_is_installed_and_used_without_a_compiler", { timeout: 120_000 }, async (t) => {
  const folder = temporary(t);
  await succeeds("npm", ["pack", "--silent", "--pack-destination", folder, process.env.RDC_NODE_PACKAGE]);
  const [archive] = fs.readdirSync(folder);
  fs.writeFileSync(path.join(folder, "package.json"), "{}");
  const npm = ["install", "--offline", "--no-audit", "--no-fund", `./${archive}`];
  await succeeds("npm", npm, { cwd: folder, env: { ...process.env, CC: "false", CXX: "false" } });
  const { RDC_NODE_ADDON, ...env } = process.env;
  assert.ok(RDC_NODE_ADDON);
  const script = `
    import { Cluster, ReplyError } from "rediscluster";
    const rc = new Cluster(${JSON.stringify(URL)});
    await rc.set("node:installed", "works");
    console.log(await rc.get("node:installed"), typeof ReplyError);`;
  fs.writeFileSync(path.join(folder, "session.mjs"), script);
  assert.equal(await succeeds(process.execPath, ["session.mjs"], { cwd: folder, env }), "works function\n");
  const installed = path.join(folder, "node_modules", "rediscluster");
  assert.deepEqual(fs.readdirSync(installed).sort(), [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "commands.d.ts",
    "index.d.ts",
    "lib",
    "package.json",
    "prebuilds",
  ]);
});

test("addon_exports_what_node_looks_up_and_nothing_else", async () => {
  const listed = await succeeds("readelf", ["--dyn-syms", "--wide", process.env.RDC_NODE_ADDON]);
  const defined = listed
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words[4] === "GLOBAL" && words[6] !== "UND");
  assert.deepEqual(defined.map((words) => words[7]).sort(), [
    "napi_register_module_v1",
    "node_api_module_get_api_version_v1",
  ]);
});

test("declarations_of_libuv_are_those_of_its_header", async (t) => {
  const folders = ["/usr/include", "/usr/include/node", path.join(process.execPath, "../../include/node")];
  const header = folders.map((folder) => path.join(folder, "uv.h")).find((file) => fs.existsSync(file));
  if (header === undefined) return t.skip("uv.h is not installed");
  const source = path.join(temporary(t), "both.c");
  fs.writeFileSync(
    source,
    `
    #include <uv.h>
    enum { POLL = UV_POLL, PREPARE = UV_PREPARE, READABLE = UV_READABLE };
    #include "uv_api.h"
    _Static_assert(POLL == 8 && PREPARE == 9 && READABLE == 1, "values of uv_api.h");\n`,
  );
  const include = [`-I${path.dirname(header)}`, `-I${path.join(binding, "src")}`];
  await succeeds("cc", ["-fsyntax-only", "-Werror", ...include, source]);
  const api = fs.readFileSync(path.join(binding, "src", "uv_api.h"), "utf8");
  assert.match(api, /UV_POLL = 8, UV_PREPARE = 9 .*\n.*UV_READABLE = 1/);
});

test("generated_files_are_current", async () => {
  await succeeds("python3", [path.join(binding, "..", "..", "tools", "commands", "methods.py"), "--check"]);
});

test("types_accept_a_program_and_refuse_mistakes", { timeout: 120_000 }, async () => {
  const compiler = path.join(TOOLS, "node_modules", "typescript", "bin", "tsc");
  const options = [
    "--noEmit",
    "--strict",
    "--target",
    "es2022",
    "--lib",
    "es2022",
    "--module",
    "node16",
    "--moduleResolution",
    "node16",
    "--esModuleInterop",
    "--types",
    "node",
    "--typeRoots",
    path.join(TOOLS, "node_modules", "@types"),
  ];
  await succeeds(process.execPath, [compiler, ...options, path.join(__dirname, "types", "session.ts")]);
});

test("version_is_that_of_the_library", () => {
  const { version } = require("../package.json");
  assert.match(fs.readFileSync(path.join(root, "Cargo.toml"), "utf8"), new RegExp(`^version = "${version}"$`, "m"));
  assert.equal(require("rediscluster").libraryVersion, version);
});
