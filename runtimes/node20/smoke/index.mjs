// Adds up what it is given, and says which interpreter did it.

export const handler = async (event, context) => ({
  sum: event.numbers.reduce((sum, number) => sum + number, 0),
  node: process.versions.node.split(".")[0],
  env: process.env.AWS_EXECUTION_ENV,
  memory: context.memoryLimitInMB,
  text: "größer",
});
