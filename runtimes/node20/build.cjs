// Builds a Node source: npm installs what package.json asks for, in the copy of the source in which this is run.
//
// With a lock file exactly what that says. Scripts of packages run, as anywhere; what they may do is the builder's affair.
"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const npm = fs.realpathSync(process.argv[2]);
const hasLock = ["package-lock.json", "npm-shrinkwrap.json"].some((name) => fs.existsSync(name));
const ended = spawnSync(
  process.execPath,
  [
    npm, hasLock ? "ci" : "install", "--omit=dev", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier",
    "--cache", path.join(process.env.LATEEN_BUILD_CACHE, "npm"), ...(hasLock ? [] : ["--no-package-lock"]),
  ],
  { stdio: "inherit" },
);
if (ended.error) throw ended.error;
if (ended.status !== 0) process.exit(ended.status ?? 1);

// Links to programs that only installing needs, and npm's notes for its next run.
fs.rmSync(path.join("node_modules", ".bin"), { recursive: true, force: true });
fs.rmSync(path.join("node_modules", ".package-lock.json"), { force: true });
