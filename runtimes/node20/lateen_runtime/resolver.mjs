// Resolving ES modules before Node 22.15, in the thread that does nothing else.

import { elsewhere } from "./packages.cjs";

let folders;

export function initialize(given) {
  folders = given;
}

export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    return next(specifier, elsewhere(error, specifier, context, folders));
  }
}
