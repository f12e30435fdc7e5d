"""The installation's master key, and what is derived from it instead of being stored."""

import base64
import hmac

MIN_BYTES = 32
MASTER_FILE = "master"
"""In the data folder of embedded mode, 0600."""


class MasterKey:
    """32 random bytes or more, kept outside of the stores. Its `repr` shows nothing."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_BYTES:
            raise ValueError(f"the master key has at least {MIN_BYTES} bytes")
        self._key = key

    def derive(self, purpose: str, *parts: str) -> bytes:
        """32 bytes that belong to this purpose and these parts, and tell nothing about any others."""
        # Each part carries its length, so that ("a", "bc") and ("ab", "c") differ.
        text = "".join(f"{len(part)}:{part}" for part in (purpose, *parts))
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def invoke_key(self, function_id: str, function_hash: str) -> bytes:
        """The key of one function's signatures (`lateen_invoker.signing`)."""
        return self.derive("invoke", function_id, function_hash)

    def aws_secret(self, key_id: str) -> str:
        """The secret access key beside an API key: 40 characters, as AWS's have."""
        return base64.b64encode(self.derive("aws", key_id)[:30]).decode()
