"""Images as packages: what a function names instead of sending code, and what an installation allows of that. Pure."""

import hashlib
import re

from msgspec import Struct

from lateen.domain.errors import InvalidInput

REFERENCE_LENGTH = 512
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_REGISTRY = rf"(?:(?:localhost|{_LABEL}(?:\.{_LABEL})+)(?::[0-9]{{1,5}})?|{_LABEL}:[0-9]{{1,5}})"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = rf"{_REGISTRY}(?:/{_PART})+"
REPOSITORY = rf"^{_REGISTRY}(?:/{_PART})*\Z"
"""A registry, or what it has below a path."""
REFERENCE = rf"^{_REPOSITORY}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?\Z"
"""With its registry, which in a name without one is for each node to say."""
WORDS = 1500
"""Of an entry point or a command, at most; AWS's limit."""
WORDS_BYTES = 16 * 1024
"""Of both together: they are said in one message."""
DIRECTORY_LENGTH = 1000

_IS_REFERENCE, _IS_REPOSITORY = re.compile(REFERENCE), re.compile(REPOSITORY)
_DIGEST = re.compile(r"@sha256:([0-9a-f]{64})\Z")
_TAG = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


class ImageConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said over the image's own settings. Empty: nothing."""

    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """Arguments of the entry point."""
    working_directory: str = ""

    @property
    def handler(self) -> str:
        """What AWS's clients take for it: the first argument. Empty: the image's own."""
        return self.command[0] if self.command else ""


class Image(Struct, frozen=True, kw_only=True):
    uri: str
    """The reference as it was given: `registry/repository`, `:tag`, `@sha256:digest`."""
    config: ImageConfig = ImageConfig()
    given_at: int = 0
    """The function's revision at which a reference with a tag was given: the same one may lead elsewhere by then."""
    resolved: str | None = None
    """Digest of what the tag led to then, 64 hex digits; empty: nodes know none. None: not asked yet. Never part of
    what users want, but looked up beside it."""

    @property
    def digest(self) -> str | None:
        """64 hex digits; None: it can lead to one image today and to another one tomorrow."""
        found = _DIGEST.search(self.uri)
        return found[1] if found is not None else self.resolved or None

    @property
    def pinned(self) -> str:
        """The reference that is run: by its digest, where that is known."""
        return f"{self.repository}@sha256:{self.resolved}" if self.resolved else self.uri

    @property
    def repository(self) -> str:
        """Without tag and digest."""
        return _TAG.sub("", self.uri.partition("@")[0])

    @property
    def is_newest(self) -> bool:
        """It is what has no tag or the tag `latest`, which registries move all the time."""
        return self.digest is None and self.uri.removeprefix(self.repository) in ("", ":latest")

    @property
    def sha256(self) -> str:
        """Of the image, where that is known; else of the reference, for there is nothing else to tell by."""
        return self.digest or self.reference

    @property
    def reference(self) -> str:
        """64 hex digits that stand for what was given, and when."""
        return hashlib.sha256(f"{self.uri}\n{self.given_at}".encode()).hexdigest()


class ImagePolicy(Struct, frozen=True):
    """What an installation allows."""

    refusal: str | None = None
    """Why there are no images as packages, to be read after `image:`; None: there are."""
    allowed: tuple[str, ...] = ()
    """Registries, or repositories and what is below them; empty: all."""

    def check(self, image: Image) -> None:
        """Raises: `InvalidInput`."""
        if self.refusal is not None:
            raise InvalidInput("image", self.refusal)
        if self.allowed and not any(f"{image.repository}/".startswith(f"{each}/") for each in self.allowed):
            raise InvalidInput("image", f"this installation runs images of these only: {', '.join(self.allowed)}")


def is_reference(text: str) -> bool:
    return len(text) <= REFERENCE_LENGTH and _IS_REFERENCE.match(text) is not None


def is_repository(text: str) -> bool:
    return len(text) <= REFERENCE_LENGTH and _IS_REPOSITORY.match(text) is not None


def check_image(image: Image) -> None:
    """Raises: `InvalidInput` that names the field as the REST API does."""
    if not is_reference(image.uri):
        raise InvalidInput(
            "image", "registry, repository, and a tag or a digest: registry.example.org/team/thing:1, in small letters"
        )
    config = image.config
    size = 0
    for field, words in (("entry_point", config.entry_point), ("command", config.command)):
        size += sum(len(word.encode("utf-8", "surrogatepass")) for word in words)
        if len(words) > WORDS or any(not _is_text(word) for word in words):
            raise InvalidInput(f"image_config.{field}", f"at most {WORDS} texts without NUL")
    if config.entry_point and not config.entry_point[0]:
        raise InvalidInput("image_config.entry_point", "its first text is the program, and not empty")
    if size > WORDS_BYTES:
        raise InvalidInput("image_config", f"entry point and command have at most {WORDS_BYTES} bytes together")
    folder = config.working_directory
    if folder and (not folder.startswith("/") or len(folder) > DIRECTORY_LENGTH or not _is_text(folder)):
        raise InvalidInput(
            "image_config.working_directory", f"an absolute path of at most {DIRECTORY_LENGTH} characters"
        )


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
