"""The peers' functions: the least that answers `hello` after reading the body."""

from typing import Any


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """The floor: an ASGI server with nothing behind it."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


def functions_framework(request: Any) -> str:
    """The same for functions-framework, which hands over a Flask request."""
    request.get_data()
    return "hello"
