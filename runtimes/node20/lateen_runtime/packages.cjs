// Packages that a function finds without having them in its own: those in folders of NODE_PATH, which are layers' and,
// behind all others, AWS's SDK.
//
// CommonJS looks there by itself. ES modules do here as on AWS, where they'd find nothing otherwise.
"use strict";

const fs = require("node:fs");
const Module = require("node:module");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const SDK = path.join(__dirname, "..", "sdk", "node_modules");
const NAME = /^(?:@[\w.~-]+\/)?[\w~-][\w.~-]*/;
const IMPORTED = /\b(?:from|import)[\s(]*(?:\/\*[^*]*\*\/\s*)?["'`]((?:@[\w.~-]+\/)?[\w~-][\w.~-]*)/g;

function offerPackages(taskRoot) {
  // A machine without npm has none.
  if (fs.existsSync(SDK)) {
    process.env.NODE_PATH = [process.env.NODE_PATH, SDK].filter(Boolean).join(":");
    Module._initPaths();
  }
  const folders = Module.globalPaths.filter((folder) => folder.endsWith("/node_modules") && fs.existsSync(folder));
  if (Module.registerHooks) {
    const resolve = (specifier, context, next) => {
      try {
        return next(specifier, context);
      } catch (error) {
        return next(specifier, elsewhere(error, specifier, context, folders));
      }
    };
    Module.registerHooks({ resolve });
  } else if (importsFrom(folders, taskRoot)) {
    // Before Node 22.15 it takes a thread, which is 25 ms of a processor and 11 MiB: only for those who need it.
    Module.register("./resolver.mjs", { parentURL: pathToFileURL(__filename), data: folders });
  }
}

// What to resolve it with, after it was not found where modules are. Throws the error, if the folders haven't got it either.
function elsewhere(error, specifier, context, folders) {
  const name = error.code === "ERR_MODULE_NOT_FOUND" && NAME.exec(specifier)?.[0];
  const folder = name && folders.find((each) => fs.existsSync(path.join(each, name)));
  if (!folder) throw error;
  return { ...context, parentURL: pathToFileURL(path.join(folder, "..", "index.mjs")).href };
}

// Whether a source of the function, or a package that one imports, asks for what only these folders have. By their text:
// what has been imported in vain can't be imported again.
function importsFrom(folders, taskRoot) {
  if (process.env._HANDLER?.startsWith("/opt/")) return true; // a layer's, whose sources may be many
  const imported = new Set();
  const own = (name) => path.join(taskRoot, "node_modules", name, "package.json");
  try {
    for (const file of sources(taskRoot)) {
      for (const [, name] of fs.readFileSync(file, "latin1").matchAll(IMPORTED)) imported.add(name);
    }
    for (const file of [...imported].map(own).filter(fs.existsSync)) {
      // Of middy's, for one, it is only there because its own tests install it.
      const { peerDependencies, devDependencies } = JSON.parse(fs.readFileSync(file, "utf8"));
      for (const name in { ...peerDependencies, ...devDependencies }) imported.add(name);
    }
  } catch {
    return true; // what can't be read may do so
  }
  return [...imported].some(
    (name) =>
      !Module.isBuiltin(name) && !fs.existsSync(own(name)) && folders.some((each) => fs.existsSync(path.join(each, name))),
  );
}

function* sources(folder) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== "node_modules") yield* sources(file);
    else if (entry.isFile() && /\.[cm]?js$/.test(entry.name)) yield file;
  }
}

module.exports = { elsewhere, offerPackages };
