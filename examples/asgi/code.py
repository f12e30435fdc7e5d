"""A Starlette app, unchanged, as a function: Mangum makes requests of events and answers of responses."""

import contextlib
from collections.abc import AsyncIterator

from mangum import Mangum
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, int]]:
    yield {"started": 1}


async def hello(request: Request) -> Response:
    return PlainTextResponse(f"hello {request.query_params.get('name', 'world')}\n")


async def echo(request: Request) -> Response:
    body = await request.body()
    answer = JSONResponse({"bytes": len(body), "type": request.headers.get("content-type"), "cookies": request.cookies})
    answer.set_cookie("seen", "yes")
    return answer


async def sent_back(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")


routes = [Route("/", hello), Route("/echo", echo, methods=["POST"]), Route("/bytes", sent_back, methods=["POST"])]
app = Starlette(routes=routes, lifespan=lifespan)
handler = Mangum(app, lifespan="auto")
