// The handler: loading the module that has it, whichever kind of module that is.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");
const { pathToFileURL } = require("node:url");

const faults = require("./faults.cjs");
const { HttpResponseStream } = require("./streams.cjs");

// From the bootstrap, so that what can't be found is said in fewer lines.
const requireModule = createRequire(path.join(__dirname, "..", "bootstrap.cjs"));
// Where handlers with an absolute path lie.
const ROOTS = ["/var/task", "/opt"];
// Libraries that wrap handlers set and read these.
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HIGH_WATER_MARK = Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark");

// The class is called as AWS's is, because its name is in every handler's stack.
class Runtime {
  constructor(handler, isStreaming, highWaterMark) {
    this.handler = handler;
    this.isStreaming = isStreaming;
    this.highWaterMark = highWaterMark;
  }
}

// What `folder/module.name.member` stands for, and whether it streams. Throws faults, or what the import threw.
async function findHandler(taskRoot, name) {
  if (name.includes("..")) {
    throw new faults.MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(name);
  const dot = base.indexOf(".");
  if (dot < 0) throw new faults.MalformedHandlerName("Bad handler");
  giveGlobals();
  const module = await load(taskRoot, name.slice(0, name.indexOf(base)), base.slice(0, dot));
  const handler = base
    .slice(dot + 1)
    .split(".")
    .reduce((found, member) => found && found[member], module);
  if (!handler) throw new faults.HandlerNotFound(`${name} is undefined or not exported`);
  if (typeof handler !== "function") throw new faults.HandlerNotFound(`${name} is not a function`);
  const kind = handler[STREAMING];
  if (kind && kind !== "response") throw new faults.MalformedStreamingHandler("Only response streaming is supported.");
  const mark = Number.parseInt(handler[HIGH_WATER_MARK], 10);
  return new Runtime(handler, Boolean(kind), Number.isNaN(mark) ? undefined : mark);
}

function giveGlobals() {
  if (["1", "true"].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = "response";
      if (typeof options?.highWaterMark === "number") handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
      return handler;
    },
    HttpResponseStream,
  };
}

async function load(taskRoot, folder, module) {
  try {
    return await loadAny(path.resolve(taskRoot, folder, module), module, [taskRoot, folder]);
  } catch (error) {
    if (error instanceof SyntaxError) throw new faults.UserCodeSyntaxError(error);
    if (error?.code === "MODULE_NOT_FOUND") throw new faults.ImportModuleError(error);
    throw error;
  }
}

async function loadAny(file, module, paths) {
  // What lies beside the folder of all code is not ours. With the slash nothing is found but what is in it.
  if (ROOTS.includes(file) || file === path.resolve(paths[0])) return requireModule(`${file}/`);
  const isModule = fs.existsSync(`${file}.js`) && saysModule(path.dirname(file));
  // A file without an extension may be there under that very name.
  for (const extension of isModule ? [""] : ["", ".js"]) {
    if (isFile(file + extension)) return requireModule(file + extension);
  }
  for (const extension of isModule ? [".js", ".mjs"] : [".mjs"]) {
    if (isFile(file + extension)) return await import(pathToFileURL(file + extension));
  }
  if (isFile(`${file}.cjs`)) return requireModule(`${file}.cjs`);
  if (isPackage(`${file}/`)) return requireModule(`${file}/`);
  return requireModule(requireModule.resolve(module, { paths }));
}

function isPackage(folder) {
  if (!fs.existsSync(folder)) return false;
  try {
    return Boolean(requireModule.resolve(folder));
  } catch {
    return false;
  }
}

const isFile = (file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;

// Whether the nearest `package.json` says that `.js` files are ES modules.
function saysModule(folder) {
  for (let at = folder; !at.endsWith("/node_modules"); at = path.dirname(at)) {
    const file = path.join(at, "package.json");
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file, "utf8"))?.type === "module";
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (at === "/") return false;
  }
  return false;
}

module.exports = { findHandler };
