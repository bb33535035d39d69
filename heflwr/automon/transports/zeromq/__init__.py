"""Over ZeroMQ: a coordinator (ROUTER) and nodes (DEALER), each in a process of its own that may end and come back.

Nothing here starts a thread or waits for longer than it is told: whoever owns an endpoint calls `step` again and again.
What no message can be made of is counted and dropped, and so is what cannot be sent now: time-outs and heartbeats find
out what was lost.

There is neither encryption nor a password. Bind to another address than 127.0.0.1 only where every machine that can
reach it may take part: a VPN, a network of containers.
"""

from heflwr.automon.transports.zeromq.coordinator import CoordinatorEndpoint
from heflwr.automon.transports.zeromq.node import NodeEndpoint

__all__ = ["CoordinatorEndpoint", "NodeEndpoint"]
