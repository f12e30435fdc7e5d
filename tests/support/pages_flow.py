"""What somebody does on the pages who has never seen Lateen; the same wherever it runs."""

import re
import secrets
from collections.abc import Callable
from typing import Any

import httpx
from browser import Person
from lateen_release import eventually
from playwright.sync_api import expect

HANDLER = """import json


def handler(event, context):
    print("order", event["queryStringParameters"]["id"])
    return {
        "statusCode": 201,
        "headers": {"content-type": "application/json", "x-shop": event["headers"]["x-shop"]},
        "body": json.dumps({"order": {"id": event["queryStringParameters"]["id"], "lines": [1, 2, 3]}}),
    }
"""


def from_sign_in_to_deletion(
    ada: Person, api: httpx.Client, *, picture: Callable[[Person, str], None] = lambda _, __: None
) -> None:
    """Args:
    api: with a key of the whole installation, to make a workspace and to see what the pages did.
    picture: takes one, by its file's name.
    """
    workspace = api.post("/api/workspaces", json={"name": f"shop-{secrets.token_hex(3)}"}).json()
    key = api.post("/api/keys", json={"workspace": workspace["id"]}).json()["secret"]
    path = f"/api/workspaces/{workspace['id']}/functions"

    def stored() -> dict[str, Any]:
        return dict(api.get(path).json()["items"][0])

    page = ada.page
    ada.open("/ui")
    ada.check_accessible()
    ada.sign_in(key)
    expect(page.get_by_role("heading", name=f"No functions in {workspace['name']} yet")).to_be_visible()
    ada.check_accessible()

    page.get_by_role("link", name="Create the first function").click()
    page.get_by_label("Name", exact=True).fill("orders")
    page.get_by_label("Runtime").select_option("python3.12")
    expect(page.get_by_role("textbox", name="Code", exact=True)).to_contain_text("def handler(event, context)")
    ada.write_code(HANDLER)
    page.get_by_role("button", name="Add a variable").click()
    page.get_by_label("Name", exact=True).nth(1).fill("SHOP")
    page.get_by_label("Value", exact=True).fill("north")
    ada.check_accessible()
    page.get_by_role("button", name="Create function").click()

    expect(page.get_by_role("heading", name="orders")).to_be_visible()
    expect(page.locator(".state")).to_have_text("Active")
    page.get_by_role("button", name="Copy the URL").click()
    expect(page.locator(".toast")).to_have_text("Copied")
    url = str(stored()["url"])
    page.get_by_label("Path", exact=True).fill("")
    page.get_by_label("Path", exact=True).focus()
    page.keyboard.press("ControlOrMeta+v")
    expect(page.get_by_label("Path", exact=True)).to_have_value(url)

    page.get_by_label("Method").select_option("POST")
    page.get_by_label("Path", exact=True).fill("/orders")
    page.get_by_role("button", name="Add a parameter").click()
    page.locator("[data-pairs=query] input").nth(0).fill("id")
    page.locator("[data-pairs=query] input").nth(1).fill("42")
    page.get_by_role("button", name="Add a header").click()
    page.locator("[data-pairs=headers] input").nth(0).fill("X-Shop")
    page.locator("[data-pairs=headers] input").nth(1).fill("north")
    page.get_by_role("button", name="Add a header").click()
    page.locator("[data-pairs=headers] input").nth(2).fill("Authorization")
    page.locator("[data-pairs=headers] input").nth(3).fill("Bearer not-for-keeps")
    page.get_by_label("Body").fill('{"note": "as a gift"}')
    page.get_by_label("Save this one as").fill("an order")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Send").click()
    answer = page.get_by_role("region", name="Answer")
    expect(answer.locator(".status-line")).to_contain_text("201")
    expect(answer.locator(".json")).to_contain_text('id: "42"')
    answer.get_by_text("Headers (2)").click()
    expect(answer.locator(".headers")).to_contain_text("x-shop")
    expect(answer.locator(".log")).to_contain_text("order 42")
    expect(answer.locator(".facts-list")).to_contain_text(re.compile("cold|warm"))
    ada.check_accessible()
    picture(ada, "function.png")
    page.reload()
    page.get_by_label("Saved tests").select_option("an order")
    expect(page.get_by_label("Path", exact=True)).to_have_value("/orders")
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert "north" in kept
    assert "not-for-keeps" not in kept

    page.get_by_role("link", name="Code and settings").click()
    ada.write_code(HANDLER.replace("201", "202"))
    page.get_by_label("Memory, MiB").fill("100")
    page.get_by_role("button", name="Review and save").click()
    expect(page.locator("#memory-error")).to_be_visible()
    page.get_by_label("Memory, MiB").fill("256")
    page.get_by_role("button", name="Review and save").click()
    review = page.get_by_role("dialog")
    expect(review.get_by_role("row", name="Memory, MiB 128 256")).to_be_visible()
    expect(review.locator(".cm-changedLine")).to_contain_text("202")
    expect(review.locator(".cm-deletedChunk")).to_contain_text("201")
    ada.check_accessible()
    review.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".toast")).to_have_text("Revision 2 is saved")
    assert (stored()["memory"], stored()["environment"]) == (256, {"SHOP": "north"})
    picture(ada, "code.png")

    page.get_by_role("link", name="Logs").click()
    expect(page.locator("#records")).to_contain_text("order 42")
    ada.check_accessible()

    page.get_by_role("link", name="Functions", exact=True).first.click()
    page.get_by_role("button", name="Delete orders").click()
    dialog = page.get_by_role("dialog", name="Delete function orders?")
    expect(dialog).to_be_visible()
    ada.check_accessible()
    dialog.get_by_role("button", name="Delete function orders").click()
    expect(page.locator(".toast")).to_have_text("Function orders is deleted")
    eventually(lambda: httpx.get(url, trust_env=False, timeout=30).status_code == 404, "its URL is gone")
    assert api.get(path).json()["items"] == []
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    ada.open("/ui/functions")
    expect(page.get_by_label("API key")).to_be_visible()
