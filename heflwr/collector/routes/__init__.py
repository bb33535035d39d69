"""The endpoints, a file a purpose; each has `add(app, ...)`. What they take and answer is in openapi.yaml."""
