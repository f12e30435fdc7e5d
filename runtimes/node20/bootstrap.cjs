// The Node runtime: calls a handler with events, as AWS Lambda's own Node client does, only faster.
//
// One environment: events come over a socket that it inherited, frame by frame. What reads and writes that socket waits,
// so between two events nothing runs here, which is what AWS's freezing of an environment comes to.
"use strict";

const { Channel } = require("./lateen_runtime/channel.cjs");
const { log } = require("./lateen_runtime/output.cjs");
const { run } = require("./lateen_runtime/invocations.cjs");
const { offerPackages } = require("./lateen_runtime/packages.cjs");

const channel = new Channel(Number(process.env._LATEEN_CHANNEL_FD));
delete process.env._LATEEN_CHANNEL_FD;
log.patchConsole();
offerPackages(process.env.LAMBDA_TASK_ROOT);
run(channel, process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
