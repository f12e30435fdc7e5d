// Says what this interpreter is: its major version, where it really is, and what must be readable for it to run.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const executable = fs.realpathSync(process.execPath);
const libraries = path.join(path.dirname(path.dirname(executable)), "lib");
const isShared = fs.existsSync(libraries) && fs.readdirSync(libraries).some((name) => name.startsWith("libnode."));
console.log(
  JSON.stringify({
    executable,
    version: process.versions.node.split(".")[0],
    readable: isShared ? [executable, libraries] : [executable],
  }),
);
