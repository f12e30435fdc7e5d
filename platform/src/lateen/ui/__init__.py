"""The pages: what people see at `/ui`. All they know of Lateen is its public HTTP API, called in this process."""
