// Makes the files that the pages load: one for each entry, minified, the same bytes from the same sources and lock file.
// node build.mjs [FOLDER]: where to, instead of into the package.
import { readFile, readdir, rm, mkdir, copyFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = path.resolve(process.argv[2] ?? path.join(here, "../src/lateen/ui/static"));
const entries = ["app.js", "editor.js", "try.js", "logs.js", "charts.js", "app.css"];

await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });
const result = await build({
  absWorkingDir: here,
  entryPoints: entries.map((name) => `src/${name}`),
  outdir: target,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022", "chrome111", "firefox114", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});
await copyFile(path.join(here, "src/mark.svg"), path.join(target, "mark.svg"));

// Whose code is in there, by what esbuild says that it took.
const packages = new Set();
for (const output of Object.values(result.metafile.outputs)) {
  for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found && bytesInOutput > 0) packages.add(found[1]);
  }
}
const notices = ["The scripts in this folder contain the following packages, each under its own licence."];
for (const name of [...packages].sort()) {
  const folder = path.join(here, "node_modules", name);
  const about = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).sort().find((each) => /^licen[cs]e/i.test(each));
  const text = file ? (await readFile(path.join(folder, file), "utf8")).trim() : "";
  notices.push(`${name} ${about.version} (${about.license})\n\n${text}`);
}
await writeFile(path.join(target, "NOTICE"), notices.join(`\n\n${"-".repeat(80)}\n\n`) + "\n");
