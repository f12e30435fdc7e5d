// Server-sent events by fetch: EventSource can't send the page's token.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let event = {};
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split("\n");
      text = lines.pop();
      for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
        if (line === "") {
          if (event.data !== undefined) yield event;
          event = {};
        } else if (!line.startsWith(":")) {
          const [name, content = ""] = line.split(/: ?(.*)/s);
          event[name] = content;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
