"""Routes, structured logs and validated input with AWS Lambda Powertools, unmodified."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="books")
app = LambdaFunctionUrlResolver()
BOOKS = {"1": {"title": "Sketches by Boz", "pages": 624}, "2": {"title": "Cranford", "pages": 257}}


@app.get("/books")
def books() -> dict[str, object]:
    longest = int(app.current_event.query_string_parameters.get("pages", "100000"))
    return {"books": [book for book in BOOKS.values() if book["pages"] <= longest]}


@app.get("/books/<number>")
def book(number: str) -> dict[str, object]:
    logger.append_keys(book=number)
    if number not in BOOKS:
        raise NotFoundError("no such book")
    logger.info("found")
    return BOOKS[number]


@app.delete("/books/<number>")
def forbidden(number: str) -> Response:
    return Response(status_code=405, content_type="text/plain", body="books stay", headers={"allow": "GET"})


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL)
def handler(event: dict, context: LambdaContext) -> dict:
    return app.resolve(event, context)
