"""Ways to carry messages between nodes and a coordinator, a file a fabric; the protocols know none of them.

A transport owns the clock: it tells the coordinator who came (`join`), who went (`lost`), what a node holds (`heard`),
and when to ask again (`resend`).
"""
