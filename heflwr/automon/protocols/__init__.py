"""How nodes and a coordinator keep f of the mean within its bound; a file a protocol, none does any I/O."""

from heflwr.automon.protocols.machine import CoordinatorMachine, Fleet, Machines, NodeMachine

__all__ = ["CoordinatorMachine", "Fleet", "Machines", "NodeMachine"]
