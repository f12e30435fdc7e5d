// What a program does with @aws-sdk/client-lambda: make a function, wait, call it, change it, list, delete. The endpoint
// and the keys are in the environment. What was seen is printed as JSON.
import { readFileSync } from "node:fs";
import {
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  ResourceNotFoundException,
  UpdateFunctionConfigurationCommand,
  paginateListFunctions,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";

const client = new LambdaClient({ maxAttempts: 1 });
const waiting = { client, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
const FunctionName = "from-javascript";
const seen = {};

const made = await client.send(
  new CreateFunctionCommand({
    FunctionName,
    Runtime: "python3.12",
    Handler: "app.handler",
    Role: "arn:aws:iam::123456789012:role/lambda",
    Code: { ZipFile: readFileSync(process.argv[2]) },
    Environment: { Variables: { STAGE: "test" } },
  }),
);
seen.created = made.State;
await waitUntilFunctionActiveV2(waiting, { FunctionName });
const invoked = await client.send(
  new InvokeCommand({ FunctionName: made.FunctionArn, Payload: JSON.stringify({ text: "ä" }), LogType: "Tail" }),
);
seen.payload = JSON.parse(invoked.Payload.transformToString());
seen.log = Buffer.from(invoked.LogResult, "base64").toString().startsWith("START RequestId: ");
seen.streamed = "";
const streamed = await client.send(
  new InvokeWithResponseStreamCommand({ FunctionName, Payload: JSON.stringify({ text: "ö" }) }),
);
for await (const { PayloadChunk, InvokeComplete } of streamed.EventStream) {
  if (PayloadChunk) seen.streamed += Buffer.from(PayloadChunk.Payload).toString();
  if (InvokeComplete?.ErrorCode) throw new Error(InvokeComplete.ErrorDetails);
}
await client.send(new UpdateFunctionConfigurationCommand({ FunctionName, Timeout: 12 }));
await waitUntilFunctionUpdatedV2(waiting, { FunctionName });
seen.timeout = (await client.send(new GetFunctionCommand({ FunctionName, Qualifier: "$LATEST" }))).Configuration.Timeout;
seen.listed = [];
for await (const page of paginateListFunctions({ client, pageSize: 1 }, {})) {
  seen.listed.push(...page.Functions.map((found) => found.FunctionName));
}
await client.send(new DeleteFunctionCommand({ FunctionName }));
try {
  await client.send(new GetFunctionCommand({ FunctionName }));
} catch (error) {
  if (!(error instanceof ResourceNotFoundException)) throw error;
  seen.missing = error.Message ?? error.message;
}
console.log(JSON.stringify(seen));
