// What a handler is given beside the event.
//
// Source: AWS Lambda Developer Guide, "Using the Lambda context object to retrieve Node.js function information".
"use strict";

function parsed(text, name) {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Cannot parse ${name} as json: ${error}`);
  }
}

// The members of every context; `given` has those of the kind of handler, such as `done`, and comes first.
function contextOf(given, { requestId, deadlineMs, arn, traceId, clientContext, identity }) {
  if (traceId) process.env._X_AMZN_TRACE_ID = traceId;
  else delete process.env._X_AMZN_TRACE_ID;
  return Object.assign(given, {
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parsed(clientContext, "ClientContext"),
    identity: parsed(identity, "CognitoIdentity"),
    invokedFunctionArn: arn,
    awsRequestId: requestId,
    tenantId: undefined,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  });
}

module.exports = { contextOf };
