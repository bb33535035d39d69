"""The client's side: measure every call of a ClientApp, and tell the server with its reply."""
