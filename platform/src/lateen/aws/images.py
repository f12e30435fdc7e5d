"""Images as packages, as AWS's tools ask for them and see them."""

from typing import Any

from lateen.aws.errors import invalid
from lateen.domain.images import Image, ImageConfig, ImagePolicy, is_reference

_ONLY_ZIPS = ("Runtime", "Handler", "Layers")


def new_image(given: dict[str, Any], images: ImagePolicy) -> Image:
    """Of `CreateFunction`. Raises: `AwsError`."""
    if images.refusal is not None:
        raise invalid(f"PackageType Image is not offered by this installation. ({images.refusal})")
    check_only_image(given)
    uri = _uri_in(given["Code"], "Please provide a source for function code.")
    return Image(uri=uri, config=image_config(given.get("ImageConfig") or {}))


def check_only_image(given: dict[str, Any]) -> None:
    """Raises: `AwsError`."""
    if any(given.get(name) for name in _ONLY_ZIPS):
        raise invalid(
            "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."
        )


def image_uri(given: dict[str, Any]) -> str:
    """Of `UpdateFunctionCode`. Raises: `AwsError`."""
    return _uri_in(given, "Please provide ImageUri when updating a function with packageType Image.")


def image_config(given: dict[str, Any]) -> ImageConfig:
    """Each setting is replaced as a whole, and what isn't given is the image's own."""
    return ImageConfig(
        entry_point=tuple(given.get("EntryPoint") or ()),
        command=tuple(given.get("Command") or ()),
        working_directory=given.get("WorkingDirectory") or "",
    )


def image_config_response(image: Image) -> dict[str, Any]:
    """`ImageConfigResponse`, where there is something in it."""
    config = image.config
    shown: dict[str, Any] = {
        "EntryPoint": list(config.entry_point),
        "Command": list(config.command),
        "WorkingDirectory": config.working_directory,
    }
    shown = {name: value for name, value in shown.items() if value}
    return {"ImageConfigResponse": {"ImageConfig": shown}} if shown else {}


def image_location(image: Image) -> dict[str, Any]:
    """Of `GetFunction`. What a tag leads to is known when nodes have said it."""
    shown = {"RepositoryType": "ECR", "ImageUri": image.uri}
    if image.digest is not None:
        shown["ResolvedImageUri"] = f"{image.repository}@sha256:{image.digest}"
    return shown


def _uri_in(given: dict[str, Any], otherwise: str) -> str:
    """Args:
    otherwise: the text of the refusal where it is missing, or not alone.
    """
    uri: str = given.get("ImageUri") or ""
    if not uri or any(name in given for name in ("ZipFile", "S3Bucket", "S3Key", "S3ObjectVersion")):
        raise invalid(otherwise)
    if not is_reference(uri):
        raise invalid(f"Source image {uri} is not valid. Provide a valid source image.")
    return uri
