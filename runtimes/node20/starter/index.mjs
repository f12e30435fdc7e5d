// Says hello. The event is what the caller sent: of a URL, the request.

export const handler = async (event) => {
  const name = event.queryStringParameters?.name ?? "world";
  return {
    statusCode: 200,
    headers: { "content-type": "text/plain; charset=utf-8" },
    body: `hello ${name}\n`,
  };
};
