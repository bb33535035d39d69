"""A folder for how metrics are served to a Prometheus server; what they are is the business of whoever serves them.

`server` listens and lets in, `checks` are at its door, `endpoint` speaks HTTP, `text` writes metric families. The last
two load sockets and compression: whoever only remembers a server imports them no earlier than it opens.
"""
