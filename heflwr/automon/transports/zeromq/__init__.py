"""Over ZeroMQ: a coordinator (ROUTER) and nodes (DEALER), each in a process of its own that may end and come back.

Nothing here starts a thread or waits for longer than it is told: whoever owns an endpoint calls `step` again and again.
What no message can be made of is counted and dropped, and so is what cannot be sent now: time-outs and heartbeats find
out what was lost.

The two endpoints have neither encryption nor a password: bind to another address than 127.0.0.1 only where every
machine that can reach it may take part, in a VPN or a network of containers. `listener` and `dialer` carry many on one
connection, with keys (`curve`); `heflwr.live` is made of them.
"""

from heflwr.automon.transports.zeromq.coordinator import CoordinatorEndpoint
from heflwr.automon.transports.zeromq.node import NodeEndpoint

__all__ = ["CoordinatorEndpoint", "NodeEndpoint"]
